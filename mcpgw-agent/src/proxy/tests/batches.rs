//! Batches, on both paths.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    Answer, Proxied, desired as redirected,
    gateway::{ask, desired, request, start},
    name, post,
    session_server::SessionServer,
};
use crate::resources::{Action, Pattern, Policy, Rule};

const REVISION: &str = "MCP-Protocol-Version: 2025-03-26\r\n";

fn call(id: u32, tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": {}}})
}

/// Waits until the server has been answered so many questions, and returns the answers.
async fn answers_to(server: &SessionServer, questions: usize) -> Vec<Value> {
    for _ in 0..500 {
        let answers = server.answers();
        if answers.len() >= questions {
            return answers;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the server waits for its answers");
}

#[tokio::test]
async fn what_a_server_asks_within_a_batch_is_declined_and_nobody_waits() {
    let server = SessionServer::with_tools(r#"{"name":"ask","inputSchema":{"type":"object"}}"#).await;
    let direct = Proxied::start_with(redirected(server.address), Some(server.address)).await;
    let gateway = start(desired(&[server.address])).await;
    for (path, (proxied, tool)) in [(&direct, "ask"), (&gateway, "a_ask")].into_iter().enumerate() {
        // Also who reads no streams: it cannot be asked either.
        let batch = json!([call(1, tool), call(2, tool)]).to_string();
        let answer = Answer::of(&proxied.exchange(post(REVISION, &batch)).await);
        let answers = answer.body.as_array().unwrap_or_else(|| panic!("{answer:?}"));
        let ids: Vec<&Value> = answers.iter().map(|answer| &answer["id"]).collect();
        assert_eq!(ids, [1, 2], "{answer:?}");
        let told = answers_to(&server, 2 * (path + 1)).await;
        for told in &told[2 * path..] {
            assert_eq!((&told["id"], &told["error"]["code"]), (&"q".into(), &(-32601).into()));
        }
    }
}

#[tokio::test]
async fn a_batch_at_the_gateway_goes_to_the_servers_of_its_messages_and_each_is_decided() {
    let (a, b) = (SessionServer::start().await, SessionServer::start().await);
    let mut desired = desired(&[a.address, b.address]);
    let rule = |action, tool: &str| Rule {
        tools: vec![Pattern::new(tool).unwrap()],
        ..Rule::new(action)
    };
    desired.policies = vec![Arc::new(Policy {
        name: name("tools", "restrict"),
        rules: vec![rule(Action::Allow, "*"), rule(Action::Deny, "big")],
        ..Policy::default()
    })];
    let proxied = start(desired).await;
    let session = async |revision: &str| {
        let client = json!({"name": "t", "version": "0"});
        let params = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": client});
        let opened = ask(&proxied, "", &request("initialize", params)).await;
        format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap())
    };
    let batch = json!([
        call(1, "a_add"),
        {"jsonrpc": "2.0", "method": "notifications/x"},
        call(2, "b_big"),
        {"jsonrpc": "2.0", "id": 3, "method": "ping"},
        call(4, "b_add"),
        call(5, "c_add"),
    ]);
    let within = session("2025-03-26").await;
    let streams = format!("{within}Accept: application/json, text/event-stream\r\n");
    for headers in [&*within, &*streams, REVISION, ""] {
        let answer = ask(&proxied, headers, &batch).await;
        let answers = answer.body.as_array().unwrap_or_else(|| panic!("{answer:?}"));
        let said: Vec<_> = answers
            .iter()
            .map(|answer| (&answer["id"], answer["error"]["code"].as_i64()))
            .collect();
        let unknown = Some(-32602);
        let expected = [1, 2, 3, 4, 5].map(Value::from);
        let codes = [None, unknown, None, None, unknown];
        assert_eq!(said, expected.iter().zip(codes).collect::<Vec<_>>(), "{headers}");
    }
    assert_eq!((a.called().len(), b.called()), (4, vec!["add".to_owned(); 4]));
    let only_said = json!([{"jsonrpc": "2.0", "method": "notifications/x"}]);
    let silent = proxied.exchange(post(&within, &only_said.to_string())).await;
    assert!(silent.starts_with("HTTP/1.1 202"), "{silent}");
    // Of other revisions, and where one message is of none that has batches, nothing is done.
    let later = session("2025-06-18").await;
    let mut modern = call(6, "a_add");
    modern["params"]["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    let begin = json!({"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {}});
    for (headers, batch, code) in [
        (&*later, &batch, -32600),
        ("MCP-Protocol-Version: 2025-11-25\r\n", &batch, -32600),
        ("Mcp-Session-Id: forged\r\n", &batch, 40400),
        (&*within, &json!([call(1, "a_add"), modern]), 40000),
        (&*within, &json!([call(1, "a_add"), begin]), 40000),
        (&*within, &json!([]), -32600),
    ] {
        let refused = ask(&proxied, headers, batch).await;
        assert_eq!(refused.code(), Some(code), "{refused:?}");
    }
    assert_eq!((a.called().len(), b.called().len()), (4, 4));
    let lines = proxied.finish().await;
    let denied = lines
        .iter()
        .filter(|line| (&line["decision"], &line["tool"]) == (&"deny".into(), &"big".into()))
        .count();
    assert_eq!(denied, 4);
}
