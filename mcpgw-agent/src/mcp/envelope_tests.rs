use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::error::code, *};

fn refusal(body: &str) -> EnvelopeError {
    Envelope::parse(body.as_bytes()).expect_err(body).error
}

#[test]
fn a_tool_call_is_read_in_place() {
    let body =
        br#"{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{"name":"add","arguments":{"a":[1]}}}"#;
    let envelope = Envelope::parse(body).unwrap();
    assert_eq!(envelope.kind, Kind::Request);
    assert_eq!(envelope.tool(), Some("add"));
    assert_eq!(envelope.id.unwrap().get(), r#""a\u0062""#);
    assert!(matches!(envelope.params.name.unwrap().value, Cow::Borrowed(_)));
}

#[test]
fn escaped_keys_and_names_are_what_they_decode_to() {
    let body = r#"{"jsonrpc":"2.0","\u0069d":1,"\u006dethod":"tools\/call","params":{"n\u0061me":"b\u0069g"}}"#;
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    assert_eq!((envelope.kind, envelope.tool()), (Kind::Request, Some("big")));
    assert_eq!(
        refusal(r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/call"}"#),
        EnvelopeError::DuplicateKey("message")
    );
}

#[test]
fn kinds_are_told_apart() {
    let kind = |body: &str| Envelope::parse(body.as_bytes()).unwrap().kind;
    assert_eq!(kind(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#), Kind::Request);
    assert_eq!(
        kind(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
        Kind::Notification
    );
    assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), Kind::Response);
    assert_eq!(
        kind(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#),
        Kind::Response
    );
}

#[test]
fn a_tool_call_by_notification_is_a_tool_call_too() {
    let body = br#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"big"}}"#;
    assert_eq!(Envelope::parse(body).unwrap().tool(), Some("big"));
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    use EnvelopeError as E;
    for (body, error) in [
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, E::Batch),
        (r#"17"#, E::NotAnObject),
        (
            r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}"#,
            E::DuplicateKey("message"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"a","name":"b"}}"#,
            E::DuplicateKey("params"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"x":1,"\u0078":2}}}"#,
            E::DuplicateKey("params._meta"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
            E::AmbiguousKey("message"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","paramſ":{}}"#,
            E::AmbiguousKey("message"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}"#,
            E::AmbiguousKey("params"),
        ),
        (r#"{"id":1,"method":"ping"}"#, E::Version),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, E::Version),
        (r#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#, E::Method),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, E::Id),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, E::Id),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, E::Shape),
        (r#"{"jsonrpc":"2.0","id":1}"#, E::Shape),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
            E::Shape,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["big"]}"#,
            E::Params("params"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":7}}"#,
            E::Params("params._meta"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a","URI":"b"}}"#,
            E::AmbiguousKey("params"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_META":{}}}"#,
            E::AmbiguousKey("params"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"ProgressToken":1}}}"#,
            E::AmbiguousKey("params._meta"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"a","name":"b"}}}"#,
            E::DuplicateKey("params.ref"),
        ),
    ] {
        assert_eq!(refusal(body), error, "{body}");
    }
}

#[test]
fn what_is_no_json_is_a_parse_error() {
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"m","x":{}1{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    let bodies: [&[u8]; 8] = [
        b"",
        b"{",
        br#"{"jsonrpc":"2.0","id":1,"method":"ping"} {"#,
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\xff\"}",
        b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
        br#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#,
        br#"{"jsonrpc":"2.0","id":1e999,"method":"ping"}"#,
        deep.as_bytes(),
    ];
    for body in bodies {
        let refused = Envelope::parse(body).unwrap_err();
        assert_eq!(
            refused.error.code(),
            code::PARSE_ERROR,
            "{}",
            String::from_utf8_lossy(body)
        );
        assert!(refused.id.is_none());
    }
}

#[test]
fn a_call_without_a_name_is_answered_to_its_id() {
    let refused = Envelope::parse(br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}"#).unwrap_err();
    assert_eq!(
        (refused.error.code(), refused.id.unwrap().get()),
        (code::INVALID_PARAMS, "7")
    );
}

#[test]
fn the_subject_of_a_message_depends_on_its_method() {
    let subject = |method: &str| {
        let body =
            json!({"jsonrpc":"2.0","id":1,"method":method,"params":{"name":"n","uri":"u","taskId":"t"}}).to_string();
        Envelope::parse(body.as_bytes()).unwrap().subject().map(str::to_owned)
    };
    assert_eq!(subject("prompts/get").as_deref(), Some("n"));
    assert_eq!(subject("resources/read").as_deref(), Some("u"));
    assert_eq!(subject("tasks/cancel").as_deref(), Some("t"));
    assert_eq!(subject("ping"), None);
}

/// A request with this method, and `params` that say nothing but what is given.
fn request(method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

#[test]
fn a_method_that_is_about_something_needs_to_say_about_what() {
    for (method, member) in [
        ("tools/call", "params.name"),
        ("prompts/get", "params.name"),
        ("resources/read", "params.uri"),
        ("resources/subscribe", "params.uri"),
        ("resources/unsubscribe", "params.uri"),
        ("tasks/get", "params.taskId"),
        ("tasks/result", "params.taskId"),
        ("tasks/cancel", "params.taskId"),
        ("tasks/update", "params.taskId"),
        ("completion/complete", "params.ref"),
    ] {
        for params in [
            json!({}),
            json!({"name": 7, "uri": null, "taskId": [], "ref": "x"}),
            json!({"ref": {"type": "ref/prompt", "uri": "u"}}),
            json!({"ref": {"type": "ref/resource", "name": "n"}}),
        ] {
            let error = refusal(&request(method, params));
            assert_eq!(error, EnvelopeError::Subject(method_name(method), member));
            assert_eq!(error.code(), code::INVALID_PARAMS);
        }
        let params = json!({"name": "n", "uri": "u", "taskId": "t", "ref": {"type": "ref/prompt", "name": "n"}});
        Envelope::parse(request(method, params).as_bytes()).unwrap();
    }
    let bare = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;
    assert!(Envelope::parse(bare).is_err());
}

fn method_name(method: &str) -> &'static str {
    Method::of(method).name().unwrap()
}

#[test]
fn a_name_over_its_bound_is_refused() {
    let refused = |method: &str, params: Value| refusal(&request(method, params));
    let text = |length: usize| "x".repeat(length);
    let (name, uri) = (Params::MAX_NAME, Params::MAX_URI);
    assert_eq!(
        refused("tools/call", json!({"name": text(name + 1)})),
        EnvelopeError::TooLong("params.name", name)
    );
    assert_eq!(
        refused("resources/read", json!({"uri": text(uri + 1)})),
        EnvelopeError::TooLong("params.uri", uri)
    );
    assert_eq!(
        refused("tasks/get", json!({"taskId": text(uri + 1)})),
        EnvelopeError::TooLong("params.taskId", uri)
    );
    assert_eq!(
        refused(
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": text(name + 1)}})
        ),
        EnvelopeError::TooLong("params.ref.name", name)
    );
    assert_eq!(
        refused("tools/list", json!({"cursor": text(Params::MAX_CURSOR + 1)})),
        EnvelopeError::TooLong("params.cursor", Params::MAX_CURSOR)
    );
    assert_eq!(
        refused(&text(MAX_METHOD + 1), json!({})),
        EnvelopeError::TooLong("method", MAX_METHOD)
    );
    let id = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, text(MAX_ID));
    assert_eq!(refusal(&id), EnvelopeError::TooLong("id", MAX_ID));
    // Escapes do not count: what is compared and shown is the decoded name.
    let escaped = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{}"}}}}"#,
        "\\u0061".repeat(name)
    );
    assert_eq!(Envelope::parse(escaped.as_bytes()).unwrap().tool().unwrap().len(), name);
}

#[test]
fn a_method_that_is_gone_needs_nothing_where_it_is_gone() {
    let params = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}});
    Envelope::parse(request("resources/subscribe", params.clone()).as_bytes()).unwrap();
    assert!(Envelope::parse(request("resources/read", params).as_bytes()).is_err());
}

