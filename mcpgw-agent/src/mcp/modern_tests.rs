use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{super::error::code, *};

const VERSION: &str = "2026-07-28";

/// The headers and the body of a request that passes.
struct Request {
    headers: Vec<(&'static str, String)>,
    body: Value,
}

fn request(method: &str, params: Value) -> Request {
    let mut headers = vec![
        (MCP_PROTOCOL_VERSION, VERSION.to_owned()),
        (MCP_METHOD, method.to_owned()),
    ];
    let name = params.get("name").or(params.get("uri")).or(params.get("taskId"));
    if let Some(name) = name.and_then(Value::as_str) {
        headers.push((MCP_NAME, name.to_owned()));
    }
    let mut body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    body["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    Request { headers, body }
}

fn call() -> Request {
    request("tools/call", json!({"name": "add"}))
}

impl Request {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| *header != name);
        self
    }

    fn meta(mut self, key: &str, value: Value) -> Self {
        self.body["params"]["_meta"][key] = value;
        self
    }

    fn check(&self) -> Result<(), Rejection> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        check(
            &headers,
            &Envelope::parse(self.body.to_string().as_bytes()).unwrap(),
            None,
        )
    }

    #[track_caller]
    fn refused(self, status: u16, code: i64) {
        let rejection = self.check().unwrap_err();
        assert_eq!(
            (rejection.status, rejection.code),
            (status, code),
            "{}",
            rejection.message
        );
    }
}

#[test]
fn a_request_that_says_the_same_everywhere_passes() {
    for request in [
        call(),
        request("prompts/get", json!({"name": "greet"})),
        request("resources/read", json!({"uri": "file:///a"})),
        request("tasks/get", json!({"taskId": "t"})),
        request("tools/list", json!({})),
        request("server/discover", json!({})),
        request("vendor/own", json!({})),
    ] {
        request.check().unwrap();
    }
}

#[test]
fn a_routing_header_that_is_there_twice_is_refused_even_with_the_same_value() {
    call()
        .with(MCP_PROTOCOL_VERSION, VERSION)
        .refused(400, code::HEADER_MISMATCH);
    call()
        .with(MCP_METHOD, "tools/call")
        .refused(400, code::HEADER_MISMATCH);
    call().with(MCP_NAME, "add").refused(400, code::HEADER_MISMATCH);
}

#[test]
fn a_request_without_its_metadata_is_refused_as_invalid_params() {
    for key in ["protocolVersion", "clientCapabilities"] {
        let mut request = call();
        let meta = request.body["params"]["_meta"].as_object_mut().unwrap();
        meta.remove(&format!("io.modelcontextprotocol/{key}")).unwrap();
        request.refused(400, code::INVALID_PARAMS);
    }
    let mut request = call();
    request.body["params"].as_object_mut().unwrap().remove("_meta");
    request.refused(400, code::INVALID_PARAMS);
}

#[test]
fn metadata_of_the_wrong_type_is_refused_as_invalid_params() {
    for version in [json!(null), json!(20260728)] {
        let request = call().meta("io.modelcontextprotocol/protocolVersion", version);
        request.refused(400, code::INVALID_PARAMS);
    }
    for capabilities in [json!(null), json!([])] {
        let request = call().meta("io.modelcontextprotocol/clientCapabilities", capabilities);
        request.refused(400, code::INVALID_PARAMS);
    }
}

#[test]
fn a_version_header_that_is_missing_or_says_another_version_than_the_body_is_a_header_mismatch() {
    call().without(MCP_PROTOCOL_VERSION).refused(400, code::HEADER_MISMATCH);
    let other = call()
        .without(MCP_PROTOCOL_VERSION)
        .with(MCP_PROTOCOL_VERSION, "2025-11-25");
    other.refused(400, code::HEADER_MISMATCH);
    let unknown = call()
        .without(MCP_PROTOCOL_VERSION)
        .with(MCP_PROTOCOL_VERSION, "2099-01-01");
    unknown.refused(400, code::HEADER_MISMATCH);
}

#[test]
fn a_method_header_that_is_missing_or_says_another_method_is_a_header_mismatch() {
    call().without(MCP_METHOD).refused(400, code::HEADER_MISMATCH);
    for method in ["tools/list", "Tools/Call", "", "tools/c\u{e4}ll"] {
        call()
            .without(MCP_METHOD)
            .with(MCP_METHOD, method)
            .refused(400, code::HEADER_MISMATCH);
    }
}

#[test]
fn a_name_header_that_is_missing_or_says_another_name_is_a_header_mismatch() {
    for request in [
        call,
        || request("prompts/get", json!({"name": "greet"})),
        || request("resources/read", json!({"uri": "file:///a"})),
        || request("tasks/cancel", json!({"taskId": "t"})),
    ] {
        request().without(MCP_NAME).refused(400, code::HEADER_MISMATCH);
        request()
            .without(MCP_NAME)
            .with(MCP_NAME, "other")
            .refused(400, code::HEADER_MISMATCH);
    }
}

