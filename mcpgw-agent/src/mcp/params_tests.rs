use serde_json::json;

use super::{super::Envelope, *};

/// Every part lies where it says.
#[test]
fn parts_know_what_they_are_and_where_they_are() {
    let body = r#"{ "jsonrpc":"2.0", "id" : "a", "method":"tools/call",
        "params" : { "name":"n\u0061me", "uri":"u", "taskId":"t", "cursor":"c", "arguments":{"a":[1, 2]},
        "ref":{"type":"ref/resource","uri":"x/{y}"}, "requestId":7, "progressToken":"p", "protocolVersion":"v",
        "clientInfo":{"name":"i"}, "capabilities":{}, "level":"info", "requestState":"s", "inputResponses":{"k":{}}, "task":{"ttl":1},
        "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28", "io.modelcontextprotocol/clientCapabilities":{"roots":{}},
        "io.modelcontextprotocol/clientInfo":{"name":"j"}, "io.modelcontextprotocol/logLevel":"debug", "progressToken":1.5,
        "traceparent":"00-1", "tracestate":"a=b", "baggage":"c=d", "other":1} } }"#;
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    let params = &envelope.params;
    let text = |text: &Option<Text<'_>>| {
        let text = text.clone().unwrap();
        let written: String = serde_json::from_str(&body[text.span]).unwrap();
        assert_eq!(written, text.value);
        written
    };
    let part = |part: Option<Part<'_>>| {
        let part = part.unwrap();
        assert_eq!(&body[part.span()], part.get());
        assert_eq!(part.raw().unwrap().get(), part.get());
        part.get().to_owned()
    };
    let reference = params.reference.clone().unwrap();
    assert_eq!(text(&params.name), "name");
    assert_eq!(text(&params.uri), "u");
    assert_eq!(text(&params.task_id), "t");
    assert_eq!(text(&params.cursor), "c");
    assert_eq!(text(&params.protocol_version), "v");
    assert_eq!(part(params.level), r#""info""#);
    let Some(Target::Resource(uri)) = reference.target() else {
        panic!("{reference:?}")
    };
    assert_eq!(text(&Some(uri.clone())), "x/{y}");
    assert_eq!(part(params.arguments), r#"{"a":[1, 2]}"#);
    assert_eq!(part(params.request_id), "7");
    assert_eq!(part(params.progress_token), r#""p""#);
    assert_eq!(part(params.client_info), r#"{"name":"i"}"#);
    assert_eq!(part(params.capabilities), "{}");
    assert_eq!(part(params.request_state), r#""s""#);
    assert_eq!(part(params.input_responses), r#"{"k":{}}"#);
    assert_eq!(part(params.task), r#"{"ttl":1}"#);
    assert_eq!(part(envelope.id_part()), r#""a""#);
    for (key, value) in [
        (MetaKey::ProtocolVersion, r#""2026-07-28""#),
        (MetaKey::ClientCapabilities, r#"{"roots":{}}"#),
        (MetaKey::ClientInfo, r#"{"name":"j"}"#),
        (MetaKey::LogLevel, r#""debug""#),
        (MetaKey::ProgressToken, "1.5"),
        (MetaKey::Traceparent, r#""00-1""#),
        (MetaKey::Tracestate, r#""a=b""#),
        (MetaKey::Baggage, r#""c=d""#),
    ] {
        assert_eq!(part(params.meta.get(key)), value, "{}", key.as_str());
    }
    assert!(params.meta.get(MetaKey::RelatedTask).is_none());
    for whole in [params.whole, params.meta.whole] {
        let whole = whole.unwrap();
        let members = whole.members().unwrap();
        assert_eq!((&body[members.at - 1..members.at], members.empty), ("{", false));
        assert_eq!(&body[whole.span().end - 1..whole.span().end], "}");
    }
}

#[test]
fn every_key_of_the_metadata_is_the_one_that_it_is_read_by() {
    for (place, key) in [
        MetaKey::ProtocolVersion,
        MetaKey::ClientCapabilities,
        MetaKey::ClientInfo,
        MetaKey::LogLevel,
        MetaKey::RelatedTask,
        MetaKey::ProgressToken,
        MetaKey::Traceparent,
        MetaKey::Tracestate,
        MetaKey::Baggage,
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({"jsonrpc": "2.0", "method": "m", "params": {"_meta": {key.as_str(): place}}}).to_string();
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        assert_eq!(envelope.params.meta.get(key).unwrap().get(), place.to_string());
    }
}

#[test]
fn what_has_another_type_is_absent() {
    let body =
        json!({"jsonrpc": "2.0", "method": "tools/list", "params": {"name": 1, "cursor": null, "ref": []}}).to_string();
    let params = Envelope::parse(body.as_bytes()).unwrap().params;
    assert!(params.name.is_none() && params.cursor.is_none() && params.reference.is_none());
}

/// The arguments of a call, as a rule sees them.
fn arguments(json: &str) -> Result<serde_json::Value, EnvelopeError> {
    let body = format!(r#"{{"jsonrpc":"2.0","method":"tools/call","params":{{"name":"a","arguments":{json}}}}}"#);
    Envelope::parse(body.as_bytes())
        .unwrap()
        .params
        .arguments
        .unwrap()
        .value()
}

#[test]
fn arguments_are_what_they_say_wherever_that_is_one_thing() {
    let json = r#"{"a":[1,-2.5,1e3,true,null,"x\u0061",{"":{"a":"\ud83d\ude00"}}],"b":{}}"#;
    assert_eq!(
        arguments(json).unwrap(),
        serde_json::from_str::<serde_json::Value>(json).unwrap()
    );
}

#[test]
fn arguments_with_a_key_twice_at_any_depth_are_refused_to_rules() {
    for json in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"x":[{"y":{"a":1,"b":{},"a":2}}]}"#,
    ] {
        assert_eq!(arguments(json).unwrap_err().reason(), "duplicate_key", "{json}");
    }
}
