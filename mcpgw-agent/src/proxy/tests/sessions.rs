//! Sessions on the redirected path, with a server that knows them.

use super::{Answer, Proxied, post, session_server::SessionServer};

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
    assert_eq!((forged.status, forged.code()), (404, Some(4040)));
    let lines = proxied.finish().await;
    assert_eq!(lines[1]["reason"], "no_session");
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
