//! The transport of 2024-11-05 on the redirected path: answers come on the session's one stream, denials too.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Answer, Proxied, call, desired, post, read_until, upstreams::Scripted};
use crate::resources::Transport;

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: endpoint\ndata: /messages?s=1\n\n";

/// An open stream of a client, and what it says to post to.
async fn open(proxied: &Proxied, scripted: &Scripted) -> (TcpStream, TcpStream, String) {
    let mut client = proxied.connect().await;
    let get = "GET /mcp HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n";
    client.write_all(get.as_bytes()).await.unwrap();
    let mut server = scripted.connection().await;
    read_until(&mut server, "\r\n\r\n").await;
    server.write_all(STREAM.as_bytes()).await.unwrap();
    let said = read_until(&mut client, "\n\n").await;
    let (_, target) = said.split_once("data: ").unwrap();
    (client, server, target.split('\n').next().unwrap().to_owned())
}

#[tokio::test]
async fn a_denial_is_said_on_the_stream_where_the_client_waits_for_it() {
    let (scripted, address) = Scripted::start().await;
    let mut desired = desired(address);
    Arc::make_mut(&mut desired.servers[0]).transport = Transport::Sse;
    let proxied = Proxied::start_with(desired, Some(address)).await;
    let (mut client, mut server, target) = open(&proxied, &scripted).await;
    let to = |tool: &str| post("", &call(tool)).replacen("/mcp", &target, 1);
    let posted = proxied.exchange(to("big")).await;
    assert!(posted.starts_with("HTTP/1.1 202"), "{posted}");
    let heard = read_until(&mut client, "\n\n").await;
    assert!(
        heard.contains("Unknown tool: big") && heard.contains(r#""id":"r1""#),
        "{heard}"
    );
    // What the server says goes on as before.
    server
        .write_all(b"data: {\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n\n")
        .await
        .unwrap();
    assert!(read_until(&mut client, "\"x\"}").await.contains("data: "));
    // With the stream gone there is only the POST to answer.
    drop((client, server));
    let gone = async {
        loop {
            let answer = proxied.exchange(to("big")).await;
            if !answer.starts_with("HTTP/1.1 202") {
                return Answer::of(&answer);
            }
        }
    };
    let answer = tokio::time::timeout(std::time::Duration::from_secs(20), gone)
        .await
        .unwrap();
    assert_eq!(answer.code(), Some(-32602), "{answer:?}");
    let mut nothing = [0; 1];
    let unasked = tokio::time::timeout(std::time::Duration::from_millis(50), async {
        scripted.connection().await.read(&mut nothing).await
    });
    assert!(unasked.await.is_err(), "nothing was posted to the server");
}
