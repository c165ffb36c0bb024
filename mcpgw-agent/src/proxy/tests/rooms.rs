//! Callers at the gateway's own listener: none of them takes the room of the others.

use std::net::SocketAddr;

use http::StatusCode;
use serde_json::json;
use tokio::net::TcpSocket;

use super::{
    cancellation::modern,
    http2::{client, json as whole, post as post_http2},
    tokens::{GATEWAY, World, gateway, list},
    *,
};
use crate::{
    identity::Token,
    proxy::{body::BodyBudget, limits::MAX_BODY},
    resources::{AuditSettings, Authentication, OnFull},
    shares::Shares,
    telemetry::{FREE, OWN, Path, Refusal, Who},
    waiting::until,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
const LIST: &str = r#"{"jsonrpc":"2.0","method":"tools/list","id":1}"#;

fn at_gateway() -> SocketAddr {
    GATEWAY.parse().unwrap()
}

/// A connection from another address of this machine.
async fn connect_from(source: &str, proxied: &Proxied) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    socket.connect(proxied.address).await.unwrap()
}

#[tokio::test]
async fn one_address_has_its_part_of_the_connections_and_others_are_served() {
    let world = World::new();
    let (attested, _server) = gateway(&world, Authentication::Token, None).await;
    let small = |tasks| Room {
        most_connections: 4,
        connections: Shares::new(4, 2),
        ..Room::of_gateway(tasks)
    };
    let proxied = attested.unknown_with(at_gateway(), small).await;
    let mut idle = vec![
        connect_from("127.0.0.2", &proxied).await,
        connect_from("127.0.0.2", &proxied).await,
    ];
    for _ in 0..3 {
        let mut one_more = connect_from("127.0.0.2", &proxied).await;
        assert_eq!(one_more.read(&mut [0; 1]).await.unwrap(), 0);
    }
    assert_eq!(list(&proxied, &world.user("modest")).await.status, 200);
    // What is given back can be had again.
    idle.pop();
    let served = async {
        loop {
            let mut again = connect_from("127.0.0.2", &proxied).await;
            let _ = again.write_all(post("", LIST).as_bytes()).await;
            let mut answer = Vec::new();
            let _ = again.read_to_end(&mut answer).await;
            if !answer.is_empty() {
                break answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, served).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 401"), "{answer:?}");
    drop((idle, attested));
    let lines = proxied.finish().await;
    let refused = lines.iter().filter(|line| line["reason"] == "too_many_connections");
    assert!(refused.count() >= 3, "{lines:?}");
}

/// Whether this is an answer of HTTP/1.1 with all of its body, in one of the forms that there are here.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => body.len() == length.parse::<usize>().unwrap(),
        None => body.ends_with("0\r\n\r\n"),
    }
}

/// The status of a list that is asked for on a connection which stays open; `None` where nothing is answered any more.
async fn listed(stream: &mut TcpStream, headers: &str) -> Option<String> {
    let request = post(headers, LIST).replace("Connection: close\r\n", "");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    while !is_whole(&answer) {
        let mut more = [0; 64 * 1024];
        let count = stream.read(&mut more).await.ok().filter(|count| *count > 0)?;
        answer += &String::from_utf8_lossy(&more[..count]);
    }
    answer.split(' ').nth(1).map(ToOwned::to_owned)
}

#[tokio::test]
async fn one_token_has_its_part_of_the_connections_however_many_addresses_it_comes_from() {
    let world = World::new();
    let (attested, _server) = gateway(&world, Authentication::Token, None).await;
    let borne = Shares::new(8, 2);
    let small = |tasks| Room {
        borne: borne.clone(),
        ..Room::of_gateway(tasks)
    };
    let proxied = attested.unknown_with(at_gateway(), small).await;
    let (greedy, modest) = (world.user("greedy"), world.user("modest"));
    let mut open = Vec::new();
    for address in ["127.0.0.2", "127.0.0.3"] {
        let mut stream = connect_from(address, &proxied).await;
        for _ in 0..3 {
            assert_eq!(listed(&mut stream, &greedy).await.as_deref(), Some("200"), "{address}");
        }
        open.push(stream);
    }
    let mut third = connect_from("127.0.0.4", &proxied).await;
    assert_eq!(listed(&mut third, &greedy).await.as_deref(), Some("503"));
    assert_eq!(listed(&mut third, &modest).await, None, "that connection is closed");
    // Another token, from the same address; and on the very connection of the first, which is then no longer its own.
    let mut others = connect_from("127.0.0.4", &proxied).await;
    assert_eq!(listed(&mut others, &modest).await.as_deref(), Some("200"));
    assert_eq!(listed(&mut open[0], &modest).await.as_deref(), Some("200"));
    let mut again = connect_from("127.0.0.5", &proxied).await;
    assert_eq!(listed(&mut again, &greedy).await.as_deref(), Some("200"));
    assert_eq!(listed(&mut open[0], &greedy).await.as_deref(), Some("503"));
    drop((open, others, again));
    until("what was taken", async || borne.taken() == 0).await;
    drop(attested);
    let lines = proxied.finish().await;
    let refused = lines.iter().filter(|line| line["reason"] == "too_many_connections");
    let who: Vec<&Value> = refused.map(|line| &line["identity"]["subject"]).collect();
    assert_eq!(who, ["greedy", "greedy"], "{lines:?}");
}

