//! How much clients can have kept by subscribing.

use serde_json::json;

use super::{
    Answer, Proxied,
    cancellation::session,
    gateway::{ask, desired, request, start},
    hearing,
    live_server::LiveServer,
    read_until,
    streams::{listen, plain, send},
};
use crate::{
    mcp::governed::MAX_SUBSCRIBED_URI,
    proxy::limits::{MAX_SUBSCRIBED_BYTES, MAX_SUBSCRIBED_BYTES_PER_WORKLOAD},
    shares::{Payer, Share},
    waiting::until,
};

/// So many URIs, each as long as it may be.
fn uris(count: usize) -> Vec<String> {
    let uri = |number: usize| format!("{number:-<MAX_SUBSCRIBED_URI$}");
    (0..count).map(uri).collect()
}

fn taken(proxied: &Proxied) -> usize {
    proxied.shared.gateway.subscribed().taken()
}

/// All the room that there is.
fn all(proxied: &Proxied) -> Share {
    let mut all = proxied.shared.gateway.subscribed().none(Payer::Agent);
    assert!(all.resize(MAX_SUBSCRIBED_BYTES));
    all
}

/// Whether the server, of the modern era, was asked to tell of a resource; that its lists change it is asked to tell anyway.
fn is_subscribed_to(server: &LiveServer) -> bool {
    let asked = server.got("subscriptions/listen");
    let mut wanted = asked.iter().map(|(_, asked)| &asked["params"]["notifications"]);
    wanted.any(|wanted| wanted["resourceSubscriptions"][0].is_string())
}

/// At the gateway, and at a server's own address.
async fn both(server: &LiveServer) -> [Proxied; 2] {
    let direct = Proxied::start_with(plain(server.address, 1), Some(server.address)).await;
    [start(desired(&[server.address])).await, direct]
}

#[tokio::test]
async fn what_modern_clients_listen_to_has_a_share_of_the_room_until_they_go_away() {
    let server = LiveServer::modern().await;
    for proxied in both(&server).await {
        let first = send(&proxied, listen(&uris(1_000))).await;
        let mut open = vec![first];
        read_until(&mut open[0], "200 OK").await;
        assert!(taken(&proxied) > 1_000 * MAX_SUBSCRIBED_URI);
        let mut refused = send(&proxied, listen(&uris(1_000))).await;
        let said = read_until(&mut refused, "m1").await;
        assert!(said.contains("503 ") && said.contains("too many resources"), "{said}");
        open.push(send(&proxied, listen(&uris(500))).await);
        read_until(&mut open[1], "200 OK").await;
        assert!(taken(&proxied) <= MAX_SUBSCRIBED_BYTES_PER_WORKLOAD);
        drop(open);
        until("the end of the streams", async || taken(&proxied) == 0).await;
    }
}

#[tokio::test]
async fn what_legacy_clients_subscribe_to_is_refused_where_there_is_no_room_and_not_left_at_the_server() {
    for server in [LiveServer::start().await, LiveServer::modern().await] {
        let proxied = start(desired(&[server.address])).await;
        let session = session(&proxied).await;
        let subscribe = |uri: &str| request("resources/subscribe", json!({ "uri": uri }));
        let uri = server.uri("a");
        let room = all(&proxied);
        let refused = ask(&proxied, &session, &subscribe(&uri)).await;
        assert!(refused.body.to_string().contains("too many resources"), "{refused:?}");
        assert_eq!(taken(&proxied), MAX_SUBSCRIBED_BYTES);
        assert_eq!(
            server.got("resources/subscribe").len(),
            server.got("resources/unsubscribe").len()
        );
        assert!(!is_subscribed_to(&server));
        drop(room);
        let again = subscribe(&uri);
        let takes = async {
            if server.got("initialize").is_empty() {
                hearing::takes(&server).await;
            }
        };
        let (taken_over, ()) = tokio::join!(ask(&proxied, &session, &again), takes);
        assert_eq!((taken_over.status, taken_over.code()), (200, None), "{taken_over:?}");
        assert!(taken(&proxied) > uri.len());
    }
}

#[tokio::test]
async fn resources_with_very_long_uris_cannot_be_subscribed_to() {
    let long = "x".repeat(MAX_SUBSCRIBED_URI + 1);
    let server = LiveServer::modern().await;
    for proxied in both(&server).await {
        let refused = Answer::of(&proxied.exchange(listen(&[&long])).await);
        assert!(
            refused.body["error"]["message"]
                .as_str()
                .unwrap()
                .contains("2048 bytes"),
            "{refused:?}"
        );
    }
    let proxied = start(desired(&[server.address])).await;
    let session = session(&proxied).await;
    let refused = ask(
        &proxied,
        &session,
        &request("resources/subscribe", json!({ "uri": long })),
    )
    .await;
    assert_eq!((refused.status, refused.code()), (200, Some(-32602)), "{refused:?}");
    assert!(!is_subscribed_to(&server));
}
