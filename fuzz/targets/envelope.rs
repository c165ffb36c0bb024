//! The envelope of a request says what a general parser reads, in which the last of two equal keys wins.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpgw_agent::mcp::{Envelope, Kind, params::MetaKey};
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
    // What may be rewritten lies where it says.
    let params = &envelope.params;
    for (member, text) in [("name", &params.name), ("uri", &params.uri), ("cursor", &params.cursor)] {
        if let Some(text) = text {
            let written: Value = serde_json::from_slice(&body[text.span.clone()]).expect("a part is JSON");
            assert_eq!(
                (&written, &**text),
                (&message["params"][member], written.as_str().expect("a string"))
            );
        }
    }
    for part in [
        params.arguments,
        params.whole,
        envelope.progress_token(),
        envelope.id_part(),
    ]
    .into_iter()
    .flatten()
    {
        assert_eq!(&body[part.span()], part.get().as_bytes());
    }
    if let Some(token) = params.meta.get(MetaKey::ProgressToken) {
        let written: Value = serde_json::from_str(token.get()).expect("a part is JSON");
        assert_eq!(written, message["params"]["_meta"]["progressToken"]);
    }
    if let Some(arguments) = params.arguments
        && let Ok(arguments) = arguments.value()
    {
        assert_eq!(arguments, message["params"]["arguments"]);
    }
    if let Some(tool) = envelope.tool() {
        assert_eq!(message["method"], "tools/call");
        assert_eq!(message["params"]["name"], tool);
    } else {
        assert_ne!(envelope.method.as_deref(), Some("tools/call"));
    }
});
