//! What the audit log has beside calls that are decided: lists, what nobody has, and what stands for arguments.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Answer, Proxied, call as plain_call, desired as redirected,
    gateway::{ask, desired as behind_gateway, request, start as gateway},
    name, post, post_modern,
    session_server::SessionServer,
    upstreams::Upstream,
};
use crate::resources::{JsonPath, Payloads, Policy, PolicyAudit};

/// The server behind both paths, with the tool `big` denied; and what stands before names.
async fn on_both_paths(server: &SessionServer, also: &[Policy]) -> [(Proxied, &'static str); 2] {
    let mut direct = redirected(server.address);
    let mut many = behind_gateway(&[server.address]);
    many.policies = direct.policies.clone();
    Arc::make_mut(&mut many.policies[0]).targets = vec![];
    for desired in [&mut direct, &mut many] {
        desired.policies.extend(also.iter().cloned().map(Arc::new));
    }
    [
        (Proxied::start_with(direct, Some(server.address)).await, ""),
        (gateway(many).await, "a_"),
    ]
}

fn call(tool: &str, arguments: &Value) -> Value {
    request("tools/call", json!({"name": tool, "arguments": arguments}))
}

#[tokio::test]
async fn a_list_is_recorded_on_both_paths_with_what_it_shows_and_hides() {
    let server = SessionServer::start().await;
    for (proxied, prefix) in on_both_paths(&server, &[]).await {
        // What was shortened on its way comes in chunks.
        let text = proxied
            .exchange(post("", &request("tools/list", json!({})).to_string()))
            .await;
        assert_eq!(text.matches(r#""name":"#).count(), 1, "{text}");
        let metrics = {
            // The record closes behind the answer.
            let line = r#"mcp_method_name="tools/list""#;
            while !proxied.telemetry.render().contains(line) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            proxied.telemetry.render()
        };
        assert!(
            metrics.contains(r#"mcp_server_operation_duration_seconds_count{mcp_method_name="tools/list"} 1"#),
            "{metrics}"
        );
        let lines = proxied.finish().await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = &lines[0];
        assert_eq!(
            (&line["event"], &line["method"], &line["decision"], &line["outcome"]),
            (
                &json!("mcp_request"),
                &json!("tools/list"),
                &json!("allow"),
                &json!("ok")
            )
        );
        assert_eq!((&line["shown"], &line["hidden"]), (&json!(1), &json!(1)), "{line}");
        assert_eq!((&line["requestId"], &line["status"]), (&json!(7), &json!(200)));
        assert_eq!(line["identity"]["namespace"], "agents");
        // One server's, or those of all that its caller sees.
        assert_eq!(line["server"].as_str(), prefix.is_empty().then_some("tools/calc"));
        assert!(line["responseBytes"].as_u64().unwrap() > 0);
    }
}

#[tokio::test]
async fn who_begins_a_conversation_is_recorded_on_both_paths_and_in_both_eras() {
    let server = SessionServer::start().await;
    let info = json!({"name": "test agent", "version": "1.0"});
    let legacy = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info});
    for (proxied, prefix) in on_both_paths(&server, &[]).await {
        let opened = ask(&proxied, "", &request("initialize", legacy.clone())).await;
        assert!(opened.header("mcp-session-id").is_some(), "{opened:?}");
        let meta = json!({"_meta": {"io.modelcontextprotocol/clientInfo": info}});
        let asked = proxied.exchange(post_modern("", "server/discover", meta)).await;
        let (path, discovers) = match prefix {
            "" => ("redirected", false),
            _ => ("gateway", true),
        };
        assert_eq!(Answer::of(&asked).body["result"].is_object(), discovers, "{asked}");
        let counted = r#"mcp_server_operation_duration_seconds_count{mcp_method_name="initialize"} 1"#;
        let telemetry = Arc::clone(&proxied.telemetry);
        let lines = proxied.finish().await;
        let metrics = telemetry.render();
        assert!(metrics.contains(counted), "{metrics}");
        assert_eq!(lines.len(), 2, "{lines:?}");
        for (line, method, revision) in [
            (&lines[0], "initialize", "2025-06-18"),
            (&lines[1], "server/discover", "2026-07-28"),
        ] {
            assert_eq!(
                (&line["event"], &line["method"], &line["path"], &line["decision"]),
                (&json!("mcp_request"), &json!(method), &json!(path), &json!("allow"))
            );
            let client = json!({"name": "test agent", "version": "1.0", "protocolVersion": revision});
            assert_eq!(line["client"], client, "{line}");
            assert_eq!(line["server"].as_str(), prefix.is_empty().then_some("tools/calc"));
            assert_eq!(line["identity"]["namespace"], "agents");
        }
        assert_eq!(
            (&lines[0]["outcome"], &lines[0]["status"]),
            (&json!("ok"), &json!(200)),
            "{lines:?}"
        );
        assert_eq!(
            lines[0]["responseBytes"].to_string(),
            opened.header("content-length").unwrap()
        );
    }
}

#[tokio::test]
async fn a_list_that_nobody_cuts_is_recorded_without_a_count() {
    let upstream = Upstream::start().await;
    let mut open = redirected(upstream.address);
    open.policies.clear();
    let proxied = Proxied::start_with(open, Some(upstream.address)).await;
    ask(&proxied, "", &request("prompts/list", json!({}))).await;
    let lines = proxied.finish().await;
    assert_eq!((lines.len(), &lines[0]["method"]), (1, &json!("prompts/list")));
    assert_eq!((&lines[0]["shown"], &lines[0]["hidden"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_call_of_what_nobody_has_is_a_denied_tool_call_with_its_name_in_the_log_and_no_series_of_its_own() {
    let server = SessionServer::start().await;
    let proxied = gateway(behind_gateway(&[server.address])).await;
    let long = "x".repeat(1_000);
    for tool in ["a_invented", "b_invented", &long] {
        let answer = ask(&proxied, "", &call(tool, &json!({}))).await;
        assert_eq!(answer.code(), Some(-32602));
    }
    ask(&proxied, "", &request("prompts/get", json!({"name": "invented"}))).await;
    let metrics = proxied.telemetry.render();
    let series: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("mcp_tool_calls_total{"))
        .collect();
    assert_eq!(series.len(), 1, "{series:?}");
    for part in [
        r#"tool_name="_other""#,
        r#"outcome="denied""#,
        r#"path="gateway""#,
        "} 3",
    ] {
        assert!(series[0].contains(part), "{part} in {}", series[0]);
    }
    assert!(
        metrics.contains(r#"mcpgw_requests_refused_total{reason="unknown_tool"} 3"#),
        "{metrics}"
    );
    let lines = proxied.finish().await;
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(
        (&lines[0]["event"], &lines[0]["tool"], &lines[0]["method"]),
        (&json!("tool_call"), &json!("a_invented"), &json!("tools/call"))
    );
    assert_eq!(
        (&lines[0]["decision"], &lines[0]["outcome"], &lines[0]["reason"]),
        (&json!("deny"), &json!("denied"), &json!("unknown_tool"))
    );
    assert_eq!(lines[0]["server"], Value::Null);
    assert!(lines[2]["tool"].as_str().unwrap().len() < 600);
    assert_eq!(
        (&lines[3]["event"], &lines[3]["prompt"], &lines[3]["reason"]),
        (&json!("mcp_request"), &json!("invented"), &json!("unknown_name"))
    );
}

#[tokio::test]
async fn equal_arguments_have_equal_hashes_and_nobody_can_make_them_without_the_key() {
    use aws_lc_rs::digest::{SHA256, digest};
    let server = SessionServer::start().await;
    let (mine, other) = (json!({"account": "42"}), json!({"account": "43"}));
    let mut of_agents = Vec::new();
    for (proxied, prefix) in on_both_paths(&server, &[]).await {
        for (tool, arguments) in [("add", &mine), ("big", &mine), ("add", &other)] {
            ask(&proxied, "", &call(&format!("{prefix}{tool}"), arguments)).await;
        }
        let without = request("tools/call", json!({"name": format!("{prefix}add")}));
        ask(&proxied, "", &without).await;
        let lines = proxied.finish().await;
        let hashes: Vec<&Value> = lines.iter().map(|line| &line["argumentsHash"]).collect();
        assert_eq!(hashes[0], hashes[1], "denied or not: {lines:?}");
        assert_ne!(hashes[0], hashes[2]);
        assert_eq!(hashes[3], &Value::Null);
        let hash = hashes[0].as_str().unwrap().to_owned();
        assert_eq!(hash.len(), 32);
        let plain: String = digest(&SHA256, mine.to_string().as_bytes()).as_ref()[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_ne!(hash, plain);
        of_agents.push(hash);
    }
    assert_ne!(of_agents[0], of_agents[1], "two agents with keys of their own");
}

#[tokio::test]
async fn a_policy_asks_for_arguments_of_its_servers_and_all_redactions_apply() {
    let server = SessionServer::start().await;
    let path = |text: &str| JsonPath::parse(text).unwrap();
    let policy = |policy: &str, target: &str, audit: PolicyAudit| Policy {
        name: name("tools", policy),
        targets: vec![target.into()],
        audit,
        ..Policy::default()
    };
    let asking = |redact: &str, max_bytes| PolicyAudit {
        payloads: Some(Payloads {
            redact: vec![path(redact)],
            max_bytes,
        }),
        redact: vec![],
    };
    let only = |redact: &str| PolicyAudit {
        payloads: None,
        redact: vec![path(redact)],
    };
    let arguments = json!({"a": 1, "b": 2, "c": 3, "d": 4});
    let written = async |policies: &[PolicyAudit]| {
        let mut desired = redirected(server.address);
        for (index, audit) in policies.iter().enumerate() {
            let policy = policy(&format!("p{index}"), "calc", audit.clone());
            desired.policies.push(Arc::new(policy));
        }
        let elsewhere = policy("elsewhere", "other", asking("$.d", 1_000));
        desired.policies.push(Arc::new(elsewhere));
        let proxied = Proxied::start_with(desired, Some(server.address)).await;
        ask(&proxied, "", &call("add", &arguments)).await;
        let line = proxied.finish().await.remove(0);
        (line["arguments"].clone(), line["argumentsOmitted"].clone())
    };
    assert_eq!(
        written(&[]).await,
        (Value::Null, Value::Null),
        "of others' servers alone"
    );
    assert_eq!(written(&[only("$.a")]).await.0, Value::Null, "nobody asks");
    let both = [asking("$.a", 1_000), only("$.b"), asking("$.c", 2_000)];
    let expected = json!({"a": "[redacted]", "b": "[redacted]", "c": "[redacted]", "d": 4});
    assert_eq!(written(&both).await.0, expected);
    let smaller = [asking("$.a", 1_000), asking("$.b", 10)];
    assert_eq!(written(&smaller).await, (Value::Null, json!("too_large")));
}

#[tokio::test]
async fn a_list_in_a_batch_is_recorded_as_any_other() {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    let batch = format!(
        r#"[{},{{"jsonrpc":"2.0","id":2,"method":"tools/list"}}]"#,
        plain_call("add")
    );
    assert_eq!(Answer::of(&proxied.exchange(post("", &batch)).await).status, 200);
    let lines = proxied.finish().await;
    let methods: Vec<&Value> = lines.iter().map(|line| &line["method"]).collect();
    assert_eq!(methods, ["tools/call", "tools/list"]);
}

#[tokio::test]
async fn a_trace_that_only_the_caller_knows_is_named_in_the_line() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    ask(
        &proxied,
        &format!("traceparent: {parent}\r\n"),
        &call("add", &json!({})),
    )
    .await;
    let params = json!({"name": "add", "_meta": {"traceparent": parent}});
    ask(&proxied, "", &request("tools/call", params)).await;
    ask(&proxied, "traceparent: 00-nonsense-1-01\r\n", &call("add", &json!({}))).await;
    let lines = proxied.finish().await;
    let traces: Vec<Option<&str>> = lines.iter().map(|line| line["traceId"].as_str()).collect();
    assert_eq!(traces, [Some(TRACE), Some(TRACE), None]);
}
