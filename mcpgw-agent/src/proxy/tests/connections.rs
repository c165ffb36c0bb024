//! Connections: their first bytes, their end, and who may have them.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Proxied, call, desired, post, post_and_stay,
    upstreams::{Scripted, Upstream, dead},
};

#[tokio::test]
async fn what_is_no_http_is_closed_cleanly_counted_and_audited_and_others_go_on() {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    let mut other = proxied.connect().await;
    other.write_all(&post("", &call("add")).as_bytes()[..20]).await.unwrap();
    let hello = [&b"\x16\x03\x01\x02\x00\x01"[..], &[7; 600]].concat();
    for bytes in [&hello[..], b"SSH-2.0-x\r\n", b"\x00\x01\x02"] {
        // A reset would be an error here.
        assert_eq!(proxied.exchange(bytes).await, "");
    }
    other.write_all(&post("", &call("add")).as_bytes()[20..]).await.unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut reasons: Vec<String> = proxied
        .finish()
        .await
        .iter()
        .map(|line| line["reason"].to_string())
        .collect();
    reasons.sort();
    assert_eq!(reasons, ["\"not_http\"", "\"not_http\"", "\"tls\"", "null"]);
}

#[tokio::test]
async fn a_connection_without_an_original_destination_is_closed_and_counted() {
    let proxied = Proxied::start_with(desired(dead().await), None).await;
    let mut client = proxied.connect().await;
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(
        proxied
            .telemetry
            .render()
            .contains("mcpgw_original_dst_missing_total 1")
    );
    let lines = proxied.finish().await;
    assert_eq!(
        (&lines[0]["reason"], &lines[0]["identity"]["workload"]),
        (&"no_entry".into(), &"pod-1".into())
    );
}

#[tokio::test]
async fn ending_the_service_refuses_at_once_and_ends_open_connections() {
    let (server, address) = Scripted::start().await;
    let mut proxied = Proxied::start(address).await;
    let mut client = proxied.connect().await;
    client.write_all(post_and_stay(&call("add")).as_bytes()).await.unwrap();
    let mut stream = server.asked().await;
    proxied.stop.take();
    // Nothing has run since: the listener is shut by the drop itself.
    let refused = std::net::TcpStream::connect(proxied.address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!(proxied.finish().await[0]["outcome"], "cancelled");
}

#[tokio::test]
async fn draining_lets_a_call_in_flight_end_and_takes_no_other() {
    let (server, address) = Scripted::start().await;
    let proxied = Proxied::start(address).await;
    let (mut idle, mut client) = (proxied.connect().await, proxied.connect().await);
    client.write_all(post_and_stay(&call("add")).as_bytes()).await.unwrap();
    let mut stream = server.asked().await;
    proxied.draining.cancel();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    let body = r#"{"jsonrpc":"2.0","id":"r1","result":{"content":[]}}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with(body), "{answer}");
    let refused = std::net::TcpStream::connect(proxied.address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(proxied.finish().await[0]["outcome"], "ok");
}

#[tokio::test(start_paused = true)]
async fn a_silent_or_slow_client_is_let_go() {
    let proxied = Proxied::start(dead().await).await;
    for bytes in ["", "POST /mcp HTTP/1.1\r\nHost: a\r\n"] {
        let mut client: TcpStream = proxied.connect().await;
        client.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "");
    }
    let lines = proxied.finish().await;
    assert!(
        lines.len() == 2 && lines.iter().all(|line| line["reason"] == "header_timeout"),
        "{lines:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_a_408() {
    let proxied = Proxied::start(dead().await).await;
    let request = post("", &call("add"));
    let answer = super::Answer::of(&proxied.exchange(&request[..request.len() - 1]).await);
    assert_eq!((answer.status, answer.code()), (408, Some(40800)));
    assert_eq!(proxied.finish().await[0]["reason"], "body_timeout");
}
