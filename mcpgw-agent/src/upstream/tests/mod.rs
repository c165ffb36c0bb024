//! On real sockets, on loopback.

mod calls;
mod hosts;
mod http2;
mod http_sse;
mod tls;

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
};

use super::{Upstream, UpstreamBody, UpstreamError, Upstreams};
use crate::{
    mcp::seal::Owner,
    resources::{ObjectName, Server},
    shares::Payer,
};

fn name() -> ObjectName {
    ObjectName {
        namespace: "tools".into(),
        name: "calc".into(),
    }
}

fn server(addresses: &[SocketAddr]) -> Server {
    Server::at(name(), addresses.to_vec())
}

/// Only this server, in force.
fn with(server: Server) -> (Arc<Upstreams>, Arc<Upstream>) {
    let upstreams = Upstreams::new(Handle::current());
    upstreams.put_in_force(&[Arc::new(server)]);
    let upstream = upstreams.get(&name()).unwrap();
    (upstreams, upstream)
}

fn workload(name: &str) -> Payer {
    Payer::Workload(Owner::of(name))
}

/// Who calls, where that is no matter.
fn payer() -> Payer {
    workload("a")
}

fn post(body: &'static str) -> Request<Full<Bytes>> {
    Request::post("/mcp").body(Full::from(body)).unwrap()
}

async fn text(body: UpstreamBody) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Sends to the endpoint that is picked, and reads the whole answer.
async fn ask(upstream: &Upstream, request: Request<Full<Bytes>>) -> Result<String, UpstreamError> {
    let endpoint = upstream.pick(payer())?;
    Ok(text(upstream.send(&endpoint, payer(), request).await?.into_body()).await)
}

/// A server that the test plays itself, byte by byte.
struct Scripted {
    listener: TcpListener,
    address: SocketAddr,
}

impl Scripted {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }
}

/// Reads one request, whose body ends with `end`.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.ends_with(end) {
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "ended before {end:?}: {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    text
}

async fn answer(stream: &mut TcpStream, body: &str) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}
