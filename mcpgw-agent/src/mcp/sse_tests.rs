use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::mcp::held::{FREE, Room};

const ROOM: usize = 1 << 20;

fn parse_with(max: usize, chunks: &[&[u8]]) -> (Vec<Result<Event, TooLarge>>, Bytes) {
    let mut parser = Parser::new(max, Payer::Agent);
    let mut events = Vec::new();
    for chunk in chunks {
        parser.feed(&Bytes::copy_from_slice(chunk));
        events.extend(parser.by_ref());
    }
    let remainder = parser.remainder();
    (events, remainder)
}

fn parse(stream: &str) -> Vec<Event> {
    parse_with(ROOM, &[stream.as_bytes()])
        .0
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

/// What a client sees of an event; of blocks without data, what they set.
type Seen = (Option<Bytes>, Option<Line>, Option<Line>, Option<u64>);

fn seen(event: &Event) -> Seen {
    (event.data.clone(), event.kind.clone(), event.id.clone(), event.retry)
}

fn line(text: &'static str) -> Line {
    Line::new(text).unwrap()
}

#[test]
fn the_examples_of_the_standard_read_as_it_says() {
    let data = |stream: &str| {
        let texts = parse(stream).into_iter().filter_map(|event| event.data);
        texts
            .map(|data| String::from_utf8(data.to_vec()).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(data("data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
    assert_eq!(
        data(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"),
        ["first event", "second event", " third event"]
    );
    assert_eq!(data("data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
    assert_eq!(data("data:test\n\ndata: test\n\n"), ["test", "test"]);
}

#[test]
fn fields_are_read_and_unknown_ones_passed_over() {
    let stream =
        "\u{feff}event: a\nevent: endpoint\nid: 7\nid: 8\0\nretry: 10\nretry: 1x\nother: x\nDATA: x\ndata: y\n\n";
    let events = parse(stream);
    assert_eq!(events.len(), 1);
    assert_eq!(
        seen(&events[0]),
        (Some("y".into()), Some(Line::ENDPOINT), Some(line("7")), Some(10))
    );
    assert_eq!(events[0].raw, stream);
}

#[test]
fn an_empty_id_takes_an_earlier_one_back_and_a_comment_is_no_data() {
    let events = parse("id:\ndata: x\n\n: data: y\n\nretry: 99999999999999999999\n\n\n");
    assert_eq!(events[0].id, Some(line("")));
    assert!(events[1..].iter().all(|event| seen(event) == (None, None, None, None)));
    assert_eq!(events.len(), 4);
}

#[test]
fn a_byte_order_mark_counts_at_the_beginning_only() {
    let events = parse("\u{feff}data: x\n\n\u{feff}data: y\n\n");
    assert_eq!(
        (events[0].data.clone(), events[1].data.clone()),
        (Some("x".into()), None)
    );
}

#[test]
fn an_event_whole_in_its_chunk_is_a_slice_of_it() {
    let chunk = Bytes::from_static(b"event: message\ndata: {\"a\":1}\n\ndata: 2\n\n");
    let mut parser = Parser::new(ROOM, Payer::Agent);
    parser.feed(&chunk);
    let within = |part: &Bytes| chunk.as_ptr_range().contains(&part.as_ptr());
    for event in parser {
        let event = event.unwrap();
        assert!(within(&event.raw) && within(&event.data.unwrap()));
    }
}

#[test]
fn an_event_is_not_held_back_for_a_line_feed_that_may_come() {
    let (events, remainder) = parse_with(ROOM, &[b"data: x\r\r", b"\ndata: y\r\n\r\n"]);
    let raw: Vec<Bytes> = events.into_iter().map(|event| event.unwrap().raw).collect();
    assert_eq!(raw, ["data: x\r\r", "\ndata: y\r\n\r\n"]);
    assert!(remainder.is_empty());
}

#[test]
fn events_that_nobody_took_are_not_lost() {
    let mut parser = Parser::new(ROOM, Payer::Agent);
    parser.feed(&Bytes::from_static(b"data: 1\n\nda"));
    parser.feed(&Bytes::from_static(b"ta: 2\n\n"));
    assert_eq!(
        parser.filter_map(|event| event.unwrap().data).collect::<Vec<_>>(),
        ["1", "2"]
    );
}

#[test]
fn a_large_event_byte_by_byte_is_gathered_in_one_buffer() {
    let mut parser = Parser::new(ROOM, Payer::Agent);
    let byte = Bytes::from_static(b"x");
    parser.feed(&Bytes::from_static(b"data: "));
    assert!(parser.next().is_none());
    for _ in 0..ROOM / 2 {
        parser.feed(&byte);
        assert!(parser.next().is_none());
    }
    assert!(parser.begun.capacity() <= ROOM && parser.chunk.is_empty());
    parser.feed(&Bytes::from_static(b"\n\n"));
    assert_eq!(parser.next().unwrap().unwrap().data.unwrap().len(), ROOM / 2);
}

#[test]
fn an_event_over_the_bound_is_an_error_that_holds_nothing() {
    let mut parser = Parser::new(8, Payer::Agent);
    for chunk in ["data", ": 34567", "\n\n"] {
        parser.feed(&Bytes::from_static(chunk.as_bytes()));
        let next = parser.next();
        assert_eq!(next.is_some(), chunk.len() == 7, "{chunk}");
        assert!(next.is_none_or(|event| event == Err(TooLarge { max: 8 })));
    }
    assert!(parser.begun.capacity() == 0 && parser.chunk.is_empty() && parser.remainder().is_empty());
}

#[test]
fn what_is_written_cannot_become_another_event() {
    for text in ["a\n\ndata: b", "a\rb", "a\r\n", "\0"] {
        assert_eq!(Line::new(text), None, "{text:?}");
    }
    let written = event(b"1\n\nevent: x\r\r\ndata: 2", Some(&Line::MESSAGE), Some(&line(" 7")));
    let events = parse(std::str::from_utf8(&written).unwrap());
    assert_eq!(events.len(), 1);
    assert_eq!(
        seen(&events[0]),
        (
            Some("1\n\nevent: x\n\ndata: 2".into()),
            Some(Line::MESSAGE),
            Some(line(" 7")),
            None
        )
    );
}

#[test]
fn an_event_keeps_all_but_its_data() {
    let events = parse("id: 7\nevent: message\nretry: 5\ndata: x\n\n");
    let written = events[0].with_data(b"{}");
    let again = parse(std::str::from_utf8(&written).unwrap());
    let expected = (Some("{}".into()), Some(Line::MESSAGE), Some(line("7")), Some(5));
    assert_eq!(seen(&again[0]), expected);
}

#[test]
fn a_comment_is_a_block_that_nobody_notices() {
    let events = parse(std::str::from_utf8(&comment()).unwrap());
    assert_eq!(events.len(), 1);
    assert_eq!(seen(&events[0]), (None, None, None, None));
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "\n", "\r", "\r\n", "\n\n", "data", "data:", "data: ", ":", " ", "id", "id:", "event: ", "retry:7", "x", "\0",
        "ü", "\u{feff}", "{}",
    ]);
    let pieces = prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![9 => pieces, 1 => prop::collection::vec(any::<u8>(), 0..60)]
}

fn cut<'s>(stream: &'s [u8], cuts: &[prop::sample::Index]) -> Vec<&'s [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect()
}

proptest! {
    #[test]
    fn however_it_is_cut_it_reads_the_same(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole = parse_with(ROOM, &[&stream]);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        for chunks in [cut(&stream, &cuts), bytes] {
            let (events, remainder) = parse_with(ROOM, &chunks);
            let of = |events: &[Result<Event, TooLarge>]| -> Vec<Seen> {
                events.iter().map(|event| seen(event.as_ref().unwrap())).collect()
            };
            prop_assert_eq!(of(&whole.0), of(&events));
            let mut joined: Vec<u8> = events.into_iter().flat_map(|event| event.unwrap().raw).collect();
            joined.extend_from_slice(&remainder);
            prop_assert_eq!(&joined, &stream);
        }
    }

    #[test]
    fn what_is_written_is_read_again(
        data in "[^\r]{0,40}",
        kind in prop::option::of("[^\r\n\0]{0,9}"),
        id in prop::option::of("[^\r\n\0]{0,9}"),
    ) {
        let (kind, id) = (kind.map(|text| Line::new(text).unwrap()), id.map(|text| Line::new(text).unwrap()));
        let written = event(data.as_bytes(), kind.as_ref(), id.as_ref());
        let (events, remainder) = parse_with(ROOM, &[&written]);
        prop_assert!(remainder.is_empty());
        prop_assert_eq!(events.len(), 1);
        prop_assert_eq!(seen(events[0].as_ref().unwrap()), (Some(data.into()), kind, id, None));
    }

    #[test]
    fn no_more_is_held_than_a_chunk_and_twice_the_bound(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        max in 0_usize..40,
    ) {
        let mut parser = Parser::new(max, Payer::Agent);
        for chunk in cut(&stream, &cuts) {
            parser.feed(&Bytes::copy_from_slice(chunk));
            for event in parser.by_ref().flatten() {
                prop_assert!(event.raw.len() <= max);
            }
            prop_assert!(parser.chunk.is_empty());
            // The least that a buffer takes is 8 bytes.
            prop_assert!(parser.begun.len() <= max && parser.begun.capacity() <= (2 * max).max(8));
        }
    }
}

#[test]
fn events_that_are_gathered_share_one_room_and_give_it_back() {
    static ROOM: LazyLock<Room> = LazyLock::new(|| Room::new(4 * FREE, 4 * FREE));
    let chunk = Bytes::from(vec![b'x'; FREE]);
    let mut parsers: Vec<Parser> = (0..2)
        .map(|_| Parser {
            held: Held::of(&ROOM, Payer::Agent),
            ..Parser::new(64 * FREE, Payer::Agent)
        })
        .collect();
    for _ in 0..3 {
        for parser in &mut parsers {
            parser.feed(&chunk);
            assert!(parser.next().is_none());
        }
    }
    assert_eq!(ROOM.held(), 4 * FREE);
    parsers[0].feed(&chunk);
    assert!(parsers[0].next().unwrap().is_err(), "there is no room for more");
    assert_eq!(ROOM.held(), 2 * FREE);
    // The other goes on; its event counts until the next chunk comes.
    parsers[1].feed(&Bytes::from_static(b"\n\n"));
    assert!(parsers[1].next().unwrap().is_ok());
    assert!(ROOM.held() > 2 * FREE);
    parsers[1].feed(&chunk);
    assert_eq!(ROOM.held(), 0);
    assert!(parsers[1].next().is_none());
}