#[test]
fn a_response_says_whether_it_is_an_error() {
    for (body, is_error) in [
        (r#"{"jsonrpc":"2.0","id":"a","result":{}}"#, false),
        (r#"{"jsonrpc":"2.0","id":"a","result":null}"#, false),
        (r#"{"jsonrpc":"2.0","id":"a","result":{},"error":null}"#, false),
        (r#"{"jsonrpc":"2.0","id":"a","error":{"code":1,"message":""}}"#, true),
    ] {
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        assert_eq!(
            (envelope.kind, envelope.is_error()),
            (Kind::Response, is_error),
            "{body}"
        );
        assert_eq!(&body[envelope.id_span().unwrap()], "\"a\"");
    }
}

#[test]
fn progress_is_wanted_by_requests_and_told_by_notifications() {
    let token = |method: &str| {
        let params = json!({"progressToken": "told", "_meta": {"progressToken": "wanted"}});
        let body = request(method, params);
        Envelope::parse(body.as_bytes())
            .unwrap()
            .progress_token()
            .and_then(|token| token.text())
            .unwrap()
            .into_owned()
    };
    assert_eq!(token("tools/list"), "wanted");
    assert_eq!(token("notifications/progress"), "told");
}

/// The same rules, said over a parsed value.
fn acceptable(value: &Value) -> bool {
    const KEYS: [&str; 3] = ["name", "arguments", "_meta"];

    let Some(message) = value.as_object() else { return false };
    let scalar = |id: &Value| id.is_string() || id.is_number() || id.is_null();
    let there = |key: &str| message.get(key).is_some_and(|value| !value.is_null());
    let answers = message.contains_key("result") || message.contains_key("error");
    let alike = message.keys().any(|key| looks_like(key, &ENVELOPE));
    let method = message.get("method");
    let params = message.get("params").and_then(Value::as_object);
    let call = method == Some(&json!("tools/call"));
    let known = call || method == Some(&json!("ping"));
    let object = |value: Option<&Value>| value.is_none_or(|value| value.is_null() || value.is_object());
    let meta = params.and_then(|params| params.get("_meta"));
    message.get("jsonrpc") == Some(&json!("2.0"))
        && message.get("id").is_none_or(scalar)
        && method.is_none_or(Value::is_string)
        && method.is_some() != answers
        && !(there("result") && there("error"))
        && !alike
        && (method.is_none() || object(message.get("params")) && object(meta))
        && (!call || params.is_some_and(|p| p.get("name").is_some_and(Value::is_string)))
        && (!known || !params.is_some_and(|p| p.keys().any(|key| looks_like(key, &KEYS))))
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        Just(json!("2.0")),
        Just(json!("tools/call")),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..6).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 10] = [
        "jsonrpc",
        "id",
        "method",
        "params",
        "name",
        "_meta",
        "arguments",
        "result",
        "Name",
        "METHOD",
    ];
    prop_oneof![4 => prop::sample::select(&KNOWN[..]).prop_map(str::to_owned), 1 => ".{0,4}"]
}

fn message() -> impl Strategy<Value = Value> {
    let method = prop_oneof![Just(json!("tools/call")), Just(json!("ping")), scalar()];
    let members = (
        prop::option::weighted(0.9, method),
        prop::option::weighted(0.8, scalar()),
        value(),
        value(),
    );
    (members, prop::option::weighted(0.2, (key(), value())), any::<bool>()).prop_map(
        |((method, id, params, name), extra, call)| {
            let mut message = json!({"jsonrpc": "2.0", "params": params});
            if let Some(method) = method {
                message["method"] = method;
            }
            if let Some(id) = id {
                message["id"] = id;
            }
            if call {
                message["params"] = json!({"name": name, "arguments": {}});
            }
            if let Some((key, value)) = extra {
                message[key] = value;
            }
            message
        },
    )
}

proptest! {
    #[test]
    fn accepts_exactly_what_a_value_parser_accepts_and_the_rules_allow(value in prop_oneof![value(), message()]) {
        let text = value.to_string();
        match Envelope::parse(text.as_bytes()) {
            Ok(envelope) => {
                prop_assert!(acceptable(&value));
                prop_assert_eq!(envelope.method.as_deref(), value.get("method").and_then(Value::as_str));
                prop_assert_eq!(envelope.id.map(|id| id.get().to_owned()), value.get("id").map(Value::to_string));
                if let Some(tool) = envelope.tool() {
                    prop_assert_eq!(Some(tool), value["params"]["name"].as_str());
                }
            }
            Err(refused) => prop_assert!(!acceptable(&value), "{}", refused.error),
        }
    }

    #[test]
    fn a_damaged_message_is_never_read_as_more_than_a_value_parser_reads(
        value in message(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut text = value.to_string().into_bytes();
        let at = at.index(text.len());
        if cut { text.truncate(at) } else { text[at] = byte }
        let parsed = serde_json::from_slice::<Value>(&text);
        if let Ok(envelope) = Envelope::parse(&text) {
            let value = parsed.unwrap();
            prop_assert_eq!(envelope.method.as_deref(), value.get("method").and_then(Value::as_str));
            prop_assert_eq!(envelope.tool(), envelope.tool().and(value["params"]["name"].as_str()));
        }
    }

    #[test]
    fn a_repeated_key_is_refused_wherever_it_stands(
        keys in prop::collection::hash_set("[a-z]{1,5}[0-9]", 1..40), pick in any::<prop::sample::Index>(),
        place in 0..3usize, escape in any::<bool>(),
    ) {
        let mut keys: Vec<String> = keys.into_iter().collect();
        let repeated = keys[pick.index(keys.len())].clone();
        keys.push(if escape {
            repeated.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect()
        } else {
            repeated
        });
        let members = keys.iter().map(|key| format!("\"{key}\":0")).collect::<Vec<_>>().join(",");
        let (message, params, meta) = match place {
            0 => (format!(",{members}"), String::new(), String::new()),
            1 => (String::new(), format!(",{members}"), String::new()),
            _ => (String::new(), String::new(), members),
        };
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","_meta":{{{meta}}}{params}}}{message}}}"#
        );
        prop_assert!(matches!(Envelope::parse(body.as_bytes()).unwrap_err().error, EnvelopeError::DuplicateKey(_)));
    }
}
