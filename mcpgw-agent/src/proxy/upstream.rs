//! Keep-alive pools to the servers, one for each concrete endpoint.

use std::{error::Error, io, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header, request::Parts, uri::Scheme};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;

use super::{
    hop,
    limits::{
        CONNECT_TIMEOUT, FIRST_BYTE_TIMEOUT, POOL_IDLE_TIMEOUT, POOL_MAX_IDLE_PER_ENDPOINT, UPSTREAM_READ_BUFFER,
    },
};

/// The pools.
pub(super) struct Upstream {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    /// No connection.
    #[error("cannot be reached: {0}")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    /// No connection in time.
    #[error("cannot be reached within {} s", CONNECT_TIMEOUT.as_secs())]
    ConnectTimeout,
    /// The connection ended before an answer.
    #[error("closed the connection before it answered: {0}")]
    Closed(#[source] hyper_util::client::legacy::Error),
    /// No head of an answer in time.
    #[error("did not answer within {} s", FIRST_BYTE_TIMEOUT.as_secs())]
    FirstByteTimeout,
    /// It answered 101 to a request that did not ask for it.
    #[error("switched protocols unasked")]
    Switched,
    /// Its address makes no URI.
    #[error("cannot be addressed: {0}")]
    Address(#[from] http::uri::InvalidUriParts),
}

impl UpstreamError {
    /// The HTTP status for the client, and the word for metrics and the audit log.
    pub(super) fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unreachable(_) | Self::Address(_) => (StatusCode::BAD_GATEWAY, "upstream_unreachable"),
            Self::Closed(_) | Self::Switched => (StatusCode::BAD_GATEWAY, "upstream_closed"),
            Self::ConnectTimeout | Self::FirstByteTimeout => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"),
        }
    }

    /// The text for the client: what happened, and the innermost cause.
    pub(super) fn explain(&self) -> String {
        match self {
            Self::Unreachable(error) => format!("cannot be reached: {}", innermost(error)),
            Self::Closed(error) => format!("closed the connection before it answered: {}", innermost(error)),
            other => other.to_string(),
        }
    }
}

impl Upstream {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_MAX_IDLE_PER_ENDPOINT)
            .http1_max_buf_size(UPSTREAM_READ_BUFFER)
            .build(connector);
        Self { client }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, UpstreamError> {
        let answer = timeout(FIRST_BYTE_TIMEOUT, self.client.request(request)).await;
        let mut response = answer.map_err(|_| UpstreamError::FirstByteTimeout)?.map_err(classify)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(UpstreamError::Switched);
        }
        *response.version_mut() = Version::HTTP_11;
        hop::strip(response.headers_mut());
        Ok(response)
    }
}

/// The request for a server, from the caller's: to the endpoint that the caller dialled, with the caller's
/// own headers, `Host` included.
pub(super) fn request(
    endpoint: SocketAddr,
    mut head: Parts,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, UpstreamError> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    // Without the scope of an IPv6 address, which no URI can hold.
    uri.authority = SocketAddr::new(endpoint.ip(), endpoint.port()).to_string().parse().ok();
    uri.path_and_query = head.uri.into_parts().path_and_query;
    head.uri = Uri::from_parts(uri)?;
    hop::strip(&mut head.headers);
    // The body is whole: its length is known, and nothing waits for a go-ahead.
    for name in [header::CONTENT_LENGTH, header::EXPECT, header::TRAILER] {
        head.headers.remove(name);
    }
    if head.headers.contains_key(header::ACCEPT_ENCODING) {
        // An encoded answer could not be told from another.
        head.headers
            .insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    Ok(Request::from_parts(head, Full::new(body)))
}

fn classify(error: hyper_util::client::legacy::Error) -> UpstreamError {
    if !error.is_connect() {
        return UpstreamError::Closed(error);
    }
    let timed_out = innermost(&error)
        .downcast_ref::<io::Error>()
        .is_some_and(|io| io.kind() == io::ErrorKind::TimedOut);
    if timed_out {
        UpstreamError::ConnectTimeout
    } else {
        UpstreamError::Unreachable(error)
    }
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_to_the_dialled_endpoint_with_the_callers_host() {
        let head = Request::post("http://elsewhere/mcp?x=1")
            .header("host", "calc.tools.svc")
            .header("connection", "x-mine")
            .header("x-mine", "1")
            .header("content-length", "7")
            .header("accept-encoding", "gzip")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let request = request("[fd00::1]:8080".parse().unwrap(), head, Bytes::new()).unwrap();
        assert_eq!(request.uri(), "http://[fd00::1]:8080/mcp?x=1");
        assert_eq!(request.headers()["host"], "calc.tools.svc");
        assert_eq!(request.headers()["accept-encoding"], "identity");
        assert_eq!(request.headers().len(), 2);
    }
}
