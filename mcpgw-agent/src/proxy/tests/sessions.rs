//! Sessions on the redirected path, with a server that knows them.

use std::time::Instant;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Answer, Proxied, call, post, post_modern, read_until, session_server::SessionServer, upstreams::Scripted};
use crate::{mcp::headers::MAX_SESSION_ID, proxy::limits::CANCELLED_TIME};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"0"}}}"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;

/// Opens a session and returns its id.
async fn open(proxied: &Proxied) -> String {
    let answer = Answer::of(&proxied.exchange(post("", INITIALIZE)).await);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["result"]["protocolVersion"], "2025-06-18");
    answer.header("mcp-session-id").unwrap().to_owned()
}

fn within(session: &str, body: &str) -> String {
    post(&format!("Mcp-Session-Id: {session}\r\n"), body)
}

#[tokio::test]
async fn the_client_never_sees_the_servers_own_session_id() {
    let server = SessionServer::start().await;
    let proxied = Proxied::start(server.address).await;
    let session = open(&proxied).await;
    assert!(!session.contains("own-"), "{session}");
    assert_eq!(Answer::of(&proxied.exchange(within(&session, LIST)).await).status, 200);
    let forged = Answer::of(&proxied.exchange(within("own-1", LIST)).await);
    assert_eq!((forged.status, forged.code()), (404, Some(40400)));
    let lines = proxied.finish().await;
    assert_eq!(lines.last().unwrap()["reason"], "no_session");
}

#[tokio::test]
async fn a_session_belongs_to_the_workload_that_opened_it() {
    let server = SessionServer::start().await;
    let mine = Proxied::start(server.address).await;
    let session = open(&mine).await;
    let other = mine.of_another_workload(server.address).await;
    assert_eq!(Answer::of(&other.exchange(within(&session, LIST)).await).status, 404);
    let delete = format!("DELETE /mcp HTTP/1.1\r\nHost: a\r\nMcp-Session-Id: {session}\r\nConnection: close\r\n\r\n");
    assert_eq!(Answer::of(&other.exchange(&delete).await).status, 404);
    assert_eq!(Answer::of(&mine.exchange(within(&session, LIST)).await).status, 200);
    assert_eq!(Answer::of(&mine.exchange(&delete).await).status, 200);
    assert_eq!(Answer::of(&mine.exchange(within(&session, LIST)).await).status, 404);
}

#[tokio::test]
async fn a_session_that_the_server_lost_is_opened_again_once_and_unnoticed() {
    let server = SessionServer::start().await;
    let proxied = Proxied::start(server.address).await;
    let session = open(&proxied).await;
    server.forget_all();
    assert_eq!(Answer::of(&proxied.exchange(within(&session, LIST)).await).status, 200);
    assert_eq!(Answer::of(&proxied.exchange(within(&session, LIST)).await).status, 200);
    assert_eq!(server.opened(), 2);
}

#[tokio::test]
async fn a_lost_session_is_not_kept_under_an_id_that_is_too_long() {
    let server = SessionServer::start().await;
    let proxied = Proxied::start(server.address).await;
    let session = open(&proxied).await;
    server.forget_all();
    server.begin_with(MAX_SESSION_ID + 1, 0);
    assert_eq!(Answer::of(&proxied.exchange(within(&session, LIST)).await).status, 404);
    server.begin_with(MAX_SESSION_ID, 0);
    assert_eq!(Answer::of(&proxied.exchange(within(&session, LIST)).await).status, 200);
}

#[tokio::test]
async fn a_lost_session_is_opened_again_once_for_all_calls_that_notice() {
    let server = SessionServer::start().await;
    let proxied = Proxied::start(server.address).await;
    let session = open(&proxied).await;
    for round in 1..=3 {
        server.forget_all();
        let calls = (0..8).map(|_| proxied.exchange(within(&session, LIST)));
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(Answer::of(&answer).status, 200, "{answer}");
        }
        assert_eq!(server.opened(), 1 + round);
    }
}

