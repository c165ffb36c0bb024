//! What several clients of one owner hear from a server with sessions, who have one session there in common.

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    Proxied,
    cancellation::modern,
    gateway::{desired, start},
    live_server::LiveServer,
    post, read_until,
};

const BOTH: &str = "Accept: application/json, text/event-stream\r\n";

/// Calls the tool that waits, as a modern client, with this in `_meta`.
async fn wait(proxied: &Proxied, id: u32, meta: Value) -> TcpStream {
    let (headers, call) = modern(
        id,
        "tools/call",
        Some("a_wait"),
        json!({"name": "a_wait", "arguments": {}, "_meta": meta}),
    );
    let mut client = proxied.connect().await;
    let request = post(&format!("{BOTH}{headers}"), &call.to_string());
    client.write_all(request.as_bytes()).await.unwrap();
    client
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
