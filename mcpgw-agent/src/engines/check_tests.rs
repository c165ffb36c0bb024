use std::sync::Arc;

use super::*;
use crate::identity::{Token, WorkloadIdentity};

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName {
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn caller() -> Caller {
    Caller {
        workload: Some(Arc::new(WorkloadIdentity::new(name("agents", "pod-1"), "ci".into()))),
        token: Some(Arc::new(Token {
            ends: u64::MAX,
            issuer: "https://issuer.example".into(),
            subject: "alice".into(),
            groups: vec!["blue".into()],
            claims: Default::default(),
            service_account: None,
        })),
        destination: "10.0.0.1:80".parse().unwrap(),
        client: None,
        process: None,
        observed: false,
    }
}

/// The attributes of a call with these arguments and headers.
fn attributes(arguments: Option<&str>, headers: &[(&'static str, &str)]) -> Result<AttributeContext, Untold> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    let caller = caller();
    let check = Check {
        caller: &caller,
        path: "gateway",
        server: &name("tools", "calc"),
        governed: Governed {
            method: "tools/call",
            kind: Kind::Tool,
            name: "add",
        },
        arguments: arguments.map(|text| Part::of_body(text.as_bytes()).unwrap()),
        id: None,
        http_path: "/mcp/few",
        version: Version::HTTP_11,
        headers: &map,
    };
    check.message().map(|message| message.attributes.unwrap())
}

/// Our part of the metadata, as JSON.
fn metadata(attributes: &AttributeContext) -> Json {
    fn json(value: &Value) -> Json {
        match value.kind.as_ref().unwrap() {
            value::Kind::NullValue(_) => Json::Null,
            value::Kind::NumberValue(number) => (*number).into(),
            value::Kind::StringValue(text) => text.as_str().into(),
            value::Kind::BoolValue(flag) => (*flag).into(),
            value::Kind::StructValue(members) => members
                .fields
                .iter()
                .map(|(key, value)| (key.clone(), json(value)))
                .collect(),
            value::Kind::ListValue(list) => list.values.iter().map(json).collect(),
        }
    }
    let all = attributes.metadata_context.as_ref().unwrap();
    json(&object(all.filter_metadata[OURS].fields.clone()))
}

#[test]
fn an_engine_is_told_who_asks_what_of_whom() {
    let found = attributes(None, &[]).unwrap();
    let extensions: std::collections::BTreeMap<_, _> = found.context_extensions.clone().into_iter().collect();
    let expected = [
        ("identity.issuer", "https://issuer.example"),
        ("identity.namespace", "agents"),
        ("identity.principal", "system:serviceaccount:agents:ci"),
        ("identity.serviceAccount", "ci"),
        ("identity.subject", "alice"),
        ("identity.workload", "agents/pod-1"),
        ("mcp.method", "tools/call"),
        ("mcp.server", "tools/calc"),
        ("mcp.tool", "add"),
        ("path", "gateway"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(extensions, expected.into_iter().collect());
    assert_eq!(
        metadata(&found),
        serde_json::json!({
            "path": "gateway",
            "mcp": {"method": "tools/call", "server": "tools/calc", "tool": "add"},
            "identity": {
                "principal": "system:serviceaccount:agents:ci", "namespace": "agents", "serviceAccount": "ci",
                "workload": "agents/pod-1", "issuer": "https://issuer.example", "subject": "alice", "groups": ["blue"],
            },
        })
    );
    let http = found.request.unwrap().http.unwrap();
    assert_eq!(
        (&*http.method, &*http.path, &*http.protocol),
        ("POST", "/mcp/few", "HTTP/1.1")
    );
    assert_eq!(found.source.unwrap().principal, "system:serviceaccount:agents:ci");
    assert_eq!(found.destination.unwrap().service, "tools/calc");
}

#[test]
fn no_header_that_could_be_a_credential_is_told() {
    let found = attributes(
        None,
        &[
            ("authorization", "Bearer secret"),
            ("proxy-authorization", "Basic secret"),
            ("cookie", "session=secret"),
            ("x-api-key", "secret"),
            ("mcp-session-id", "secret"),
            ("user-agent", "test"),
            ("accept", "application/json"),
            ("accept", "text/event-stream"),
        ],
    );
    let http = found.unwrap().request.unwrap().http.unwrap();
    let expected = [("user-agent", "test"), ("accept", "application/json,text/event-stream")];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(http.headers, expected.into());
}

#[test]
fn arguments_are_told_as_they_are_or_not_at_all() {
    let arguments = r#"{"a":[1,-2.5,true,null],"b":{"c":"\u0064"},"n":9007199254740992}"#;
    let found = attributes(Some(arguments), &[]).unwrap();
    assert_eq!(
        metadata(&found)["mcp"]["arguments"],
        serde_json::json!({"a": [1.0, -2.5, true, null], "b": {"c": "d"}, "n": 9007199254740992.0})
    );
    let untold = |arguments: &str| attributes(Some(arguments), &[]).unwrap_err();
    for large in ["9007199254740993", "-9007199254740993", "18446744073709551615"] {
        assert_eq!(untold(&format!("{{\"a\":[{large}]}}")), Untold::Number, "{large}");
    }
    assert!(matches!(untold(r#"{"a":1,"\u0061":2}"#), Untold::Unreadable(_)));
    let long = format!("\"{}\"", "x".repeat(MAX_ARGUMENTS));
    assert_eq!(untold(&long), Untold::Long(MAX_ARGUMENTS + 2));
}