#[test]
fn a_name_header_about_nothing_is_a_header_mismatch() {
    request("tools/list", json!({}))
        .with(MCP_NAME, "add")
        .refused(400, code::HEADER_MISMATCH);
}

#[test]
fn a_name_is_decoded_before_it_is_compared_and_refused_if_it_cannot_be() {
    let named = |header: &str| {
        request("tools/call", json!({"name": "größe"}))
            .without(MCP_NAME)
            .with(MCP_NAME, header)
    };
    assert!(named("=?base64?Z3LDtsOfZQ==?=").check().is_ok());
    for header in [
        "größe",
        "=?base64?Z3LDtsOfZQ?=",
        "=?base64?!?=",
        "=?BASE64?Z3LDtsOfZQ==?=",
    ] {
        named(header).refused(400, code::HEADER_MISMATCH);
    }
}

#[test]
fn a_version_that_is_not_spoken_is_answered_with_those_that_are() {
    for version in ["2099-01-01", "1900-01-01", "2025-11-25"] {
        let request = call()
            .without(MCP_PROTOCOL_VERSION)
            .with(MCP_PROTOCOL_VERSION, version)
            .meta("io.modelcontextprotocol/protocolVersion", json!(version));
        let rejection = request.check().unwrap_err();
        assert_eq!((rejection.status, rejection.code), (400, code::UNSUPPORTED_VERSION));
        let data: Value = serde_json::from_str(rejection.data.unwrap().get()).unwrap();
        assert_eq!(data["requested"], version);
        assert_eq!(data["supported"][0], VERSION);
    }
}

#[test]
fn a_method_that_is_gone_or_never_a_clients_is_not_found() {
    for (method, params) in [
        ("ping", json!({})),
        ("logging/setLevel", json!({"level": "info"})),
        ("resources/subscribe", json!({"uri": "u"})),
        ("resources/unsubscribe", json!({"uri": "u"})),
        ("initialize", json!({"protocolVersion": VERSION})),
        ("tasks/list", json!({})),
        ("roots/list", json!({})),
        ("sampling/createMessage", json!({})),
    ] {
        request(method, params).refused(404, code::METHOD_NOT_FOUND);
    }
}

#[test]
fn the_first_fault_in_the_order_of_the_specification_is_the_one_that_is_told() {
    let everything = || {
        let mut request = request("ping", json!({"name": "x"}))
            .without(MCP_PROTOCOL_VERSION)
            .with(MCP_PROTOCOL_VERSION, "2099-01-01")
            .with(MCP_METHOD, "pong");
        request.body["params"]["_meta"] = json!({});
        request
    };
    // Twice → metadata → header → version → method.
    everything().refused(400, code::HEADER_MISMATCH);
    let once = || {
        everything()
            .without(MCP_METHOD)
            .without(MCP_NAME)
            .with(MCP_METHOD, "pong")
    };
    once().refused(400, code::INVALID_PARAMS);
    let complete = || {
        once()
            .meta("io.modelcontextprotocol/protocolVersion", json!("2099-01-01"))
            .meta("io.modelcontextprotocol/clientCapabilities", json!({}))
    };
    complete().refused(400, code::HEADER_MISMATCH);
    let agreeing = || complete().without(MCP_METHOD).with(MCP_METHOD, "ping");
    agreeing().refused(400, code::UNSUPPORTED_VERSION);
    let spoken = agreeing()
        .without(MCP_PROTOCOL_VERSION)
        .with(MCP_PROTOCOL_VERSION, VERSION)
        .meta("io.modelcontextprotocol/protocolVersion", json!(VERSION));
    spoken.refused(404, code::METHOD_NOT_FOUND);
}

#[test]
fn a_notification_needs_no_metadata_but_what_it_says_must_be_true() {
    let notification = || {
        let mut request = request("notifications/cancelled", json!({"requestId": 1})).without(MCP_METHOD);
        request.body.as_object_mut().unwrap().remove("id");
        request.body["params"].as_object_mut().unwrap().remove("_meta");
        request
    };
    notification().check().unwrap();
    assert!(
        notification()
            .with(MCP_METHOD, "notifications/cancelled")
            .check()
            .is_ok()
    );
    notification()
        .with(MCP_METHOD, "tools/call")
        .refused(400, code::HEADER_MISMATCH);
    let gone = request("notifications/roots/list_changed", json!({}));
    gone.refused(404, code::METHOD_NOT_FOUND);
}

#[test]
fn a_tool_call_by_notification_is_checked_like_one_by_request() {
    let mut unnamed = call().without(MCP_NAME);
    unnamed.body.as_object_mut().unwrap().remove("id");
    unnamed.refused(400, code::HEADER_MISMATCH);
}

#[test]
fn a_client_sends_no_responses() {
    let mut request = call();
    request.body = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
    request.refused(400, code::INVALID_REQUEST);
}

#[test]
fn what_this_era_does_not_have_is_refused_as_that_also_without_a_name_header() {
    let request = || request("tasks/result", json!({"taskId": "t"}));
    request().refused(404, code::METHOD_NOT_FOUND);
    request().without(MCP_NAME).refused(404, code::METHOD_NOT_FOUND);
}
