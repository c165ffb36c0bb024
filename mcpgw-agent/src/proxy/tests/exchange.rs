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

/// A gateway that knows what this server offers, and wants a token of its callers.
async fn gateway(world: &World, wanted: Arc<Server>) -> Proxied {
    let desired = Desired {
        generation: 1,
        settings: world.settings(Authentication::Token),
        servers: vec![wanted],
        ..Desired::default()
    };
    let proxied = Proxied::start_with(desired, Some(GATEWAY.parse().unwrap())).await;
    proxied.knows(1).await;
    proxied
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
    let proxied = gateway(&world, wanted).await;
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
    // What it offers to each is asked with its own token, too.
    let mut seen = server.credentials().split_off(before);
    seen.dedup();
    assert_eq!(seen, ["Bearer for-alice", "Bearer for-bob", "Bearer for-alice"]);
    assert_eq!(issuer.asked().len(), 3);
}

fn tool(name: &str) -> String {
    format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#)
}

#[tokio::test]
async fn each_user_sees_and_calls_only_what_such_a_server_offers_to_that_user() {
    let world = World::new();
    let (wanted, server, _issuer) = exchanging(&world, &["for-us", "for-alice", "for-bob"]).await;
    server.set_tools(&tool("ours"));
    server.set_own_tools("Bearer for-alice", &[tool("both"), tool("hers")].join(","));
    server.set_own_tools("Bearer for-bob", &[tool("both"), tool("his")].join(","));
    let of = wanted.name.clone();
    let proxied = gateway(&world, wanted).await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    for _ in 0..2 {
        assert_eq!(tools(&list(&proxied, &alice).await), ["calc_both", "calc_hers"]);
        assert_eq!(tools(&list(&proxied, &bob).await), ["calc_both", "calc_his"]);
    }
    let called = async |user: &str, tool: &str| {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}});
        Answer::of(&proxied.exchange(post(user, &call.to_string())).await).body
    };
    for (user, tool) in [(&alice, "calc_his"), (&bob, "calc_hers"), (&alice, "calc_ours")] {
        let denied = called(user, tool).await;
        assert_eq!(denied["error"]["message"], format!("Unknown tool: {tool}"));
    }
    assert!(server.called().is_empty());
    for (user, tool) in [(&alice, "calc_hers"), (&bob, "calc_his"), (&bob, "calc_both")] {
        let answer = called(user, tool).await;
        assert!(answer["result"].is_object(), "{answer}");
    }
    assert_eq!(server.called(), ["hers", "his", "both"]);
    // What it offers to us tells when to ask for the others again.
    server.set_own_tools("Bearer for-alice", &tool("another"));
    assert_eq!(tools(&list(&proxied, &alice).await), ["calc_both", "calc_hers"]);
    server.set_tools(&tool("theirs"));
    proxied.discovery.refresh(&of);
    for _ in 0..500 {
        if tools(&list(&proxied, &alice).await) == ["calc_another"] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{:?}", list(&proxied, &alice).await);
}

#[tokio::test]
async fn whoever_gets_no_token_for_such_a_server_sees_nothing_of_it() {
    let world = World::new();
    let (wanted, server, issuer) = exchanging(&world, &["for-us"]).await;
    issuer.refuse_from(1);
    let other = SessionServer::start().await;
    let everyones = Server {
        expose_to: Expose::Everyone,
        ..Server::at(name("tools", "other"), vec![other.address])
    };
    let desired = Desired {
        generation: 1,
        settings: world.settings(Authentication::Token),
        servers: vec![wanted, Arc::new(everyones)],
        ..Desired::default()
    };
    let proxied = Proxied::start_with(desired, Some(GATEWAY.parse().unwrap())).await;
    proxied.knows(2).await;
    let seen = list(&proxied, &world.user("alice")).await;
    assert_eq!(tools(&seen), ["other_add", "other_big"]);
    assert!(server.credentials().iter().all(|shown| shown == "Bearer for-us"));
    assert!(issuer.asked().len() > 1, "nobody asked for a token of hers");
}
