//! What was subscribed to with a token, and outlives it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, time::timeout};

use super::{
    gateway::{ask, desired, request, start},
    hearing::{takes, updates},
    listening::stream,
    live_server::LiveServer,
    read_until,
    session_server::SessionServer,
    streams::{get, send, session},
    tokens::World,
};
use crate::{
    identity::jwt::tests::review::{Api, good, token},
    resources::{Authentication, KeySource},
    waiting::until,
};

#[tokio::test]
async fn a_stream_ends_soon_after_the_api_server_no_longer_knows_its_token() {
    let (api, server) = (Api::start().await, SessionServer::start().await);
    let mut desired = desired(&[server.address]);
    desired.settings = World::new().settings(Authentication::Token);
    let mut issuer = api.issuer();
    let KeySource::Review(review) = &mut issuer.keys else {
        panic!("it is asked about each token")
    };
    review.max_age = Duration::from_secs(1);
    desired.settings.issuers = vec![Arc::new(issuer)];
    let proxied = start(desired).await;
    let token = token("a");
    api.says(&token, good());
    let headers = session(&proxied, &format!("Authorization: Bearer {token}\r\n")).await;
    let mut open = send(&proxied, get(&headers)).await;
    read_until(&mut open, "\r\n\r\n").await;
    // Nobody calls, and it is asked about all the same.
    let asked = api.asked();
    until("two questions", async || api.asked() >= asked + 2).await;
    api.says(&token, json!({"error": "the pod is gone"}));
    timeout(2 * LASTING, open.read_to_end(&mut Vec::new()))
        .await
        .expect("the stream outlives the pod")
        .unwrap();
    let lines = proxied.finish().await;
    let ended: Vec<&Value> = lines.iter().filter(|line| line["event"] == "stream_ended").collect();
    assert_eq!(ended.len(), 1, "{lines:#?}");
    assert_eq!(ended[0]["reason"], "token_review_denied");
}

/// How long the first token lasts: all that is done with it takes far less.
const LASTING: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_subscription_at_a_modern_server_ends_with_its_token_and_goes_on_with_the_clients_next_stream() {
    let (world, server) = (World::new(), LiveServer::modern().await);
    let mut desired = desired(&[server.address]);
    desired.settings = world.settings(Authentication::Token);
    let proxied = start(desired).await;
    let claims = json!({"iss": "https://users.example", "sub": "ann", "aud": "mcpgw", "scope": "mcp"});
    let headers = session(&proxied, &world.lasting(LASTING.as_secs(), claims.clone())).await;
    let mut first = send(&proxied, get(&headers)).await;
    read_until(&mut first, "\r\n\r\n").await;
    let uri = server.uri("a");
    let (subscription, subscribe) = (json!("listen"), request("resources/subscribe", json!({ "uri": uri })));
    let (answer, ()) = tokio::join!(ask(&proxied, &headers, &subscribe), takes(&server));
    assert_eq!((answer.status, answer.code()), (200, None), "{answer:?}");
    assert!(server.is_waiting(&subscription));
    timeout(2 * LASTING, first.read_to_end(&mut Vec::new()))
        .await
        .expect("the stream outlives the token")
        .unwrap();
    until("the end of the subscription", async || {
        !server.is_waiting(&subscription)
    })
    .await;
    server.forget_calls();
    // The same user, the same session, another token.
    let id = headers.split_once("\r\n").unwrap().0;
    let headers = format!("{id}\r\n{}", world.lasting(600, claims));
    let mut second = stream(&proxied, &headers).await;
    takes(&server).await;
    updates(&server, &uri).await;
    read_until(&mut second, &uri).await;
}
