//! What clients hear of servers of which it is not always known what they offer.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{
    Proxied,
    cancellation::session,
    gateway::{ask, desired, request, start},
    listening::stream,
    live_server::LiveServer,
    read_until,
};
use crate::resources::Desired;

fn says(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

/// The server takes the subscription that was opened last.
async fn takes(server: &LiveServer) {
    let acknowledged = says(
        "notifications/subscriptions/acknowledged",
        json!({ "notifications": {} }),
    );
    server.say_of(&json!("listen"), &acknowledged).await;
}

/// It says there that a resource changed.
async fn updates(server: &LiveServer, uri: &str) {
    let updated = says("notifications/resources/updated", json!({ "uri": uri }));
    server.say_of(&json!("listen"), &updated).await;
}

/// The stream of a legacy client that subscribed to a resource of a modern server.
async fn subscribed(proxied: &Proxied, server: &LiveServer, uri: &str) -> TcpStream {
    let session = session(proxied).await;
    let client = stream(proxied, &session).await;
    tokio::join!(subscribe(proxied, &session, uri), takes(server));
    client
}

async fn subscribe(proxied: &Proxied, session: &str, uri: &str) {
    let answer = ask(proxied, session, &request("resources/subscribe", json!({ "uri": uri }))).await;
    assert_eq!((answer.status, answer.code()), (200, None), "{answer:?}");
}

/// The same, where the last server is another than it was.
fn edited(mut desired: Desired) -> Desired {
    desired.generation += 1;
    let server = Arc::make_mut(desired.servers.last_mut().unwrap());
    server.timeouts.call *= 2;
    desired
}

#[tokio::test]
async fn an_update_is_told_where_it_is_no_longer_known_what_the_server_offers_to_the_client() {
    let (other, server) = (LiveServer::modern().await, LiveServer::private().await);
    let desired = desired(&[other.address, server.address]);
    let proxied = start(desired.clone()).await;
    let uri = server.uri("a");
    let mut client = subscribed(&proxied, &server, &uri).await;
    // As after a long silence: what it offers is forgotten, and all else is as before.
    proxied.discovery.put_in_force(&edited(desired.clone()).servers);
    updates(&server, &uri).await;
    read_until(&mut client, &uri).await;
    // What another has is not its own, known or not.
    proxied.discovery.put_in_force(&desired.servers);
    updates(&server, &other.uri("a")).await;
    updates(&server, &server.uri("b")).await;
    let heard = read_until(&mut client, &server.uri("b")).await;
    assert!(!heard.contains(&other.uri("a")), "{heard}");
}
