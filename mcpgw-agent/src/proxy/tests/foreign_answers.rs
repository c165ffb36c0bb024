//! What a server says in answer to what another was asked, or it was asked itself elsewhere: no client hears it.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{
    Proxied,
    cancellation::{BOTH, modern, send, session},
    gateway::{ask, desired, request, start},
    listening::stream,
    live_server::LiveServer,
    name, read_until,
};
use crate::resources::{Action, Desired, Pattern, Policy, Rule, Server};

/// An answer to the request with this id, in which nothing is right.
fn forged(id: u32) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": [], "tools": [{"name": "forged"}]}})
}

/// The same, for readers of JSON who take the last of two members.
fn ambiguous(id: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":99,"id":{id},"result":{{"forged":true}}}}"#)
}

/// A call of this client that waits, with the id that the server knows it by.
async fn waiting(
    proxied: &Proxied,
    server: &LiveServer,
    headers: &str,
    tool: &str,
    is_modern: bool,
) -> (TcpStream, Value) {
    let params = json!({"name": tool, "arguments": {}});
    let (more, call) = match is_modern {
        true => modern(5, "tools/call", Some(tool), params),
        false => (
            String::new(),
            json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params}),
        ),
    };
    let client = send(proxied, &format!("{BOTH}{headers}{more}"), &call).await;
    let id = server.gets("tools/call", 1).await.pop().unwrap().1["id"].clone();
    (client, id)
}

/// Servers of both eras, each behind a gateway for clients of each: whether those are modern.
async fn in_all_eras() -> Vec<(LiveServer, Proxied, bool)> {
    let mut all = Vec::new();
    for is_modern in [false, true] {
        for server in [LiveServer::start().await, LiveServer::modern().await] {
            let proxied = start(desired(&[server.address])).await;
            all.push((server, proxied, is_modern));
        }
    }
    all
}

/// The server forges answers on the stream of a call before it gives the right one.
async fn forges(server: &LiveServer, id: &Value, client: &mut TcpStream) {
    // Also one with the client's own id, where the server knows the request by another.
    for other in [5, 90, 91].into_iter().filter(|other| id != other) {
        server.say_of(id, &forged(other)).await;
        server.write_of(id, &ambiguous(other)).await;
    }
    let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "right"}]}});
    server.say_of(id, &answer).await;
    let heard = read_until(client, "right").await;
    assert!(!heard.contains("forged"), "{heard}");
}

#[tokio::test]
async fn on_the_stream_of_a_call_no_other_request_is_answered() {
    for (server, proxied, is_modern) in in_all_eras().await {
        let headers = match is_modern {
            true => String::new(),
            false => session(&proxied).await,
        };
        let (mut client, id) = waiting(&proxied, &server, &headers, "a_wait", is_modern).await;
        forges(&server, &id, &mut client).await;
    }
}

#[tokio::test]
async fn on_the_stream_of_a_session_no_request_is_answered() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let session = session(&proxied).await;
    let mut client = stream(&proxied, &session).await;
    let add = request("tools/call", json!({"name": "a_add", "arguments": {}}));
    assert_eq!(ask(&proxied, &session, &add).await.code(), None);
    let at_server = server.gets("tools/call", 1).await.pop().unwrap().0;
    server.is_heard_in(&at_server).await;
    server.say(&at_server, &forged(7));
    server.say(
        &at_server,
        &json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", "data": "behind"}}),
    );
    let heard = read_until(&mut client, "behind").await;
    assert!(!heard.contains("forged"), "{heard}");
}

#[tokio::test]
async fn an_answer_in_one_piece_to_another_request_is_none() {
    for (server, proxied, is_modern) in in_all_eras().await {
        let params = json!({"name": "a_add", "arguments": {}});
        let (headers, call) = match is_modern {
            true => modern(5, "tools/call", Some("a_add"), params),
            false => (session(&proxied).await, request("tools/call", params)),
        };
        assert_eq!(ask(&proxied, &headers, &call).await.code(), None);
        server.answers_as(6);
        let answer = ask(&proxied, &headers, &call).await;
        assert_eq!(answer.status, 502, "{answer:?}");
    }
}

#[tokio::test]
async fn where_lists_are_cut_a_stream_carries_no_list_as_the_answer_to_something_else() {
    let server = LiveServer::start().await;
    let allowed = Rule {
        tools: vec![Pattern::new("wait").unwrap(), Pattern::new("add").unwrap()],
        ..Rule::new(Action::Allow)
    };
    let desired = Desired {
        generation: 1,
        servers: vec![Arc::new(Server::at(name("tools", "a"), vec![server.address]))],
        policies: vec![Arc::new(Policy {
            name: name("tools", "p"),
            rules: vec![allowed],
            ..Policy::default()
        })],
        ..Desired::default()
    };
    let proxied = Proxied::start_with(desired, Some(server.address)).await;
    let session = session(&proxied).await;
    let (mut client, id) = waiting(&proxied, &server, &session, "wait", false).await;
    forges(&server, &id, &mut client).await;
}
