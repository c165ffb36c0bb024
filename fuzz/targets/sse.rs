//! A stream reads the same however it is cut, nothing of it is lost, and what is written is one event.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mcpgw_agent::{
    mcp::sse::{Event, Line, Parser, event},
    shares::Payer,
};

const ROOM: usize = 1 << 20;

type Seen = (Option<Bytes>, Option<Line>, Option<Line>, Option<u64>);

fn seen(event: Event) -> Seen {
    (event.data, event.kind, event.id, event.retry)
}

/// What is seen of the chunks, and all bytes that came out.
fn parse<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Seen>, Vec<u8>) {
    let mut parser = Parser::new(ROOM, Payer::Agent);
    let (mut events, mut bytes) = (Vec::new(), Vec::new());
    for chunk in chunks {
        parser.feed(&Bytes::copy_from_slice(chunk));
        for event in parser.by_ref() {
            let event = event.expect("there is room");
            bytes.extend_from_slice(&event.raw);
            events.push(seen(event));
        }
    }
    bytes.extend_from_slice(&parser.remainder());
    (events, bytes)
}

fuzz_target!(|input: &[u8]| {
    // The first byte says how the rest is cut.
    let Some((size, stream)) = input.split_first() else {
        return;
    };
    let (whole, bytes) = parse([stream].into_iter());
    assert_eq!(bytes, stream);
    let (cut, bytes) = parse(stream.chunks(usize::from(*size).max(1)));
    assert_eq!(bytes, stream);
    assert_eq!(whole, cut);

    let mut bounded = Parser::new(usize::from(*size), Payer::Agent);
    bounded.feed(&Bytes::copy_from_slice(stream));
    for event in bounded.by_ref().flatten() {
        assert!(event.raw.len() <= usize::from(*size));
    }
    assert!(bounded.remainder().len() <= usize::from(*size));

    let written = event(stream, Some(&Line::MESSAGE), None);
    let (events, _) = parse([&*written].into_iter());
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].1, Some(Line::MESSAGE));
    assert!(events[0].2.is_none() && events[0].3.is_none());
});
