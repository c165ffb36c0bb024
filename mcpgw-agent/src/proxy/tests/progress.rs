//! What clients say of their progress with a server's question.

use serde_json::{Value, json};

use super::{
    Proxied,
    cancellation::session,
    gateway::{ask, desired, request, start},
    post,
    session_server::SessionServer,
};

/// The token by which a server wants to be told of the progress of its question, as the client sees it.
async fn asked(proxied: &Proxied, session: &str, tool: &str) -> Value {
    let headers = format!("{session}Accept: application/json, text/event-stream\r\n");
    let call = request("tools/call", json!({ "name": tool }));
    let answer = proxied.exchange(post(&headers, &call.to_string())).await;
    let mut events = answer.lines().filter_map(|line| line.strip_prefix("data: "));
    let question = events.find(|event| event.contains("sampling/createMessage"));
    let question: Value = serde_json::from_str(question.unwrap_or_else(|| panic!("{answer}"))).unwrap();
    question["params"]["_meta"]["progressToken"].clone()
}

async fn tell(proxied: &Proxied, session: &str, token: &Value, progress: u32) {
    let told = json!({
        "jsonrpc": "2.0", "method": "notifications/progress",
        "params": {"progressToken": token, "progress": progress},
    });
    assert_eq!(ask(proxied, session, &told).await.status, 202);
}

#[tokio::test]
async fn a_client_tells_of_its_progress_the_server_that_asked_and_no_other() {
    let tools = r#"{"name":"ask","inputSchema":{"type":"object"}}"#;
    let (a, b) = (
        SessionServer::with_tools(tools).await,
        SessionServer::with_tools(tools).await,
    );
    let proxied = start(desired(&[a.address, b.address])).await;
    let mine = session(&proxied).await;
    // Both servers chose the same token.
    let (of_a, of_b) = (
        asked(&proxied, &mine, "a_ask").await,
        asked(&proxied, &mine, "b_ask").await,
    );
    assert!(of_a.is_string() && of_a != of_b, "{of_a} {of_b}");
    tell(&proxied, &mine, &json!(7), 1).await;
    tell(&proxied, &mine, &of_a, 2).await;
    tell(&proxied, &mine, &of_b, 3).await;
    let other = session(&proxied).await;
    asked(&proxied, &other, "a_ask").await;
    tell(&proxied, &other, &of_a, 4).await;
    assert_eq!(a.progress(), [json!({"progressToken": 7, "progress": 2})]);
    assert_eq!(b.progress(), [json!({"progressToken": 7, "progress": 3})]);
}
