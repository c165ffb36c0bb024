//! Servers that say that their lists are for the one who asked.

use std::time::Duration;

use super::{
    modern_server::ModernServer,
    session_server::SessionServer,
    tokens::{GATEWAY, World, list, tools},
    *,
};
use crate::resources::{Authentication, Expose};

/// A gateway with this server, and with one whose lists are for all.
async fn gateway(own: &ModernServer) -> (Proxied, SessionServer) {
    let all = SessionServer::start().await;
    let at = |server: &str, address| {
        Arc::new(Server {
            expose_to: Expose::Everyone,
            ..Server::at(name("tools", server), vec![address])
        })
    };
    let desired = Desired {
        generation: 1,
        settings: World::new().settings(Authentication::Attested),
        servers: vec![at("all", all.address), at("own", own.address)],
        ..Desired::default()
    };
    let proxied = Proxied::start_with(desired, Some(GATEWAY.parse().unwrap())).await;
    proxied.knows(2).await;
    (proxied, all)
}

#[tokio::test]
async fn a_private_list_is_asked_for_each_workload_and_shown_to_no_other() {
    let server = ModernServer::private().await;
    let (proxied, _all) = gateway(&server).await;
    let other = proxied.of_another_workload(GATEWAY.parse().unwrap()).await;
    // The first was asked for by us.
    for _ in 0..2 {
        assert_eq!(tools(&list(&proxied, "").await), ["all_add", "all_big", "own_own-2"]);
        assert_eq!(tools(&list(&other, "").await), ["all_add", "all_big", "own_own-3"]);
    }
    for tool in ["own_own-1", "own_own-3"] {
        let denied = proxied.call(tool).await.body;
        assert_eq!(denied["error"]["message"], format!("Unknown tool: {tool}"));
    }
    assert!(server.calls().is_empty());
    proxied.call("own_own-2").await;
    assert!(!server.calls().is_empty());
}

#[tokio::test]
async fn a_server_that_never_lists_what_it_has_for_a_caller_does_not_keep_the_others_from_it() {
    let server = ModernServer::silent().await;
    let (proxied, _all) = gateway(&server).await;
    let listed = tokio::time::timeout(Duration::from_secs(10), list(&proxied, "")).await;
    assert_eq!(
        tools(&listed.expect("it waits for the silent one")),
        ["all_add", "all_big"]
    );
}
