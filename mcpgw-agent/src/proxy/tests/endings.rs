//! Sessions that a server opened, and that nobody can use: they are ended there.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    Answer, Proxied,
    cancellation::{BOTH, send, session},
    gateway::{GATEWAY, ask, desired, request, start},
    listening::stream,
    live_server::LiveServer,
    post, read_until,
    reload::put_in_force,
    session_server::SessionServer,
};
use crate::{
    mcp::headers::{MAX_REVISION_NAME, MAX_SESSION_ID},
    waiting::until,
};

fn add() -> Value {
    request("tools/call", json!({"name": "a_add", "arguments": {}}))
}

/// The session that the server opened last.
async fn last(server: &LiveServer, count: usize) -> String {
    server.gets("initialize", count).await.pop().unwrap().0
}

async fn delete(proxied: &Proxied, session: &str) {
    let delete = format!("DELETE /mcp HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{session}\r\n");
    assert_eq!(Answer::of(&proxied.exchange(delete).await).status, 200);
}

#[tokio::test]
async fn a_session_that_a_server_does_not_let_begin_is_ended_there() {
    let server = LiveServer::start().await;
    let mut desired = desired(&[server.address]);
    Arc::make_mut(&mut desired.servers[0]).timeouts.first_byte = Duration::from_secs(1);
    let proxied = start(desired).await;
    let before = server.got("initialize").len();
    server.holds(Some("notifications/initialized"));
    let refused = ask(&proxied, "", &add()).await;
    assert_eq!(refused.status, 504, "{refused:?}");
    let opened = last(&server, before + 1).await;
    server.is_ended(&opened).await;
    server.holds(None);
    assert_eq!(ask(&proxied, "", &add()).await.code(), None);
}

#[tokio::test]
async fn a_session_whose_client_goes_away_while_it_is_opened_is_ended_with_that_of_the_client() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let session = session(&proxied).await;
    let before = server.got("initialize").len();
    server.holds(Some("initialize"));
    let client = send(&proxied, &format!("{BOTH}{session}"), &add()).await;
    let opened = last(&server, before + 1).await;
    drop(client);
    delete(&proxied, &session).await;
    server.holds(None);
    server.is_ended(&opened).await;
}

#[tokio::test]
async fn a_session_that_is_opened_for_a_client_that_went_away_is_there_for_its_next_request() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let session = session(&proxied).await;
    let before = server.got("initialize").len();
    server.holds(Some("initialize"));
    drop(send(&proxied, &format!("{BOTH}{session}"), &add()).await);
    let opened = last(&server, before + 1).await;
    server.holds(None);
    assert_eq!(ask(&proxied, &session, &add()).await.code(), None);
    assert_eq!(server.got("tools/call").pop().unwrap().0, opened);
    assert_eq!(server.got("initialize").len(), before + 1);
}

#[tokio::test]
async fn a_session_that_is_opened_for_a_request_that_went_away_is_heard_by_the_client_that_listens() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let session = session(&proxied).await;
    let mut client = stream(&proxied, &session).await;
    let before = server.got("initialize").len();
    server.holds(Some("initialize"));
    let call = send(&proxied, &format!("{BOTH}{session}"), &add()).await;
    let opened = last(&server, before + 1).await;
    drop(call);
    // The gateway knows that nobody waits for it any more.
    until("the end of the call", async || {
        proxied.telemetry.render().contains(r#"outcome="cancelled""#)
    })
    .await;
    server.holds(None);
    server.is_heard_in(&opened).await;
    let uri = server.uri("a");
    server.update(&opened, &uri);
    read_until(&mut client, &uri).await;
}

#[tokio::test]
async fn servers_that_do_not_answer_hold_up_no_ending_at_others() {
    let servers = [LiveServer::start().await, LiveServer::start().await];
    let proxied = start(desired(&servers.each_ref().map(|server| server.address))).await;
    let session = session(&proxied).await;
    for tool in ["a_add", "b_add"] {
        let call = request("tools/call", json!({"name": tool, "arguments": {}}));
        assert_eq!(ask(&proxied, &session, &call).await.code(), None);
    }
    servers.iter().for_each(|server| server.is_deaf(true));
    delete(&proxied, &session).await;
    for server in &servers {
        let (opened, _) = server.got("tools/call").remove(0);
        server.is_ended(&opened).await;
    }
}

#[tokio::test]
async fn a_session_at_a_server_that_is_another_now_is_ended_there() {
    let server = LiveServer::start().await;
    let mut desired = desired(&[server.address]);
    let proxied = start(desired.clone()).await;
    let session = session(&proxied).await;
    assert_eq!(ask(&proxied, &session, &add()).await.code(), None);
    let before = server.got("tools/call").pop().unwrap().0;
    desired.generation += 1;
    Arc::make_mut(&mut desired.servers[0]).timeouts.call *= 2;
    put_in_force(&proxied, &desired);
    assert_eq!(ask(&proxied, &session, &add()).await.code(), None);
    assert_ne!(server.got("tools/call").pop().unwrap().0, before);
    server.is_ended(&before).await;
}

#[tokio::test]
async fn a_session_that_begins_with_nonsense_is_ended_by_whoever_opened_it() {
    let server = SessionServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    // That in which the gateway itself listens.
    server.has_no_more_than(1).await;
    for (id, revision) in [(MAX_SESSION_ID + 1, 0), (0, MAX_REVISION_NAME + 1)] {
        server.begin_with(id, revision);
        assert_eq!(ask(&proxied, "", &add()).await.status, 502);
        server.has_no_more_than(1).await;
    }
    let direct = Proxied::start(server.address).await;
    server.begin_with(0, 0);
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}});
    let opened = Answer::of(&direct.exchange(post("", &initialize.to_string())).await);
    let named = format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap());
    for (id, revision) in [(MAX_SESSION_ID + 1, 0), (0, MAX_REVISION_NAME + 1)] {
        server.forget_all();
        server.begin_with(id, revision);
        let list = post(&named, &request("tools/list", json!({})).to_string());
        assert_eq!(Answer::of(&direct.exchange(list).await).status, 404);
        server.has_no_more_than(0).await;
    }
}

#[tokio::test]
async fn a_session_in_which_a_server_cannot_be_asked_what_it_offers_is_ended_there() {
    let server = SessionServer::start().await;
    server.begin_with(0, MAX_REVISION_NAME + 1);
    let proxied = Proxied::start_with(desired(&[server.address]), Some(GATEWAY.parse().unwrap())).await;
    until("a session", async || server.opened() > 0).await;
    server.has_no_more_than(0).await;
    drop(proxied);
}
