//! What clients hear of servers of which it is not always known what they offer.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

use super::{
    Proxied,
    cancellation::session,
    gateway::{ask, desired, request, start},
    listening::{listen_to, stream},
    live_server::LiveServer,
    read_until,
    reload::put_in_force,
    streams::session as session_of,
    tokens::World,
};
use crate::resources::{Authentication, Desired};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn says(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

/// The server takes the subscription that was opened last.
pub(super) async fn takes(server: &LiveServer) {
    let acknowledged = says(
        "notifications/subscriptions/acknowledged",
        json!({ "notifications": {} }),
    );
    server.say_of(&json!("listen"), &acknowledged).await;
}

/// It says there that a resource changed.
pub(super) async fn updates(server: &LiveServer, uri: &str) {
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

/// What a client hears until it hears of a resource.
async fn hears(client: &mut TcpStream, uri: &str) -> String {
    let heard = timeout(PATIENCE, read_until(client, uri)).await;
    heard.unwrap_or_else(|_| panic!("{uri} is not heard of"))
}

/// The server is subscribed to anew, and the client hears of it.
async fn hears_again(server: &LiveServer, client: &mut TcpStream, uri: &str) {
    takes(server).await;
    updates(server, uri).await;
    hears(client, uri).await;
}

/// The client hears of a resource of the last server when that was edited.
async fn hears_when_edited(proxied: &Proxied, desired: Desired, server: &LiveServer, mut client: TcpStream) {
    put_in_force(proxied, &edited(desired));
    server.forget_calls();
    hears_again(server, &mut client, &server.uri("a")).await;
}

#[tokio::test]
async fn an_open_stream_goes_on_when_a_server_with_lists_for_each_principal_is_edited() {
    let (other, server) = (LiveServer::modern().await, LiveServer::private().await);
    let desired = desired(&[other.address, server.address]);
    let proxied = start(desired.clone()).await;
    let client = subscribed(&proxied, &server, &server.uri("a")).await;
    hears_when_edited(&proxied, desired, &server, client).await;
}

#[tokio::test]
async fn a_modern_clients_subscription_goes_on_when_a_server_with_lists_for_each_principal_is_edited() {
    let server = LiveServer::private().await;
    let desired = desired(&[server.address]);
    let proxied = start(desired.clone()).await;
    let wanted = json!({ "resourceSubscriptions": [server.uri("a")] });
    let ((client, acknowledged), ()) = tokio::join!(listen_to(&proxied, 1, wanted), takes(&server));
    assert!(acknowledged.contains(&server.uri("a")), "{acknowledged}");
    hears_when_edited(&proxied, desired, &server, client).await;
}

#[tokio::test]
async fn an_open_stream_goes_on_when_a_server_is_removed_and_comes_back() {
    let (legacy, modern) = (LiveServer::start().await, LiveServer::modern().await);
    let mut desired = desired(&[legacy.address, modern.address]);
    let proxied = start(desired.clone()).await;
    let (of_legacy, of_modern) = (legacy.uri("a"), modern.uri("a"));
    let session = session(&proxied).await;
    let mut client = stream(&proxied, &session).await;
    subscribe(&proxied, &session, &of_legacy).await;
    tokio::join!(subscribe(&proxied, &session, &of_modern), takes(&modern));
    let named = legacy.got("resources/subscribe")[0].0.clone();
    legacy.is_heard_in(&named).await;
    let servers = std::mem::take(&mut desired.servers);
    desired.generation = 2;
    put_in_force(&proxied, &desired);
    legacy.is_unheard_in(&named).await;
    modern.forget_calls();
    desired.generation = 3;
    desired.servers = servers;
    put_in_force(&proxied, &desired);
    hears_again(&modern, &mut client, &of_modern).await;
    let named = legacy.gets("resources/subscribe", 2).await[1].0.clone();
    legacy.is_heard_in(&named).await;
    legacy.update(&named, &of_legacy);
    hears(&mut client, &of_legacy).await;
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
    hears(&mut client, &uri).await;
    // Nothing is told of what the client did not ask for, whoever has it: that is not known now.
    proxied.discovery.put_in_force(&desired.servers);
    let unasked = [other.uri("a"), server.uri("b")];
    for uri in &unasked {
        updates(&server, uri).await;
    }
    updates(&server, &uri).await;
    let heard = hears(&mut client, &uri).await;
    assert!(!unasked.iter().any(|uri| heard.contains(uri)), "{heard}");
}

#[tokio::test]
async fn a_session_in_which_a_server_takes_no_subscription_again_is_ended_there() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let session = session(&proxied).await;
    subscribe(&proxied, &session, &server.uri("a")).await;
    server.forget_all();
    server.is_closed(true);
    let add = request("tools/call", json!({"name": "a_add", "arguments": {}}));
    let refused = ask(&proxied, &session, &add).await;
    assert_eq!(refused.status, 502, "{refused:?}");
    let asked = server.got("resources/subscribe");
    assert_eq!(asked.len(), 2);
    server.is_ended(&asked[1].0).await;
    server.is_closed(false);
    assert_eq!(ask(&proxied, &session, &add).await.code(), None);
    assert_eq!(server.got("resources/subscribe").len(), 3);
}

/// The requests of the gateway to be told of updates.
async fn asked(server: &LiveServer, count: usize) -> Vec<Value> {
    let is_its = |(_, asked): &(String, Value)| asked["params"]["notifications"]["resourceSubscriptions"].is_array();
    let mut before = 0;
    loop {
        let all = server.gets("subscriptions/listen", before + 1).await;
        before = all.len();
        let its: Vec<Value> = all.into_iter().filter(is_its).map(|(_, asked)| asked).collect();
        if its.len() >= count {
            return its;
        }
    }
}

#[tokio::test]
async fn a_subscription_is_renewed_for_a_longer_token_though_another_was_refused_meanwhile() {
    for stream_first in [true, false] {
        let (world, server) = (World::new(), LiveServer::modern().await);
        let mut desired = desired(&[server.address]);
        desired.settings = world.settings(Authentication::Token);
        let proxied = start(desired).await;
        let claims = json!({"iss": "https://users.example", "sub": "ann", "aud": "mcpgw", "scope": "mcp"});
        let short = session_of(&proxied, &world.lasting(300, claims.clone())).await;
        let (a, b) = (server.uri("a"), server.uri("b"));
        tokio::join!(subscribe(&proxied, &short, &a), takes(&server));
        let long = format!(
            "{}\r\n{}",
            short.split_once("\r\n").unwrap().0,
            world.lasting(600, claims)
        );
        server.is_closed(true);
        let mut client = None;
        if stream_first {
            client = Some(stream(&proxied, &long).await);
            asked(&server, 2).await;
        }
        let refused = ask(&proxied, &long, &request("resources/subscribe", json!({ "uri": b }))).await;
        assert_eq!(refused.status, 502, "{refused:?}");
        let before = asked(&server, 1).await.len();
        server.is_closed(false);
        let mut client = match client {
            Some(client) => client,
            None => stream(&proxied, &long).await,
        };
        let renewed = asked(&server, before + 1).await.pop().unwrap();
        assert_eq!(renewed["params"]["notifications"]["resourceSubscriptions"], json!([a]));
        hears_again(&server, &mut client, &a).await;
    }
}
