//! Servers of the HTTP+SSE transport (revision 2024-11-05), spoken to as if they had the Streamable HTTP transport.
//!
//! Such a server says everything on one stream, which tells first where to post to. Here each stream is a session
//! with an id of ours; the answer to a call, and what belongs to it, is cut out of the stream and becomes the event
//! stream that answers the call's POST.
//!
//! ```text
//! session  one stream, and what is posted to its server
//! reader   reads the stream
//! calls    who waits for something on it
//! ```

mod calls;
mod reader;
mod session;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use aws_lc_rs::rand;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Endpoint, Upstream, UpstreamBody, UpstreamError,
    credential::Behalf,
    limits::{MAX_HTTP_SSE_SESSIONS, MAX_HTTP_SSE_SESSIONS_PER_OWNER},
};
use crate::{
    mcp::{headers::MCP_SESSION_ID, message::Peek},
    shares::{Payer, Shares},
};
use calls::Calls;
use reader::Reader;
use session::{Begun, Posted, Session};

/// The open sessions of one server.
pub(super) struct Sessions {
    open: Mutex<HashMap<Box<str>, Arc<Session>>>,
    shares: Shares,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            shares: Shares::new(MAX_HTTP_SSE_SESSIONS, MAX_HTTP_SSE_SESSIONS_PER_OWNER),
        }
    }
}

impl Sessions {
    /// Answers a request of the Streamable HTTP transport.
    pub(super) async fn serve(
        self: &Arc<Self>,
        upstream: &Upstream,
        endpoint: &Endpoint,
        payer: Payer,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let session = request
            .headers()
            .get(MCP_SESSION_ID)
            .map(|id| id.to_str().unwrap_or_default());
        let session = session.map(|id| self.lock().get(id).cloned());
        match (request.method(), session) {
            (_, Some(None)) => Ok(empty(StatusCode::NOT_FOUND)),
            (&Method::POST, session) => {
                let (head, body) = request.into_parts();
                // It was whole all along.
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let Ok(message) = Peek::new(&body) else {
                    return Ok(empty(StatusCode::BAD_REQUEST));
                };
                let posted = Posted {
                    payer,
                    headers: head.headers,
                    behalf: head.extensions.get().cloned(),
                    body: &body,
                    message,
                };
                match session.flatten() {
                    Some(session) => session.post(upstream, posted).await,
                    None if posted.message.method.as_deref() == Some("initialize") => {
                        let session = self.open(upstream, endpoint, payer, posted.behalf.clone()).await?;
                        let mut answer = session.post(upstream, posted).await?;
                        if !answer.status().is_success() {
                            return Ok(answer);
                        }
                        let id = HeaderValue::from_str(session.id()).map_err(http::Error::from)?;
                        answer.headers_mut().insert(MCP_SESSION_ID, id);
                        self.keep(session);
                        Ok(answer)
                    }
                    // Without a session this transport knows nothing.
                    None => Ok(empty(StatusCode::BAD_REQUEST)),
                }
            }
            (&Method::GET, Some(Some(session))) => Ok(session.listen(upstream, payer)),
            (&Method::DELETE, Some(Some(session))) => {
                self.lock().remove(session.id());
                Ok(empty(StatusCode::OK))
            }
            _ => Ok(empty(StatusCode::METHOD_NOT_ALLOWED)),
        }
    }

    /// Opens a session, which ends when it is dropped.
    async fn open(
        self: &Arc<Self>,
        upstream: &Upstream,
        endpoint: &Endpoint,
        payer: Payer,
        behalf: Option<Behalf>,
    ) -> Result<Arc<Session>, UpstreamError> {
        let share = self.shares.take(payer)?;
        let mut request = Request::new(Full::default());
        *request.uri_mut() = upstream.server().path.parse().unwrap_or_default();
        let accept = HeaderValue::from_static("text/event-stream");
        request.headers_mut().insert(header::ACCEPT, accept);
        request.extensions_mut().extend(extensions(behalf));
        let response = upstream.send(endpoint, payer, request).await?;
        if !response.status().is_success() {
            return Err(UpstreamError::NoStream(response.status()));
        }
        let id = random_id()?;
        let calls = Arc::new(Calls::default());
        let (named, target) = oneshot::channel();
        let reader = Reader::new(named, Arc::clone(&calls), payer);
        let body = response.into_body().without_deadlines();
        let (sessions, ended) = (Arc::downgrade(self), id.clone());
        let reader = tokio::spawn(async move {
            reader.read(body).await;
            forget(&sessions, &ended);
        });
        let reader = AbortOnDropHandle::new(reader);
        let limit = upstream.server().timeouts.first_byte;
        let target = timeout(limit, target).await;
        let target = target.map_err(|_| UpstreamError::FirstByteTimeout(limit))?;
        Ok(Arc::new(Session::new(Begun {
            id,
            endpoint: endpoint.clone(),
            target: target.map_err(|_| UpstreamError::NoEndpoint)?,
            calls,
            _share: share,
            _reader: reader,
        })))
    }

    /// Keeps a session that its caller knows.
    fn keep(&self, session: Arc<Session>) {
        self.lock().insert(session.id().into(), Arc::clone(&session));
        // It may have ended before it was there to be forgotten.
        if session.has_ended() {
            self.lock().remove(session.id());
        }
    }

    /// Ends the sessions that nobody used for long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.lock().retain(|_, session| !session.is_idle(now));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(sessions: &Weak<Sessions>, id: &str) {
    if let Some(sessions) = sessions.upgrade() {
        sessions.lock().remove(id);
    }
}

fn extensions(behalf: Option<Behalf>) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    if let Some(behalf) = behalf {
        extensions.insert(behalf);
    }
    extensions
}

fn random_id() -> Result<Box<str>, UpstreamError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| UpstreamError::NoRandomness)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)).into())
}

fn empty(status: StatusCode) -> Response<UpstreamBody> {
    let mut response = Response::new(UpstreamBody::empty());
    *response.status_mut() = status;
    response
}

fn streaming(body: UpstreamBody) -> Response<UpstreamBody> {
    const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
    let name: HeaderName = header::CONTENT_TYPE;
    let mut response = Response::new(body);
    response.headers_mut().insert(name, EVENTS);
    response
}
