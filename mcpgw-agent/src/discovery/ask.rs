//! One question to a server, and its answer; on somebody's behalf, and in either era.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::limits::{ANSWER_TIMEOUT, FETCH_TIMEOUT, MAX_ANSWER_BYTES};
use crate::{
    mcp::{
        Kind,
        headers::{MCP_METHOD, MCP_PROTOCOL_VERSION, MCP_SESSION_ID},
        media::is_events,
        message::Peek,
        sse::Parser,
        version::Revision,
    },
    shares::Payer,
    upstream::{Behalf, BodyError, Endpoint, Upstream, UpstreamBody, UpstreamError, end_session},
};

/// A way to speak with a server.
pub(super) enum Tongue {
    /// In a session.
    Legacy(Session),
    /// Without one.
    Modern,
}

/// A session at a server. Dropped, it is ended there.
pub(super) struct Session {
    pub(super) upstream: Arc<Upstream>,
    pub(super) behalf: Behalf,
    pub(super) endpoint: Endpoint,
    /// Its name; `None` where the server has no use for one.
    pub(super) id: Option<HeaderValue>,
    /// None before the server has chosen one.
    pub(super) revision: Option<HeaderValue>,
}

impl Session {
    fn identify(&self, headers: &mut HeaderMap) {
        if let Some(revision) = &self.revision {
            headers.insert(MCP_PROTOCOL_VERSION, revision.clone());
        }
        if let Some(id) = &self.id {
            headers.insert(MCP_SESSION_ID, id.clone());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.id.is_none() {
            return;
        }
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::DELETE;
        *request.uri_mut() = path(&self.upstream);
        self.identify(request.headers_mut());
        request.extensions_mut().insert(self.behalf.clone());
        end_session(&self.upstream, &self.endpoint, Payer::Agent, request);
    }
}

impl Tongue {
    pub(super) fn identify(&self, headers: &mut HeaderMap) {
        if let Self::Legacy(session) = self {
            session.identify(headers);
        }
    }

    pub(super) fn endpoint(&self, upstream: &Upstream) -> Option<Endpoint> {
        match self {
            Self::Legacy(session) => Some(session.endpoint.clone()),
            Self::Modern => upstream.pick(Payer::Agent).ok(),
        }
    }
}

/// Why a server's offers are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{}", .0.explain())]
    Upstream(#[from] UpstreamError),
    #[error("broke off its answer: {0}")]
    Broken(#[from] BodyError),
    #[error("did not answer {0} within {ANSWER_TIMEOUT:?}")]
    Timeout(&'static str),
    #[error("answered {method} with HTTP {status}")]
    Status { method: &'static str, status: StatusCode },
    #[error("answered {method} with an error: {message:?} ({code})")]
    Refused {
        method: &'static str,
        code: i64,
        message: String,
    },
    #[error("gave no valid answer to {0}")]
    Nonsense(&'static str),
    #[error("answered {0} with more than is kept")]
    TooLarge(&'static str),
    #[error("did not list all that it offers within {FETCH_TIMEOUT:?}")]
    TooLong,
    #[error("gave the same cursor twice in {0}")]
    CursorLoop(&'static str),
}

impl FetchError {
    /// Whether it is the answer to who asked, and not to what: nothing is offered to one that is turned away.
    pub(super) fn turns_away(&self) -> bool {
        let unauthorized = |status: StatusCode| matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        match self {
            Self::Status { status, .. } => unauthorized(*status),
            Self::Upstream(error) => matches!(error, UpstreamError::Credential(_)),
            _ => false,
        }
    }

    /// Whether the server did not say anything.
    pub(super) fn is_of_the_way(&self) -> bool {
        matches!(self, Self::Upstream(_) | Self::Broken(_))
    }
}

pub(super) fn ourselves() -> Value {
    json!({"name": "mcpgw", "version": env!("CARGO_PKG_VERSION")})
}

/// A request with an id of its own: several are under way in one session.
pub(super) fn request(method: &str, params: &Value) -> Request<Full<Bytes>> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    post(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

/// A request of the modern era.
pub(super) fn modern(method: &'static str, mut params: Value) -> Request<Full<Bytes>> {
    let version = Revision::MODERN.as_str();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientInfo": ourselves(),
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut request = request(method, &params);
    let headers = request.headers_mut();
    headers.insert(MCP_PROTOCOL_VERSION, HeaderValue::from_static(version));
    headers.insert(MCP_METHOD, HeaderValue::from_static(method));
    request
}

pub(super) fn post(body: Value) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body.to_string().into()));
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let accept = HeaderValue::from_static("application/json, text/event-stream");
    headers.insert(header::ACCEPT, accept);
    request
}

/// The path of the server's endpoint.
pub(super) fn path(upstream: &Upstream) -> Uri {
    // Validated with the resources.
    upstream.server().path.parse().unwrap_or_default()
}

pub(super) async fn send(
    upstream: &Upstream,
    behalf: &Behalf,
    endpoint: &Endpoint,
    method: &'static str,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<UpstreamBody>, FetchError> {
    *request.uri_mut() = path(upstream);
    request.extensions_mut().insert(behalf.clone());
    let sent = timeout(ANSWER_TIMEOUT, upstream.ask(endpoint, Payer::Agent, request)).await;
    Ok(sent.map_err(|_| FetchError::Timeout(method))??)
}

/// The result of an answer.
pub(super) async fn answer<T: for<'de> Deserialize<'de>>(
    response: Response<UpstreamBody>,
    method: &'static str,
) -> Result<T, FetchError> {
    #[derive(Deserialize)]
    struct Answer<T> {
        result: Option<T>,
        error: Option<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        code: i64,
        message: String,
    }
    let status = response.status();
    let read = timeout(ANSWER_TIMEOUT, message(response, method)).await;
    let message = read.map_err(|_| FetchError::Timeout(method))??;
    match message.and_then(|message| serde_json::from_slice(&message).ok()) {
        Some(Answer {
            result: Some(result), ..
        }) => Ok(result),
        Some(Answer { error: Some(error), .. }) => Err(FetchError::Refused {
            method,
            code: error.code,
            message: error.message.chars().take(200).collect(),
        }),
        _ if !status.is_success() => Err(FetchError::Status { method, status }),
        _ => Err(FetchError::Nonsense(method)),
    }
}

/// The message that answers.
async fn message(response: Response<UpstreamBody>, method: &'static str) -> Result<Option<Bytes>, FetchError> {
    let events = is_events(response.headers());
    let mut body = response.into_body();
    let (mut whole, mut read) = (BytesMut::new(), 0);
    let mut parser = Parser::new(MAX_ANSWER_BYTES, Payer::Agent);
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        read += chunk.len();
        if read > MAX_ANSWER_BYTES {
            return Err(FetchError::TooLarge(method));
        }
        if !events {
            whole.extend_from_slice(&chunk);
            continue;
        }
        parser.feed(&chunk);
        for event in parser.by_ref() {
            let Some(data) = event.map_err(|_| FetchError::TooLarge(method))?.data else {
                continue;
            };
            if Peek::new(&data).is_ok_and(|message| message.kind == Kind::Response) {
                return Ok(Some(data));
            }
        }
    }
    Ok((!events).then(|| whole.freeze()))
}
