//! Servers to call.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

/// A request as a server saw it.
pub(super) struct Seen {
    pub(super) head: http::request::Parts,
    pub(super) body: Bytes,
}

/// A server that answers at once, and remembers what it was asked.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    pub(super) connections: Arc<AtomicUsize>,
}

impl Upstream {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let upstream = Self {
            address,
            seen: Arc::clone(&seen),
            connections: Arc::clone(&connections),
        };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let seen = Arc::clone(&seen);
                let service = service_fn(move |request| answer(Arc::clone(&seen), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        upstream
    }

    pub(super) fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

async fn answer(seen: Arc<Mutex<Vec<Seen>>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let result = match asked["params"]["name"].as_str() {
        Some("failing") => serde_json::json!({"content": [], "isError": true}),
        _ => serde_json::json!({"content": []}),
    };
    let answer = match asked["params"]["name"].as_str() {
        Some("unknown") => serde_json::json!({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32602}}),
        _ => serde_json::json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}),
    };
    let mut response = Response::new(Full::new(answer.to_string().into()));
    response
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    if head.method == Method::DELETE {
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.body_mut() = Full::default();
    }
    seen.lock().unwrap().push(Seen { head, body });
    Ok(response)
}

/// A server that the test plays itself, byte by byte.
pub(super) struct Scripted(TcpListener);

impl Scripted {
    pub(super) async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Self(listener), address)
    }

    /// The next connection.
    pub(super) async fn connection(&self) -> TcpStream {
        self.0.accept().await.unwrap().0
    }

    /// The next connection, its request already read.
    pub(super) async fn asked(&self) -> TcpStream {
        let mut stream = self.connection().await;
        super::read_until(&mut stream, "}}}").await;
        stream
    }
}

/// An address where nobody listens.
pub(super) async fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
