use super::*;

fn observe(content_type: &str, chunks: &[&str]) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
    let id = RawValue::from_string(r#""a1""#.to_owned()).unwrap();
    let mut observer = AnswerObserver::new(Some(&id), &headers, Payer::Agent);
    for chunk in chunks {
        observer.feed(&Bytes::copy_from_slice(chunk.as_bytes()));
    }
    observer.finish()
}

const JSON: &str = "application/json; charset=utf-8";
const EVENTS: &str = "text/event-stream";

#[test]
fn json_answers_are_told_apart() {
    let ok = r#"{"jsonrpc":"2.0","id":"\u0061\u0031","result":{"content":[{"x":{"isError":true}}]}}"#;
    assert_eq!(observe(JSON, &[ok]), Answer::Result { is_error: false });
    let failed = r#"{"jsonrpc":"2.0","result":{"content":[],"isError":true},"id":"a1"}"#;
    assert_eq!(
        observe(JSON, &[&failed[..20], &failed[20..]]),
        Answer::Result { is_error: true }
    );
    assert_eq!(
        observe(JSON, &[r#"{"id":"a1","error":{"code":1}}"#]),
        Answer::Error { code: Some(1) }
    );
    assert_eq!(
        observe(JSON, &[r#"{"id":null,"error":{}}"#]),
        Answer::Error { code: None }
    );
    assert_eq!(
        observe(JSON, &[r#"{"id":"a1","result":"odd"}"#]),
        Answer::Result { is_error: false }
    );
}

#[test]
fn the_answer_to_another_request_is_none() {
    assert_eq!(observe(JSON, &[r#"{"id":"a2","result":{}}"#]), Answer::Absent);
    assert_eq!(observe(JSON, &["no json"]), Answer::Absent);
    assert_eq!(observe(JSON, &[]), Answer::Absent);
}

#[test]
fn an_oversize_or_encoded_answer_is_unknown() {
    let large = " ".repeat(MAX_OBSERVED);
    assert_eq!(observe(JSON, &[&large, "{}"]), Answer::Unknown);
    assert_eq!(observe(EVENTS, &["data: ", &large]), Answer::Unknown);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    assert_eq!(
        AnswerObserver::new(None, &headers, Payer::Agent).finish(),
        Answer::Unknown
    );
}

#[test]
fn an_event_stream_is_read_however_it_is_cut_and_whatever_ends_its_lines() {
    let stream = concat!(
        ": hello\n\n",
        "event: message\ndata: {\"method\":\"ping\",\"id\":\"a1\"}\n\n",
        "data: {\"id\":\"a2\",\"result\":{}}\n\n",
        "data: {\"id\":\"a1\",\ndata: \"result\":{\"isError\":true}}\n\n",
    );
    for stream in [
        stream.to_owned(),
        stream.replace('\n', "\r\n"),
        stream.replace('\n', "\r") + "\r:",
    ] {
        for size in [1, 2, 3, 7, 1000] {
            let chunks: Vec<&str> = stream
                .as_bytes()
                .chunks(size)
                .map(|chunk| std::str::from_utf8(chunk).unwrap())
                .collect();
            assert_eq!(
                observe(EVENTS, &chunks),
                Answer::Result { is_error: true },
                "{size} {stream:?}"
            );
        }
    }
}

#[test]
fn the_answer_is_known_before_the_stream_ends() {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, EVENTS.parse().unwrap());
    let id = RawValue::from_string("7".to_owned()).unwrap();
    let mut observer = AnswerObserver::new(Some(&id), &headers, Payer::Agent);
    observer.feed(&Bytes::from_static(
        b"data: {\"method\":\"notifications/progress\"}\n\n",
    ));
    assert_eq!(observer.known(), None);
    observer.feed(&Bytes::from_static(b"data: {\"id\":7,\"error\":{}}\n\n"));
    assert_eq!(observer.known(), Some(Answer::Error { code: None }));
}

#[test]
fn a_stream_that_ends_early_may_still_be_answered_if_it_can_be_resumed() {
    assert_eq!(observe(EVENTS, &["id: 1\ndata:\n\n"]), Answer::Resumable);
    assert_eq!(observe(EVENTS, &["data: {}\n\n"]), Answer::Absent);
    assert_eq!(observe(EVENTS, &["id: 1\n\nid\n\n"]), Answer::Absent);
}

#[test]
fn questions_to_the_client_are_no_result() {
    let questions = r#"{"id":"a1","result":{"resultType":"input_required","requestState":"s"}}"#;
    assert_eq!(observe(JSON, &[questions]), Answer::InputRequired);
}

#[test]
fn an_event_that_clients_take_no_notice_of_is_no_answer() {
    let answer = r#"data: {"id":"a1","result":{}}"#;
    let stream = format!("event: other\n{answer}\n\n");
    assert_eq!(observe(EVENTS, &[&stream]), Answer::Absent);
    let stream = format!("{stream}event: message\n{answer}\n\n");
    assert_eq!(observe(EVENTS, &[&stream]), Answer::Result { is_error: false });
}
