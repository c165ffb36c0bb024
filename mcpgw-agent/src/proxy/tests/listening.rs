//! What clients hear unasked of servers with sessions.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use super::{
    Proxied,
    cancellation::{modern, session},
    gateway::{ask, desired, request, start},
    live_server::LiveServer,
    post, read_until,
};

/// Far less than a server may take to open a session.
const SOON: Duration = Duration::from_secs(10);

/// A modern client that listens to resources; its stream, and what was acknowledged.
async fn listen(proxied: &Proxied, id: u32, uris: &[&str]) -> (TcpStream, String) {
    listen_to(proxied, id, json!({ "resourceSubscriptions": uris })).await
}

/// The same, to all of this.
pub(super) async fn listen_to(proxied: &Proxied, id: u32, notifications: Value) -> (TcpStream, String) {
    let (headers, body) = modern(
        id,
        "subscriptions/listen",
        None,
        json!({ "notifications": notifications }),
    );
    let headers = format!("Accept: application/json, text/event-stream\r\n{headers}");
    let mut stream = proxied.connect().await;
    let request = post(&headers, &body.to_string());
    stream.write_all(request.as_bytes()).await.unwrap();
    let acknowledged = read_until(&mut stream, "\n\n").await;
    (stream, acknowledged)
}

/// The stream of a legacy client.
pub(super) async fn stream(proxied: &Proxied, session: &str) -> TcpStream {
    let mut stream = proxied.connect().await;
    let get = format!("GET /mcp HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n{session}\r\n");
    stream.write_all(get.as_bytes()).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    stream
}

#[tokio::test]
async fn modern_listeners_of_one_owner_share_a_stream_and_each_hears_what_it_asked_for() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let (a, b) = (server.uri("a"), server.uri("b"));
    let (mut first, acknowledged) = listen(&proxied, 1, &[&a, &b]).await;
    assert!(acknowledged.contains(&a) && acknowledged.contains(&b), "{acknowledged}");
    let (mut second, acknowledged) = listen(&proxied, 2, &[&b]).await;
    assert!(
        !acknowledged.contains(&a) && acknowledged.contains(&b),
        "{acknowledged}"
    );
    let subscribed = server.got("resources/subscribe");
    assert_eq!(subscribed.len(), 2, "{subscribed:?}");
    let session = &subscribed[0].0;
    server.update(session, &a);
    server.update(session, &b);
    let heard = read_until(&mut first, &b).await;
    assert!(
        heard.contains(&a) && heard.contains("\"io.modelcontextprotocol/subscriptionId\":1"),
        "{heard}"
    );
    let heard = read_until(&mut second, &b).await;
    assert!(
        !heard.contains(&a) && heard.contains("\"io.modelcontextprotocol/subscriptionId\":2"),
        "{heard}"
    );
    // What one does not want any more the other may still want.
    drop(first);
    let ended = server.gets("resources/unsubscribe", 1).await;
    assert_eq!(ended[0].1["params"]["uri"], a);
    server.update(session, &b);
    read_until(&mut second, &b).await;
    drop(second);
    let ended = server.gets("resources/unsubscribe", 2).await;
    assert_eq!(ended[1].1["params"]["uri"], b);
    server.is_unheard_in(session).await;
}

#[tokio::test]
async fn a_server_that_lost_its_sessions_is_heard_again_by_those_who_only_listen() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let uri = server.uri("a");
    let (mut modern, _) = listen(&proxied, 1, &[&uri]).await;
    let session = session(&proxied).await;
    let subscribe = request("resources/subscribe", json!({ "uri": uri }));
    assert_eq!(ask(&proxied, &session, &subscribe).await.code(), None);
    let mut legacy = stream(&proxied, &session).await;
    let before: Vec<String> = server
        .got("resources/subscribe")
        .into_iter()
        .map(|(session, _)| session)
        .collect();
    assert_eq!(before.len(), 2);
    server.forget_all();
    let subscribed = server.gets("resources/subscribe", 4).await;
    for (session, _) in &subscribed[2..] {
        assert!(!before.contains(session));
        server.is_heard_in(session).await;
        server.update(session, &uri);
    }
    read_until(&mut modern, &uri).await;
    read_until(&mut legacy, &uri).await;
}

#[tokio::test]
async fn a_stream_that_a_server_takes_for_one_too_many_is_asked_for_again() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let session = session(&proxied).await;
    let uri = server.uri("a");
    let subscribe = request("resources/subscribe", json!({ "uri": uri }));
    assert_eq!(ask(&proxied, &session, &subscribe).await.code(), None);
    let (mut client, ()) = tokio::join!(stream(&proxied, &session), server.is_busy_until_asked(1));
    let named = server.got("resources/subscribe")[0].0.clone();
    server.is_heard_in(&named).await;
    server.update(&named, &uri);
    read_until(&mut client, &uri).await;
}

#[tokio::test]
async fn a_server_that_takes_no_subscription_holds_up_no_acknowledgement() {
    let (good, mute) = (LiveServer::start().await, LiveServer::start().await);
    let proxied = start(desired(&[good.address, mute.address])).await;
    mute.fall_mute();
    let (uri, unheard) = (good.uri("a"), mute.uri("a"));
    let uris = [&*uri, &*unheard];
    let listening = timeout(SOON, listen(&proxied, 1, &uris));
    let (mut client, acknowledged) = listening.await.unwrap();
    assert!(
        acknowledged.contains(&uri) && !acknowledged.contains(&unheard),
        "{acknowledged}"
    );
    let (session, _) = good.got("resources/subscribe").remove(0);
    good.update(&session, &uri);
    read_until(&mut client, &uri).await;
}
