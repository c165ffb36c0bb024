//! Workloads that are only observed: what would become of their connections is what becomes of others'.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    Proxied, call, post, post_and_stay,
    tls::{Files, NAME, OTHER_NAME, behind_one_address, rule, secure_as},
    upstreams::Upstream,
};
use crate::resources::{Action, ClientTls, Rule};

/// A server that takes what comes, and says nothing.
async fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// What is recorded of TLS that asks for this name at these hosts, of a caller that is only observed.
async fn seen(hosts: &[(&str, ClientTls)], asked: &'static str, rules: impl Fn(&str) -> Vec<Rule>) -> Value {
    let (_files, connector) = Files::new();
    let (listener, address) = silent().await;
    let governed = behind_one_address(address, hosts, rules).await;
    let observing = governed.observing(address).await;
    let server = async { drop(listener.accept().await.unwrap().0.read(&mut [0; 4096]).await) };
    let (shaken, ()) = tokio::join!(secure_as(asked, &observing, &connector), server);
    assert!(shaken.is_err(), "the server speaks no TLS");
    while observing.tasks.len() > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    observing.finish().await.remove(0)
}

#[tokio::test]
async fn tls_would_be_refused_by_the_rules_of_every_server_at_its_address() {
    let hosts = [(NAME, ClientTls::Passthrough), (OTHER_NAME, ClientTls::Passthrough)];
    let denies = |host: &str| match host {
        OTHER_NAME => vec![],
        _ => vec![rule(Action::Deny, Some("big"), "agents")],
    };
    let line = seen(&hosts, OTHER_NAME, denies).await;
    assert_eq!(
        (&line["decision"], &line["rule"]),
        (&"would_deny".into(), &format!("{NAME}/restrict#1").into()),
        "{line}"
    );
    let line = seen(&hosts, OTHER_NAME, |_| vec![]).await;
    assert_eq!(
        (&line["decision"], &line["server"]),
        (&"allow".into(), &format!("{OTHER_NAME}/calc").into()),
        "{line}"
    );
}

#[tokio::test]
async fn tls_would_be_refused_by_the_name_that_it_asks_for() {
    let hosts = [(NAME, ClientTls::Passthrough), (OTHER_NAME, ClientTls::Refuse)];
    for (asked, reason) in [(OTHER_NAME, "tls"), ("third.example", "tls_other_name")] {
        let line = seen(&hosts, asked, |_| vec![]).await;
        assert_eq!(line["reason"], reason, "{line}");
    }
}

#[tokio::test]
async fn what_comes_behind_a_request_that_was_not_read_to_its_end_is_said_to_be_unobserved() {
    let upstream = Upstream::start().await;
    let governed = Proxied::start(upstream.address).await;
    let observing = governed.observing(upstream.address).await;
    let mut client: TcpStream = observing.connect().await;
    // Refused by its path alone.
    let refused = post_and_stay(&"x".repeat(1024 * 1024)).replace("/mcp", "/closed");
    client.write_all(refused.as_bytes()).await.unwrap();
    client.write_all(post("", &call("big")).as_bytes()).await.unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    drop(client);
    let lines = observing.finish().await;
    let reasons: Vec<_> = lines.iter().map(|line| line["reason"].to_string()).collect();
    assert_eq!(reasons, ["\"path\"", "\"unobserved\""], "{lines:?}");
}
