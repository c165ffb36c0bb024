//! Sessions of the HTTP+SSE transport: many calls, and one stream for all that is said.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::mpsc::{Receiver, Sender, channel},
};

use super::{
    super::limits::{HTTP_SSE_QUEUE, MAX_HTTP_SSE_SESSIONS_PER_OWNER},
    payer, server, text, with, workload,
};
use crate::resources::Transport;

/// A server that takes every message, and says on its one stream what the test says.
async fn serve() -> (SocketAddr, Sender<Bytes>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (says, said) = channel(64);
    let said = Arc::new(Mutex::new(Some(said)));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let said = Arc::clone(&said);
            let service = service_fn(move |request: Request<Incoming>| {
                let said = (request.method() == Method::GET).then(|| said.lock().unwrap().take().unwrap());
                async move {
                    let Some(said) = said else {
                        request.into_body().collect().await.unwrap();
                        let mut taken = Response::new(Empty::new().boxed_unsync());
                        *taken.status_mut() = StatusCode::ACCEPTED;
                        return Ok::<_, Infallible>(taken);
                    };
                    let frames = stream::unfold(said, |mut said: Receiver<Bytes>| async move {
                        Some((Ok(Frame::data(said.recv().await?)), said))
                    });
                    let mut stream = Response::new(StreamBody::new(frames).boxed_unsync());
                    let events = "text/event-stream".parse().unwrap();
                    stream.headers_mut().insert("content-type", events);
                    Ok(stream)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    says.send("event: endpoint\ndata: /messages\n\n".into()).await.unwrap();
    (address, says)
}

fn request(session: Option<&str>, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::post("/sse");
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    request.body(Full::from(body.to_owned())).unwrap()
}

fn call(id: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"_meta":{{"progressToken":{id}}}}}}}"#)
}

fn progress(id: u32) -> Bytes {
    format!(
        "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{id}}}}}\n\n"
    )
    .into()
}

fn answer(id: u32) -> Bytes {
    format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n\n").into()
}

/// A server that answers every message like this, on whose streams nothing is said.
async fn silent(status: StatusCode) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |request: Request<Incoming>| async move {
                if request.method() == Method::GET {
                    let endpoint = Ok(Frame::data(Bytes::from("event: endpoint\ndata: /messages\n\n")));
                    let frames = stream::iter([endpoint]).chain(stream::pending());
                    return Ok::<_, Infallible>(Response::new(StreamBody::new(frames).boxed_unsync()));
                }
                request.into_body().collect().await.unwrap();
                let mut taken = Response::new(Empty::new().boxed_unsync());
                *taken.status_mut() = status;
                Ok(taken)
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#;

#[tokio::test]
async fn a_caller_that_does_not_read_holds_up_no_other_and_its_own_call_only_where_too_much_is_said() {
    let (address, says) = serve().await;
    let mut server = server(&[address]);
    server.transport = Transport::Sse;
    let (_upstreams, upstream) = with(server);
    let endpoint = upstream.pick(payer()).unwrap();
    let opened = upstream
        .ask(&endpoint, payer(), request(None, INITIALIZE))
        .await
        .unwrap();
    let session = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    says.send(answer(0)).await.unwrap();
    assert!(text(opened.into_body()).await.contains(r#""id":0"#));
    for (said, given_up) in [(HTTP_SSE_QUEUE, false), (HTTP_SSE_QUEUE + 4, true)] {
        let slow = upstream
            .ask(&endpoint, payer(), request(Some(&session), &call(1)))
            .await
            .unwrap();
        let quick = upstream
            .ask(&endpoint, payer(), request(Some(&session), &call(2)))
            .await
            .unwrap();
        for _ in 0..said {
            says.send(progress(1)).await.unwrap();
        }
        says.send(answer(1)).await.unwrap();
        says.send(answer(2)).await.unwrap();
        // Much sooner than the server may be silent.
        let quick = tokio::time::timeout(Duration::from_secs(20), text(quick.into_body()));
        assert!(quick.await.unwrap().contains(r#""id":2,"result""#));
        let slow = text(slow.into_body()).await;
        assert_eq!(slow.matches("notifications/progress").count(), HTTP_SSE_QUEUE);
        assert_eq!(slow.contains("50400"), given_up, "{slow}");
        assert_eq!(slow.contains(r#""id":1,"result""#), !given_up, "{slow}");
        assert_eq!(slow.matches(r#""id":1"#).count(), 1, "it ends once");
    }
}

#[tokio::test]
async fn a_workload_has_its_share_of_a_servers_sessions_and_leaves_the_rest_to_others() {
    let mut server = server(&[silent(StatusCode::ACCEPTED).await]);
    server.transport = Transport::Sse;
    let (_upstreams, upstream) = with(server);
    let endpoint = upstream.pick(payer()).unwrap();
    let open = async |name: &str| {
        let answer = upstream.ask(&endpoint, workload(name), request(None, INITIALIZE));
        Some(
            answer.await.ok()?.headers()["mcp-session-id"]
                .to_str()
                .unwrap()
                .to_owned(),
        )
    };
    let mut sessions = Vec::new();
    for _ in 0..MAX_HTTP_SSE_SESSIONS_PER_OWNER {
        sessions.push(open("one").await.unwrap());
    }
    assert_eq!(open("one").await, None);
    assert!(open("another").await.is_some());
    let mut end = request(sessions.pop().as_deref(), "");
    *end.method_mut() = Method::DELETE;
    upstream.ask(&endpoint, workload("one"), end).await.unwrap();
    assert!(open("one").await.is_some(), "one that ended makes room for another");
}

#[tokio::test]
async fn a_session_that_its_server_refuses_takes_no_room() {
    let mut server = server(&[silent(StatusCode::FORBIDDEN).await]);
    server.transport = Transport::Sse;
    let (_upstreams, upstream) = with(server);
    let endpoint = upstream.pick(payer()).unwrap();
    for _ in 0..=MAX_HTTP_SSE_SESSIONS_PER_OWNER {
        let answer = upstream.ask(&endpoint, workload("one"), request(None, INITIALIZE));
        assert_eq!(answer.await.unwrap().status(), StatusCode::FORBIDDEN);
    }
}
