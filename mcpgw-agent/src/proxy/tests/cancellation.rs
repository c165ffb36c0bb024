//! What becomes of a call at its server when its client takes it back, or goes away.

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{
    Proxied,
    gateway::{ask, desired, request, start},
    live_server::LiveServer,
    post, read_until, streams,
};

pub(super) const BOTH: &str = "Accept: application/json, text/event-stream\r\n";

/// Sends a message; what its client has open.
pub(super) async fn send(proxied: &Proxied, headers: &str, call: &Value) -> TcpStream {
    streams::send(proxied, post(headers, &call.to_string())).await
}

fn legacy(id: u32, tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": {}}})
}

/// A call of a modern client, and its headers.
pub(super) fn modern(id: u32, method: &str, name: Option<&str>, params: Value) -> (String, Value) {
    let mut params = params;
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let named = name.map(|name| format!("Mcp-Name: {name}\r\n")).unwrap_or_default();
    let headers = format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{named}");
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    (headers, body)
}

fn modern_call(id: u32, tool: &str) -> (String, Value) {
    modern(id, "tools/call", Some(tool), json!({"name": tool, "arguments": {}}))
}

/// Opens a session; the header that names it.
pub(super) async fn session(proxied: &Proxied) -> String {
    let client = json!({"name": "t", "version": "0"});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": client});
    let opened = ask(proxied, "", &request("initialize", params)).await;
    format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap())
}

async fn cancel(proxied: &Proxied, session: &str, id: u32) {
    let params = json!({ "requestId": id });
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
    assert_eq!(ask(proxied, session, &cancel).await.status, 202);
}

/// The ids of calls, and of those that the server was told are cancelled.
async fn cancelled(server: &LiveServer, count: usize) -> (Vec<Value>, Vec<Value>) {
    let cancelled = server.gets("notifications/cancelled", count).await;
    let ids = server.got("tools/call").into_iter().map(|(_, call)| call["id"].clone());
    let told = cancelled
        .into_iter()
        .map(|(_, cancel)| cancel["params"]["requestId"].clone());
    (ids.collect(), told.collect())
}

#[tokio::test]
async fn a_modern_client_that_goes_away_has_cancelled_its_call_at_a_legacy_server_too() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    for (tool, headers) in [("a_wait", BOTH), ("a_wait", ""), ("a_hang", BOTH)] {
        let before = server.got("tools/call").len();
        let (named, call) = modern_call(5, tool);
        let client = send(&proxied, &format!("{headers}{named}"), &call).await;
        server.gets("tools/call", before + 1).await;
        drop(client);
        let (ids, told) = cancelled(&server, before + 1).await;
        assert_eq!(ids[before..], told[before..], "{tool} {headers}");
    }
}

#[tokio::test]
async fn a_call_that_was_answered_is_not_cancelled_when_its_client_goes() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let (headers, call) = modern_call(5, "a_wait");
    let mut client = send(&proxied, &format!("{BOTH}{headers}"), &call).await;
    let (_, asked) = server.gets("tools/call", 1).await.remove(0);
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"content": []}});
    server.say_of(&asked["id"], &answer).await;
    read_until(&mut client, "\"id\":5").await;
    drop(client);
    let (headers, call) = modern_call(6, "a_add");
    assert_eq!(ask(&proxied, &headers, &call).await.code(), None);
    // A call that is cancelled, behind both: had they been cancelled, that would have been told first.
    let (headers, call) = modern_call(7, "a_wait");
    let client = send(&proxied, &format!("{BOTH}{headers}"), &call).await;
    server.gets("tools/call", 3).await;
    drop(client);
    let (ids, told) = cancelled(&server, 1).await;
    assert_eq!(told, ids[2..]);
}

#[tokio::test]
async fn a_legacy_client_that_goes_away_has_cancelled_nothing() {
    let (sessions, modern) = (LiveServer::start().await, LiveServer::modern().await);
    let proxied = start(desired(&[sessions.address, modern.address])).await;
    let session = session(&proxied).await;
    for (number, (server, tool)) in [(&sessions, "a_wait"), (&modern, "b_wait"), (&modern, "b_hang")]
        .into_iter()
        .enumerate()
    {
        let id = number as u32 + 1;
        let client = send(&proxied, &format!("{BOTH}{session}"), &legacy(id, tool)).await;
        let is_ours = |got: &(String, Value)| got.1["id"] == id;
        while !server.got("tools/call").iter().any(is_ours) {
            tokio::task::yield_now().await;
        }
        drop(client);
    }
    // The connections are gone for certain when another call, sent behind them, was answered.
    let add = legacy(9, "b_add");
    assert_eq!(ask(&proxied, &session, &add).await.code(), None);
    cancel(&proxied, &session, 3).await;
    // The one that its client did cancel, though it had gone: and no other.
    modern.is_broken_off(&json!(3)).await;
    assert!(modern.is_waiting(&json!(2)), "the other call goes on");
    assert!(sessions.got("notifications/cancelled").is_empty());
}

#[tokio::test]
async fn the_answer_to_a_call_whose_legacy_client_went_away_is_on_record() {
    let server = LiveServer::modern().await;
    let proxied = start(desired(&[server.address])).await;
    let session = session(&proxied).await;
    let client = send(&proxied, &format!("{BOTH}{session}"), &legacy(1, "a_wait")).await;
    server.gets("tools/call", 1).await;
    drop(client);
    let progress =
        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}});
    server.say_of(&json!(1), &progress).await;
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {"resultType": "complete", "content": []}});
    server.say_of(&json!(1), &answer).await;
    while server.is_waiting(&json!(1)) {
        tokio::task::yield_now().await;
    }
    let lines = proxied.finish().await;
    assert_eq!(lines[0]["outcome"], "ok", "{lines:?}");
}

#[tokio::test]
async fn a_call_can_be_cancelled_before_its_server_said_anything() {
    let (sessions, modern) = (LiveServer::start().await, LiveServer::modern().await);
    let proxied = start(desired(&[sessions.address, modern.address])).await;
    let session = session(&proxied).await;
    for (id, headers) in [(1, BOTH), (2, "")] {
        let headers = format!("{headers}{session}");
        let _client = send(&proxied, &headers, &legacy(id, "a_hang")).await;
        sessions.gets("tools/call", id as usize).await;
        cancel(&proxied, &session, id).await;
        let (ids, told) = cancelled(&sessions, id as usize).await;
        assert_eq!(ids, told);
        let mut client = send(&proxied, &headers, &legacy(id, "b_hang")).await;
        modern.gets("tools/call", id as usize).await;
        cancel(&proxied, &session, id).await;
        modern.is_broken_off(&json!(id)).await;
        // And its client does not wait for ever.
        read_until(
            &mut client,
            if headers.contains("event-stream") {
                "0\r\n\r\n"
            } else {
                "4990"
            },
        )
        .await;
    }
    drop(proxied);
}