#[tokio::test]
async fn a_lost_session_in_which_something_would_be_lost_makes_the_client_begin_anew() {
    let server = SessionServer::start().await;
    let proxied = Proxied::start(server.address).await;
    let session = open(&proxied).await;
    let level = r#"{"jsonrpc":"2.0","id":3,"method":"logging/setLevel","params":{"level":"debug"}}"#;
    assert_eq!(Answer::of(&proxied.exchange(within(&session, level)).await).status, 200);
    server.forget_all();
    assert_eq!(Answer::of(&proxied.exchange(within(&session, LIST)).await).status, 404);
    assert_eq!(server.opened(), 1);
}

#[tokio::test]
async fn a_batch_is_decided_message_by_message() {
    let server = SessionServer::start().await;
    let proxied = Proxied::start(server.address).await;
    let call = |id: u32, tool: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#)
    };
    let batch = format!(
        r#"[{},{},{{"jsonrpc":"2.0","method":"notifications/x"}},{}]"#,
        call(1, "add"),
        call(2, "big"),
        call(3, "add")
    );
    let answer = Answer::of(
        &proxied
            .exchange(post("MCP-Protocol-Version: 2025-03-26\r\n", &batch))
            .await,
    );
    let answers = answer.body.as_array().unwrap();
    assert_eq!(answers.len(), 3, "{answer:?}");
    assert_eq!((&answers[0]["id"], &answers[2]["id"]), (&1.into(), &3.into()));
    assert_eq!(answers[1]["error"]["code"], -32602);
    assert!(!server.called().contains(&"big".to_owned()));
    let lines = proxied.finish().await;
    let outcomes: Vec<&str> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["ok", "denied", "ok"]);
}

#[tokio::test]
async fn a_modern_request_stands_for_itself_whatever_session_it_names() {
    let server = SessionServer::start().await;
    let proxied = Proxied::start(server.address).await;
    let session = open(&proxied).await;
    // Sealed, the server's own, and none at all: the server is not told of any.
    for named in [&*session, "own-1", "unheard-of"] {
        let stray = format!("Mcp-Session-Id: {named}\r\n");
        let called = post_modern(&stray, "tools/call", json!({"name": "add", "arguments": {}}));
        let answer = Answer::of(&proxied.exchange(called).await);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["result"]["content"][0]["text"], "add of ");
    }
    let legacy = Answer::of(&proxied.exchange(within("unheard-of", LIST)).await);
    assert_eq!((legacy.status, &legacy.body["id"]), (404, &2.into()));
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const ANSWER: &str = "data: {\"jsonrpc\":\"2.0\",\"id\":\"r1\",\"result\":{\"isError\":true}}\n\n";

async fn say(stream: &mut TcpStream, event: &str) {
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    stream.write_all(chunk.as_bytes()).await.unwrap();
}

/// A session whose server the test plays itself.
async fn opened(proxied: &Proxied, scripted: &Scripted) -> String {
    let initialize = async {
        let mut server = scripted.connection().await;
        read_until(&mut server, "}}}").await;
        let body = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18"}}"#;
        let head = "HTTP/1.1 200 OK\r\nMcp-Session-Id: own-1\r\nConnection: close\r\nContent-Type: application/json";
        let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        server.write_all(answer.as_bytes()).await.unwrap();
    };
    tokio::join!(open(proxied), initialize).0
}

/// A call whose answer has begun with this event.
async fn begun(proxied: &Proxied, scripted: &Scripted, session: &str, event: &str) -> (TcpStream, TcpStream) {
    let mut client = proxied.connect().await;
    client
        .write_all(within(session, &call("add")).as_bytes())
        .await
        .unwrap();
    let mut server = scripted.asked().await;
    server.write_all(STREAM.as_bytes()).await.unwrap();
    say(&mut server, event).await;
    read_until(&mut client, event).await;
    (client, server)
}

