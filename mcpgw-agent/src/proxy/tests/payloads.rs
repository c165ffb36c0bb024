//! Arguments in the audit log: none by default, and never what a rule names.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Proxied, desired as redirected,
    gateway::{ask, desired as behind_gateway, request, start as gateway},
    post,
    session_server::SessionServer,
};
use crate::resources::{AuditSettings, Desired, JsonPath, Payloads};

const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl";

/// With arguments in the log, but for passwords.
fn with_payloads(mut desired: Desired) -> Desired {
    desired.settings.audit = AuditSettings {
        payloads: Some(Arc::new(Payloads {
            redact: vec![JsonPath::parse("$..password").unwrap()],
            max_bytes: 200,
        })),
        ..AuditSettings::default()
    };
    desired
}

async fn on_both_paths(server: &SessionServer, payloads: bool) -> [(Proxied, &'static str); 2] {
    let settings = |desired| if payloads { with_payloads(desired) } else { desired };
    let direct = settings(redirected(server.address));
    let mut many = behind_gateway(&[server.address]);
    many.policies = direct.policies.clone();
    Arc::make_mut(&mut many.policies[0]).targets = vec![];
    [
        (Proxied::start_with(direct, Some(server.address)).await, ""),
        (gateway(settings(many)).await, "a_"),
    ]
}

fn call(tool: &str, arguments: &Value) -> Value {
    request("tools/call", json!({"name": tool, "arguments": arguments}))
}

#[tokio::test]
async fn arguments_are_in_the_line_without_what_a_rule_names_on_both_paths() {
    let server = SessionServer::start().await;
    let arguments = json!({"path": "/a\nb", "login": {"password": "hunter2"}, "auth": format!("Bearer {TOKEN}")});
    let shown = json!({"path": "/a\nb", "login": {"password": "[redacted]"}, "auth": "[redacted]"});
    for (proxied, prefix) in on_both_paths(&server, true).await {
        let dir = Arc::clone(&proxied.dir);
        // Allowed, denied, too large, and none at all.
        ask(&proxied, "", &call(&format!("{prefix}add"), &arguments)).await;
        ask(&proxied, "", &call(&format!("{prefix}big"), &arguments)).await;
        ask(
            &proxied,
            "",
            &call(&format!("{prefix}add"), &json!({"x": "y".repeat(200)})),
        )
        .await;
        ask(
            &proxied,
            "",
            &request("tools/call", json!({"name": format!("{prefix}add")})),
        )
        .await;
        let twice = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{prefix}add","arguments":{{"password":"hunter2","password":1}}}}}}"#
        );
        proxied.exchange(post("", &twice)).await;
        let lines = proxied.finish().await;
        let written: Vec<(&Value, &Value)> = lines
            .iter()
            .map(|line| (&line["arguments"], &line["argumentsOmitted"]))
            .collect();
        let expected = [
            (&shown, &Value::Null),
            (&shown, &Value::Null),
            (&Value::Null, &json!("too_large")),
            (&Value::Null, &Value::Null),
            (&Value::Null, &json!("ambiguous")),
        ];
        assert_eq!(written, expected, "{lines:?}");
        let text = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
        assert!(!text.contains("hunter2") && !text.contains(TOKEN), "{text}");
        assert_eq!(text.lines().count(), 5);
    }
    assert!(
        server.called().contains(&"add".to_owned()),
        "the server gets what the client wrote"
    );
}

#[tokio::test]
async fn by_default_no_argument_and_no_header_is_in_the_log() {
    let server = SessionServer::start().await;
    let arguments = json!({"path": "SECRET-1", "SECRET-2": [true]});
    for (proxied, prefix) in on_both_paths(&server, false).await {
        let dir = Arc::clone(&proxied.dir);
        let headers = format!("Authorization: Bearer {TOKEN}\r\nX-Api-Key: SECRET-3\r\nCookie: SECRET-4\r\n");
        for tool in ["add", "big"] {
            ask(&proxied, &headers, &call(&format!("{prefix}{tool}"), &arguments)).await;
        }
        assert_eq!(proxied.finish().await.len(), 2);
        let text = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
        assert!(
            !text.contains("SECRET") && !text.contains(TOKEN) && !text.contains("\"arguments\""),
            "{text}"
        );
    }
}
