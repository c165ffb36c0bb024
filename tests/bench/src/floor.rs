//! The floor: what any proxy that looks at the JSON must do, and no more.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::Result;
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use serde::de::IgnoredAny;
use tokio::net::TcpListener;

type Pool = Client<HttpConnector, Full<Bytes>>;

/// Forwards for ever.
pub async fn serve(port: u16, to: SocketAddr) -> Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pool: Pool = Client::builder(TokioExecutor::new()).build(connector);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let pool = pool.clone();
        let service = service_fn(move |request| forward(pool.clone(), to, request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn forward(
    pool: Pool,
    to: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Either<Incoming, Full<Bytes>>>, Infallible> {
    let failed = |status| {
        let mut response = Response::new(Either::Right(Full::default()));
        *response.status_mut() = status;
        Ok(response)
    };
    let (mut head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return failed(StatusCode::BAD_REQUEST);
    };
    let body = body.to_bytes();
    if serde_json::from_slice::<IgnoredAny>(&body).is_err() {
        return failed(StatusCode::BAD_REQUEST);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let Ok(uri) = format!("http://{to}{path}").parse::<Uri>() else {
        return failed(StatusCode::BAD_REQUEST);
    };
    head.uri = uri;
    match pool.request(Request::from_parts(head, Full::new(body))).await {
        Ok(response) => Ok(response.map(Either::Left)),
        Err(_) => failed(StatusCode::BAD_GATEWAY),
    }
}
