//! What clients hear that servers say in the streams of their answers to the gateway itself.

use serde_json::{Value, json};

use super::{
    Proxied,
    cancellation::session,
    gateway::{ask, desired, request, start},
    listening::{listen_to, stream},
    live_server::LiveServer,
    read_until,
};

fn says(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

fn log(text: &str) -> Value {
    says("notifications/message", json!({"level": "error", "data": text}))
}

fn updated(uri: &str) -> Value {
    says("notifications/resources/updated", json!({ "uri": uri }))
}

fn question(id: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "sampling/createMessage", "params": {"messages": []}})
}

/// Says these on the stream of the answer to a request of the gateway's, and then that answer.
async fn answers(server: &LiveServer, method: &str, said: &[Value]) {
    let id = server.gets(method, 1).await.pop().unwrap().1["id"].clone();
    for message in said {
        server.say_of(&id, message).await;
    }
    server
        .say_of(&id, &json!({"jsonrpc": "2.0", "id": id, "result": {}}))
        .await;
}

/// A client asks for this, and the server says these before it answers.
async fn asks(proxied: &Proxied, session: &str, server: &LiveServer, method: &str, params: Value, said: &[Value]) {
    let asked = request(method, params);
    let (answer, ()) = tokio::join!(ask(proxied, session, &asked), answers(server, method, said));
    assert_eq!((answer.status, answer.code()), (200, None), "{answer:?}");
}

#[tokio::test]
async fn what_a_server_says_before_it_answers_the_gateway_reaches_the_client_on_its_stream() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let session = session(&proxied).await;
    let mut client = stream(&proxied, &session).await;
    let add = request("tools/call", json!({"name": "a_add", "arguments": {}}));
    assert_eq!(ask(&proxied, &session, &add).await.code(), None);
    server.is_talkative();
    let (a, b) = (server.uri("a"), server.uri("b"));
    let changed = says("notifications/resources/list_changed", json!({"own": 1}));
    let said = [log("first"), changed, updated(&b), question("q")];
    let wanted = json!({ "uri": a });
    asks(&proxied, &session, &server, "resources/subscribe", wanted, &said).await;
    asks(
        &proxied,
        &session,
        &server,
        "logging/setLevel",
        json!({"level": "debug"}),
        &[log("second")],
    )
    .await;
    let heard = read_until(&mut client, "second").await;
    for part in ["first", r#"{"own":1}"#, &b, "sampling/createMessage"] {
        assert!(heard.contains(part), "{part}: {heard}");
    }
    let asked = heard.lines().find(|line| line.contains("sampling")).unwrap();
    let asked: Value = serde_json::from_str(asked.strip_prefix("data: ").unwrap()).unwrap();
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"role": "assistant"}});
    assert_eq!(ask(&proxied, &session, &answer).await.status, 202);
    server.is_answered(&json!("q"), "result").await;
}

#[tokio::test]
async fn what_a_server_asks_before_it_answers_the_gateway_is_declined_where_no_client_listens() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let session = session(&proxied).await;
    server.is_talkative();
    let wanted = json!({ "uri": server.uri("a") });
    let said = [log("unheard"), question("q")];
    asks(&proxied, &session, &server, "resources/subscribe", wanted, &said).await;
    server.is_answered(&json!("q"), "error").await;
}

#[tokio::test]
async fn modern_listeners_hear_of_updates_that_come_before_an_answer_to_the_gateway() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let (a, b) = (server.uri("a"), server.uri("b"));
    let (mut first, _) = listen_to(&proxied, 1, json!({ "resourceSubscriptions": [a] })).await;
    server.is_talkative();
    let said = async {
        let id = server.gets("resources/subscribe", 2).await[1].1["id"].clone();
        for message in [question("q"), updated(&a)] {
            server.say_of(&id, &message).await;
        }
        read_until(&mut first, &a).await;
        server.is_answered(&json!("q"), "error").await;
        server
            .say_of(&id, &json!({"jsonrpc": "2.0", "id": id, "result": {}}))
            .await;
    };
    let wanted = json!({ "resourceSubscriptions": [b] });
    let ((_, acknowledged), ()) = tokio::join!(listen_to(&proxied, 2, wanted), said);
    assert!(acknowledged.contains(&b), "{acknowledged}");
}