#[tokio::test]
async fn one_token_has_its_part_of_the_calls_over_http2_and_others_at_its_address_theirs() {
    let world = World::new();
    let (attested, _server) = gateway(&world, Authentication::Token, None).await;
    let small = |tasks| Room {
        streams: Shares::new(8, 2),
        ..Room::of_gateway(tasks)
    };
    let proxied = attested.unknown_with(at_gateway(), small).await;
    let mut client = client(proxied.connect().await).await;
    let with = |headers: &str, body: &str| {
        let mut request = post_http2(body);
        for (name, value) in headers.lines().filter_map(|line| line.split_once(": ")) {
            request.headers_mut().insert(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        request
    };
    let listen = |subject: &str| {
        let (headers, body) = modern(1, "subscriptions/listen", None, json!({"notifications": {}}));
        let headers = format!(
            "Accept: application/json, text/event-stream\r\n{headers}{}",
            world.user(subject)
        );
        with(&headers, &body.to_string())
    };
    let mut streams = Vec::new();
    for _ in 0..2 {
        let stream = client.send_request(listen("greedy")).await.unwrap();
        assert_eq!(stream.status(), StatusCode::OK);
        streams.push(stream);
    }
    let (status, body) = whole(client.send_request(listen("greedy")).await.unwrap()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    // On the same connection, and from the same address.
    for _ in 0..3 {
        let (status, body) = whole(client.send_request(with(&world.user("modest"), LIST)).await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    drop((streams, client, attested));
    let lines = proxied.finish().await;
    let refused = lines.iter().filter(|line| line["reason"] == "too_many_streams");
    let who: Vec<&Value> = refused.map(|line| &line["identity"]["subject"]).collect();
    assert_eq!(who, ["greedy"], "{lines:?}");
}

#[tokio::test]
async fn bodies_that_drip_take_the_part_of_their_own_token() {
    let world = World::new();
    let (attested, _server) = gateway(&world, Authentication::Token, None).await;
    let bodies = BodyBudget::new(Shares::new(2 * MAX_BODY, MAX_BODY));
    let small = |tasks| Room {
        bodies: bodies.clone(),
        ..Room::of_gateway(tasks)
    };
    let proxied = attested.unknown_with(at_gateway(), small).await;
    let mut dripping = Vec::new();
    for _ in 0..3 {
        let mut stream = proxied.connect().await;
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{}Content-Length: {MAX_BODY}\r\n\r\n{{",
            world.user("greedy")
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        dripping.push(stream);
    }
    until("the bodies", async || bodies.taken() >= MAX_BODY).await;
    assert_eq!(list(&proxied, &world.user("modest")).await.status, 200);
    assert_eq!(bodies.taken(), MAX_BODY, "the others wait");
}

/// Who is behind this subject's token, or somebody without one.
fn caller(subject: Option<&str>) -> Caller {
    let token = subject.map(|subject| {
        Arc::new(Token {
            issuer: "https://users.example".into(),
            subject: subject.into(),
            groups: vec![],
            claims: serde_json::Map::default(),
            service_account: None,
            ends: u64::MAX,
        })
    });
    Caller {
        workload: None,
        token,
        destination: at_gateway(),
        client: None,
        process: None,
        observed: false,
    }
}

#[tokio::test]
async fn where_no_line_may_be_lost_whoever_has_its_part_of_the_log_waits_by_its_token() {
    for (full, greedy) in [(None, 200), (Some("greedy"), 503)] {
        let world = World::new();
        let (attested, _server) = gateway(&world, Authentication::Token, None).await;
        let proxied = attested.unknown(at_gateway()).await;
        proxied.telemetry.set_audit(&AuditSettings {
            on_full: OnFull::Block,
            // The kernel's own full disk.
            sink: Some(AuditSink::File("/dev/full".into())),
            ..AuditSettings::default()
        });
        let fill = |subject: Option<&str>, lines: usize| {
            let who = Arc::new(caller(subject));
            for _ in 0..lines {
                proxied.telemetry.refused(Refusal {
                    time: std::time::SystemTime::now(),
                    reason: "test",
                    status: None,
                    path: Path::Gateway,
                    who: Who::Caller(Arc::clone(&who)),
                    decision_id: None,
                });
            }
        };
        fill(Some("somebody else"), FREE);
        fill(full, OWN);
        assert_eq!(list(&proxied, &world.user("greedy")).await.status, greedy, "{full:?}");
        assert_eq!(list(&proxied, &world.user("modest")).await.status, 200, "{full:?}");
    }
}
