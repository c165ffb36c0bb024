use super::{super::Envelope, *};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}"#;

fn refusal(body: &str) -> EnvelopeError {
    split(body.as_bytes()).expect_err(body).error
}

#[test]
fn every_message_of_a_batch_is_there_as_it_was_written() {
    let body = format!(r#" [ {CALL} ,{{"jsonrpc" : "2.0"}},7,[{CALL}, 1]] "#);
    let elements: Vec<&str> = split(body.as_bytes())
        .unwrap()
        .into_iter()
        .map(|element| std::str::from_utf8(element).unwrap())
        .collect();
    assert_eq!(elements, [CALL, r#"{"jsonrpc" : "2.0"}"#, "7", &format!("[{CALL}, 1]")]);
    // What is no message is none in a batch either.
    assert_eq!(
        Envelope::parse(elements[2].as_bytes()).unwrap_err().error,
        EnvelopeError::NotAnObject
    );
    assert_eq!(
        Envelope::parse(elements[3].as_bytes()).unwrap_err().error,
        EnvelopeError::Batch
    );
}

#[test]
fn a_batch_is_bounded_and_never_empty() {
    let batch = |count: usize| format!("[{}]", vec![CALL; count].join(","));
    assert_eq!(split(batch(MAX_BATCH).as_bytes()).unwrap().len(), MAX_BATCH);
    assert_eq!(refusal(&batch(MAX_BATCH + 1)), EnvelopeError::LargeBatch(MAX_BATCH));
    assert_eq!(refusal("[]"), EnvelopeError::EmptyBatch);
}

#[test]
fn what_is_no_array_or_no_json_is_refused_as_a_whole() {
    for body in ["[1,]", "[1][", "[", "[1,\"\\ud800\"]", CALL] {
        assert_eq!(refusal(body).reason(), "invalid_json", "{body}");
    }
}

#[test]
fn outside_of_its_revision_a_batch_is_refused() {
    let body = format!("[{CALL}]");
    assert_eq!(
        Envelope::parse(body.as_bytes()).unwrap_err().error,
        EnvelopeError::Batch
    );
}
