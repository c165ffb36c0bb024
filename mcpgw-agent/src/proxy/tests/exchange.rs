//! A server that wants a token in exchange for its caller's, on both paths.

use serde_json::json;

use super::{
    session_server::SessionServer,
    tokens::{GATEWAY, World, call_with, list, tools},
    *,
};
use crate::{
    resources::{Authentication, Credential, Expose, Settings, TokenEndpoint},
    upstream::credential::tests::{Peer, token},
};

/// Such a server, and the authorization server.
async fn exchanging(world: &World, own: &[&str]) -> (Arc<Server>, SessionServer, Peer) {
    let tokens = own.iter().map(|name| token(name, 600)).collect();
    let (server, issuer) = (SessionServer::start().await, Peer::start(tokens).await);
    let secret = world.dir.path().join("secret");
    std::fs::write(&secret, "s").unwrap();
    let mut wanted = Server::at(name("tools", "calc"), vec![server.address]);
    wanted.expose_to = Expose::Everyone;
    wanted.credential = Some(Arc::new(Credential::TokenExchange(TokenEndpoint {
        url: format!("http://{}/token", issuer.address).into(),
        client_id: "mcpgw".into(),
        client_secret: secret,
        scopes: vec![],
        audience: None,
        authorities: None,
    })));
    (Arc::new(wanted), server, issuer)
}

#[tokio::test]
async fn a_direct_dial_of_a_server_that_exchanges_tokens_needs_one_and_the_server_sees_another() {
    let world = World::new();
    let (wanted, server, issuer) = exchanging(&world, &["for-alice", "for-bob"]).await;
    let desired = Desired {
        generation: 1,
        settings: Settings {
            gateway: None,
            ..world.settings(Authentication::Token)
        },
        servers: vec![wanted],
        ..Desired::default()
    };
    let proxied = Proxied::start_with(desired, Some(server.address)).await;
    assert_eq!(Answer::of(&proxied.exchange(call_with("")).await).status, 401);
    assert!(issuer.asked().is_empty());
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    for user in [&alice, &bob, &alice] {
        let answer = Answer::of(&proxied.exchange(call_with(user)).await);
        assert_eq!(answer.status, 200);
    }
    let seen = ["Bearer for-alice", "Bearer for-bob", "Bearer for-alice"];
    assert_eq!(server.credentials(), seen);
    assert_eq!(issuer.asked().len(), 2);
}

#[tokio::test]
async fn at_the_gateway_each_subject_speaks_to_such_a_server_with_its_own_token() {
    let world = World::new();
    let (wanted, server, issuer) = exchanging(&world, &["for-us", "for-alice", "for-bob"]).await;
    let desired = Desired {
        generation: 1,
        settings: world.settings(Authentication::Token),
        servers: vec![wanted],
        ..Desired::default()
    };
    let proxied = Proxied::start_with(desired, Some(GATEWAY.parse().unwrap())).await;
    let known = async || !tools(&list(&proxied, &world.user("alice")).await).is_empty();
    for _ in 0..500 {
        if known().await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // What it offers is asked with a token of our own.
    assert!(
        server.credentials().iter().all(|shown| shown == "Bearer for-us"),
        "{:?}",
        server.credentials()
    );
    let before = server.credentials().len();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    for user in [&alice, &bob, &alice] {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "calc_add"}});
        let answer = Answer::of(&proxied.exchange(post(user, &call.to_string())).await);
        assert!(answer.body["result"].is_object(), "{answer:?}");
    }
    let mut seen = server.credentials().split_off(before);
    seen.dedup();
    assert_eq!(seen, ["Bearer for-alice", "Bearer for-bob", "Bearer for-alice"]);
    assert_eq!(issuer.asked().len(), 3);
}
