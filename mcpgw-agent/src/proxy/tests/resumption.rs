//! Calls whose streams their server ends before the answer, for the client to resume them.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    Answer, Proxied,
    cancellation::BOTH,
    gateway, post, post_modern,
    session_server::{Offers, SessionServer},
    streams::{get, rest, send, session, store},
};
use crate::resources::{Action, Desired, Pattern, Policy, Rule, Server};

async fn start() -> (SessionServer, Proxied) {
    start_with(|_| ()).await
}

/// The same, with a server that is configured so.
async fn start_with(configure: impl FnOnce(&mut Server)) -> (SessionServer, Proxied) {
    let server = SessionServer::offering(Offers {
        tools: r#"{"name":"add","inputSchema":{"type":"object"}}"#.to_owned(),
        interrupts: true,
        ..Offers::default()
    })
    .await;
    let mut desired = gateway::desired(&[server.address]);
    configure(Arc::make_mut(&mut desired.servers[0]));
    let proxied = gateway::start(desired).await;
    (server, proxied)
}

fn call() -> Value {
    gateway::request("tools/call", json!({"name": "a_add", "arguments": {}}))
}

/// The ids of the events in a stream.
fn ids(stream: &str) -> Vec<&str> {
    stream.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
}

fn outcomes(lines: &[Value]) -> Vec<&str> {
    let calls = lines.iter().filter(|line| line["event"] == "tool_call");
    calls.map(|line| line["outcome"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_client_with_a_session_resumes_the_stream_of_its_call_itself() {
    let (server, proxied) = start().await;
    let session = session(&proxied, "").await;
    let headers = format!("{session}{BOTH}");
    let begun = rest(send(&proxied, post(&headers, &call().to_string())).await).await;
    let first = ids(&begun)[0].to_owned();
    assert!(
        begun.contains("retry: 1") && !begun.contains("result") && first.len() > 20,
        "{begun}"
    );
    let behind = |id: &str| get(&format!("{session}Last-Event-ID: {id}\r\n"));
    let more = rest(send(&proxied, behind(&first)).await).await;
    assert!(more.contains("notifications/vendor/step"), "{more}");
    let whole = rest(send(&proxied, behind(ids(&more)[0])).await).await;
    assert!(whole.contains("add of own-") && whole.contains(r#""id":7"#), "{whole}");
    assert_eq!(server.resumed(), ["c1", "c2"]);
    assert_eq!(outcomes(&proxied.finish().await), ["ok"]);
}

#[tokio::test]
async fn the_record_of_a_call_waits_for_the_resumed_stream() {
    let (_server, proxied) = start().await;
    let session = session(&proxied, "").await;
    let headers = format!("{session}{BOTH}");
    rest(send(&proxied, post(&headers, &call().to_string())).await).await;
    // The client ends its session before it came back.
    let delete = format!("DELETE /mcp HTTP/1.1\r\nHost: a\r\n{session}Connection: close\r\n\r\n");
    assert_eq!(Answer::of(&proxied.exchange(delete).await).status, 200);
    assert_eq!(outcomes(&proxied.finish().await), ["cancelled"]);
}

#[tokio::test]
async fn a_call_that_its_caller_may_not_make_any_more_is_not_resumed() {
    let (server, proxied) = start().await;
    let session = session(&proxied, "").await;
    let begun = rest(send(&proxied, post(&format!("{session}{BOTH}"), &call().to_string())).await).await;
    let under = |generation, tool: &str| {
        let allow = Rule {
            tools: vec![Pattern::new(tool).unwrap()],
            ..Rule::new(Action::Allow)
        };
        let policy = Policy {
            name: super::name("tools", "p"),
            rules: vec![allow],
            ..Policy::default()
        };
        Desired {
            generation,
            policies: vec![Arc::new(policy)],
            ..gateway::desired(&[server.address])
        }
    };
    let behind = || get(&format!("{session}Last-Event-ID: {}\r\n", ids(&begun)[0]));
    store(&proxied, &under(2, "other"));
    assert_eq!(Answer::of(&proxied.exchange(behind()).await).status, 404);
    assert!(server.resumed().is_empty());
    store(&proxied, &under(3, "add"));
    let more = rest(send(&proxied, behind()).await).await;
    assert!(more.contains("notifications/vendor/step"), "{more}");
}

#[tokio::test]
async fn a_call_has_no_more_time_for_being_resumed() {
    let (server, proxied) = start_with(|server| server.timeouts.call = Duration::from_secs(1)).await;
    let session = session(&proxied, "").await;
    let begun = rest(send(&proxied, post(&format!("{session}{BOTH}"), &call().to_string())).await).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let behind = get(&format!("{session}Last-Event-ID: {}\r\n", ids(&begun)[0]));
    assert_eq!(Answer::of(&proxied.exchange(behind).await).status, 404);
    assert!(server.resumed().is_empty());
}

#[tokio::test]
async fn the_id_of_an_event_is_of_no_use_in_another_session() {
    let (server, proxied) = start().await;
    let (mine, other) = (session(&proxied, "").await, session(&proxied, "").await);
    let begun = rest(send(&proxied, post(&format!("{mine}{BOTH}"), &call().to_string())).await).await;
    // The other one has a session at the server, too.
    rest(send(&proxied, post(&format!("{other}{BOTH}"), &call().to_string())).await).await;
    for id in [ids(&begun)[0], "tools/a c1", "c1"] {
        let stolen = get(&format!("{other}Last-Event-ID: {id}\r\n"));
        assert_eq!(Answer::of(&proxied.exchange(stolen).await).status, 404, "{id}");
    }
    assert!(server.resumed().is_empty());
}

#[tokio::test]
async fn for_clients_that_cannot_resume_a_stream_it_is_done_here() {
    let (server, proxied) = start().await;
    // Without a session, in JSON and as a stream.
    let whole = gateway::ask(&proxied, "", &call()).await;
    assert!(whole.body["result"]["content"][0]["text"].is_string(), "{whole:?}");
    let streamed = rest(send(&proxied, post(BOTH, &call().to_string())).await).await;
    assert!(
        streamed.contains("notifications/vendor/step") && streamed.contains("add of own-"),
        "{streamed}"
    );
    assert!(ids(&streamed).is_empty(), "{streamed}");
    // Of the modern era.
    let modern = post_modern(BOTH, "tools/call", json!({"name": "a_add", "arguments": {}}));
    let answer = rest(send(&proxied, modern).await).await;
    assert!(
        answer.contains("add of own-") && answer.contains("resultType"),
        "{answer}"
    );
    // With a session, by a client that reads no streams.
    let session = session(&proxied, "").await;
    let whole = gateway::ask(&proxied, &session, &call()).await;
    assert!(whole.body["result"]["content"][0]["text"].is_string(), "{whole:?}");
    assert_eq!(server.resumed().len(), 8);
    assert_eq!(outcomes(&proxied.finish().await), ["ok"; 4]);
}

#[tokio::test]
async fn a_stream_that_the_server_does_not_resume_is_an_error() {
    let (server, proxied) = start().await;
    server.refuse_to_resume();
    let whole = gateway::ask(&proxied, "", &call()).await;
    assert_eq!(whole.status, 502, "{whole:?}");
    assert_eq!(outcomes(&proxied.finish().await), ["error"]);
}