/// Waits until the proxy has ended a connection to the server.
async fn ended(server: &mut TcpStream) {
    let mut rest = [0; 16];
    while server.read(&mut rest).await.unwrap_or(0) > 0 {}
}

/// Resumes the stream, on which the answer comes.
async fn resume(proxied: &Proxied, scripted: &Scripted, session: &str) {
    let mut client = proxied.connect().await;
    let get = format!("GET /mcp HTTP/1.1\r\nHost: a\r\nMcp-Session-Id: {session}\r\nLast-Event-ID: 7\r\n\r\n");
    client.write_all(get.as_bytes()).await.unwrap();
    let mut server = scripted.connection().await;
    read_until(&mut server, "\r\n\r\n").await;
    server.write_all(STREAM.as_bytes()).await.unwrap();
    say(&mut server, ANSWER).await;
    read_until(&mut client, ANSWER).await;
}

/// Of calls, and not of what opened their sessions.
fn outcomes(lines: &[Value]) -> Vec<&str> {
    let calls = lines.iter().filter(|line| line["client"].is_null());
    calls.map(|line| line["outcome"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_call_whose_stream_is_resumed_is_recorded_with_the_answer_whoever_broke_the_stream() {
    for client_leaves in [true, false] {
        let (scripted, address) = Scripted::start().await;
        let proxied = Proxied::start(address).await;
        let session = opened(&proxied, &scripted).await;
        let (mut client, mut server) = begun(&proxied, &scripted, &session, "id: 7\ndata: \n\n").await;
        if client_leaves {
            drop(client);
            ended(&mut server).await;
        } else {
            drop(server);
            ended(&mut client).await;
        }
        resume(&proxied, &scripted, &session).await;
        assert_eq!(outcomes(&proxied.finish().await), ["tool_error"], "{client_leaves}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_that_nobody_can_resume_has_left_its_call() {
    let (scripted, address) = Scripted::start().await;
    let proxied = Proxied::start(address).await;
    let session = opened(&proxied, &scripted).await;
    let (client, mut server) = begun(
        &proxied,
        &scripted,
        &session,
        "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n",
    )
    .await;
    drop(client);
    ended(&mut server).await;
    resume(&proxied, &scripted, &session).await;
    assert_eq!(outcomes(&proxied.finish().await), ["cancelled"]);
}

#[tokio::test]
async fn a_call_that_its_client_takes_back_is_recorded_as_cancelled_however_its_stream_ends() {
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"r1"}}"#;
    // A stream that could be resumed, and one that could not; ended, broken off, or with an answer all the same.
    for event in [
        "id: 7\ndata: \n\n",
        "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n",
    ] {
        for (end, outcome) in [("0\r\n\r\n", "cancelled"), ("", "cancelled"), (ANSWER, "tool_error")] {
            let (scripted, address) = Scripted::start().await;
            let proxied = Proxied::start(address).await;
            let session = opened(&proxied, &scripted).await;
            let (mut client, mut server) = begun(&proxied, &scripted, &session, event).await;
            let accept = async {
                let mut server = scripted.connection().await;
                read_until(&mut server, "\"r1\"}}").await;
                server
                    .write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                    .await
                    .unwrap();
            };
            let (accepted, ()) = tokio::join!(proxied.exchange(within(&session, cancel)), accept);
            assert!(accepted.starts_with("HTTP/1.1 202"), "{accepted}");
            match end {
                ANSWER => say(&mut server, end).await,
                end => server.write_all(end.as_bytes()).await.unwrap(),
            }
            drop(server);
            ended(&mut client).await;
            // One that could be resumed waits a while for an answer all the same.
            proxied.shared.pending.forget(Instant::now() + CANCELLED_TIME);
            assert_eq!(outcomes(&proxied.finish().await), [outcome], "{event:?} {end:?}");
        }
    }
}
