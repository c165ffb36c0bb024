//! The envelope of a request says what a general parser reads, in which the last of two equal keys wins.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpgw_agent::mcp::{Envelope, Kind};
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let Ok(envelope) = Envelope::parse(body) else { return };
    let value: Value = serde_json::from_slice(body).expect("a body that passes is JSON");
    let message = value.as_object().expect("a message is an object");
    assert_eq!(
        envelope.method.as_deref(),
        message.get("method").and_then(Value::as_str)
    );
    let id = envelope
        .id
        .map(|id| serde_json::from_str(id.get()).expect("an id is JSON"));
    assert_eq!(id.as_ref(), message.get("id"));
    let expected = match (message.contains_key("method"), message.contains_key("id")) {
        (true, true) => Kind::Request,
        (true, false) => Kind::Notification,
        (false, _) => Kind::Response,
    };
    assert_eq!(envelope.kind, expected);
    if let Some(tool) = envelope.tool() {
        assert_eq!(message["method"], "tools/call");
        assert_eq!(message["params"]["name"], tool);
    } else {
        assert_ne!(envelope.method.as_deref(), Some("tools/call"));
    }
});
