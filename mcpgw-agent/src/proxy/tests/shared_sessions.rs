//! What several clients of one owner hear from a server with sessions, who have one session there in common.

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{
    Proxied,
    cancellation::{BOTH, modern, send, session},
    gateway::{ask, desired, request, start},
    live_server::LiveServer,
    read_until,
};

/// Calls the tool that waits, as a modern client, with this in `_meta`.
pub(super) async fn wait(proxied: &Proxied, id: u32, meta: Value) -> TcpStream {
    let (headers, call) = modern(
        id,
        "tools/call",
        Some("a_wait"),
        json!({"name": "a_wait", "arguments": {}, "_meta": meta}),
    );
    send(proxied, &format!("{BOTH}{headers}"), &call).await
}

/// The calls that a server got, when there are as many.
async fn calls(server: &LiveServer, count: usize) -> Vec<Value> {
    let calls = server.gets("tools/call", count).await;
    calls.into_iter().map(|(_, call)| call).collect()
}

async fn answer(server: &LiveServer, call: &Value) {
    let answer = json!({"jsonrpc": "2.0", "id": call["id"], "result": {"content": []}});
    server.say_of(&call["id"], &answer).await;
}

fn progress(token: &Value, done: u32) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": done}})
}

#[tokio::test]
async fn callers_with_the_same_token_hear_of_their_own_progress_only() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let mut clients = Vec::new();
    for number in 1..=2 {
        clients.push(wait(&proxied, 5, json!({"progressToken": "p"})).await);
        calls(&server, number).await;
    }
    let calls = calls(&server, 2).await;
    let tokens: Vec<&Value> = calls
        .iter()
        .map(|call| &call["params"]["_meta"]["progressToken"])
        .collect();
    assert_ne!(tokens[0], tokens[1]);
    for (call, token) in calls.iter().zip(&tokens) {
        // Both on the stream of each, as a server might that tells calls apart by their tokens alone.
        for (done, other) in [(1, tokens[0]), (2, tokens[1])] {
            server
                .say_of(&call["id"], &progress(other, done + 10 * u32::from(other == *token)))
                .await;
        }
        server.say_of(&call["id"], &progress(&json!("p"), 100)).await;
        answer(&server, call).await;
    }
    for (client, own) in clients.iter_mut().zip([11, 12]) {
        let heard = read_until(client, "\"id\":5").await;
        let mine = format!(r#"{{"progress":{own},"progressToken":"p"}}"#);
        assert!(heard.contains(&mine), "{heard}");
        assert_eq!(heard.matches("notifications/progress").count(), 1, "{heard}");
    }
}

fn log(level: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": level, "data": "d"}})
}

#[tokio::test]
async fn each_caller_hears_what_is_logged_from_the_level_on_that_it_asked_for() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let level = |level: &str| json!({"io.modelcontextprotocol/logLevel": level});
    let wishes = [
        (level("warning"), vec!["error"]),
        (level("debug"), vec!["debug", "error"]),
        (level("error"), vec!["error"]),
        (level("alert"), vec![]),
        (json!({}), vec![]),
    ];
    for (number, (meta, hears)) in wishes.into_iter().enumerate() {
        let mut client = wait(&proxied, 5, meta).await;
        let call = calls(&server, number + 1).await.pop().unwrap();
        for said in [log("debug"), log("loud"), log("error")] {
            server.say_of(&call["id"], &said).await;
        }
        answer(&server, &call).await;
        let heard = read_until(&mut client, "\"id\":5").await;
        let is_heard = |level: &&str| heard.contains(&format!(r#""level":"{level}""#));
        let levels: Vec<&str> = ["debug", "loud", "error"].into_iter().filter(is_heard).collect();
        assert_eq!(levels, hears, "{heard}");
    }
    let set = server.got("logging/setLevel").into_iter();
    let set: Vec<Value> = set.map(|(_, set)| set["params"]["level"].clone()).collect();
    assert_eq!(set, ["warning", "debug"], "it is asked for more, and for nothing else");
}

#[tokio::test]
async fn a_modern_server_is_told_the_level_that_a_session_asked_for() {
    let server = LiveServer::modern().await;
    let proxied = start(desired(&[server.address])).await;
    let session = session(&proxied).await;
    let add = request("tools/call", json!({"name": "a_add", "arguments": {}}));
    let loud = request("logging/setLevel", json!({"level": "loud"}));
    let warning = request("logging/setLevel", json!({"level": "warning"}));
    ask(&proxied, &session, &add).await;
    assert_eq!(ask(&proxied, &session, &loud).await.code(), Some(-32602));
    ask(&proxied, &session, &add).await;
    assert_eq!(ask(&proxied, &session, &warning).await.code(), None);
    ask(&proxied, &session, &add).await;
    // Without a session there is nobody who asked.
    ask(&proxied, "", &add).await;
    let told: Vec<Value> = calls(&server, 4)
        .await
        .into_iter()
        .map(|call| call["params"]["_meta"]["io.modelcontextprotocol/logLevel"].clone())
        .collect();
    assert_eq!(told, [Value::Null, Value::Null, "warning".into(), Value::Null]);
}
