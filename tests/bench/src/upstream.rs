//! A lean MCP server.

use std::{convert::Infallible, net::Ipv4Addr, sync::Arc};

use anyhow::Result;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    method: Option<&'a str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// Serves for ever.
pub async fn serve(port: u16, tools: usize, streams: bool) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    let tools: Arc<str> = list(tools).into();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let tools = Arc::clone(&tools);
        let service = service_fn(move |request| answer(Arc::clone(&tools), streams, request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn list(count: usize) -> String {
    let tool = |n: usize| {
        format!(
            r#"{{"name":"tool_{n:03}","description":"Does what tool number {n} does, as well as it can be done.","inputSchema":{{"type":"object","properties":{{"text":{{"type":"string","description":"What to do it with"}}}},"required":["text"]}}}}"#
        )
    };
    (0..count).map(tool).collect::<Vec<_>>().join(",")
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(tools: Arc<str>, streams: bool, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let status = |status| {
        let mut response = Response::new(Full::default().boxed());
        *response.status_mut() = status;
        Ok(response)
    };
    if request.method() != Method::POST {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Ok(body) = request.into_body().collect().await else {
        return status(StatusCode::BAD_REQUEST);
    };
    let body = body.to_bytes();
    let Ok(Asked { method, id }) = serde_json::from_slice(&body) else {
        return status(StatusCode::BAD_REQUEST);
    };
    let (Some(method), Some(id)) = (method, id) else {
        return status(StatusCode::ACCEPTED);
    };
    let result = match method {
        "initialize" => r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}"#.to_owned(),
        "server/discover" => r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":60000,"cacheScope":"public"}"#.to_owned(),
        "tools/list" => format!(r#"{{"resultType":"complete","ttlMs":60000,"cacheScope":"public","tools":[{tools}]}}"#),
        _ => r#"{"resultType":"complete","content":[{"type":"text","text":"done"}],"isError":false}"#.to_owned(),
    };
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    if streams && method == "tools/call" {
        return Ok(events(answer));
    }
    let response = Response::builder().header("content-type", "application/json");
    let response = match method {
        "initialize" => response.header("mcp-session-id", "bench"),
        _ => response,
    };
    Ok(response.body(Full::new(answer.into()).boxed()).unwrap_or_default())
}

/// Three events of progress and the answer, each a chunk.
fn events(answer: String) -> Response<Body> {
    let progress = (1..=3).map(|done| {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{done},"total":3}}}}"#)
    });
    let frames = progress
        .chain([answer])
        .map(|message| Ok(Frame::data(format!("event: message\ndata: {message}\n\n").into())));
    let body = StreamBody::new(stream::iter(frames.collect::<Vec<_>>())).boxed();
    let response = Response::builder().header("content-type", "text/event-stream");
    response.body(body).unwrap_or_default()
}
