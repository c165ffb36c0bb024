//! One session with a server of the HTTP+SSE transport: one stream, and what is posted to its server.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, uri::PathAndQuery};
use http_body_util::{BodyExt, Full, Limited};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    super::{
        Endpoint, Upstream, UpstreamBody, UpstreamError,
        credential::Behalf,
        limits::{HTTP_SSE_IDLE, MAX_HTTP_SSE_ANSWER},
    },
    calls::Calls,
    empty, extensions, streaming,
};
use crate::{
    mcp::{
        Kind,
        headers::{MCP_PROTOCOL_VERSION, MCP_SESSION_ID},
        message::Peek,
    },
    shares::{Payer, Share},
};

/// One stream, and who waits for something on it.
pub(super) struct Session {
    begun: Begun,
    used: Mutex<Instant>,
}

/// What a session is begun with.
pub(super) struct Begun {
    pub(super) id: Box<str>,
    pub(super) endpoint: Endpoint,
    /// Where messages are posted.
    pub(super) target: PathAndQuery,
    pub(super) calls: Arc<Calls>,
    /// The room that it takes, until it ends.
    pub(super) _share: Share,
    /// Reads its stream, until it ends.
    pub(super) _reader: AbortOnDropHandle<()>,
}

/// A message on its way to the server.
pub(super) struct Posted<'a> {
    pub(super) payer: Payer,
    pub(super) headers: HeaderMap,
    pub(super) behalf: Option<Behalf>,
    pub(super) body: &'a Bytes,
    pub(super) message: Peek<'a>,
}

impl Session {
    pub(super) fn new(begun: Begun) -> Self {
        Self {
            begun,
            used: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.begun.id
    }

    /// Whether its stream has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.begun.calls.have_ended()
    }

    /// Posts a message, and answers as a server of the Streamable HTTP transport would: with the stream of a call's answer.
    pub(super) async fn post(
        &self,
        upstream: &Upstream,
        posted: Posted<'_>,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        self.touch();
        let Posted {
            payer,
            mut headers,
            behalf,
            body,
            message,
        } = posted;
        let id = match message.kind {
            Kind::Request => message.id.as_ref().map(|id| Box::from(id.get())),
            Kind::Notification | Kind::Response => None,
        };
        let events = match &id {
            Some(id) => match self.begun.calls.wait(id, &message) {
                Some(events) => Some(events),
                None => return Ok(empty(StatusCode::NOT_FOUND)),
            },
            None => None,
        };
        let unasked = Unasked { session: self, id };
        for name in [MCP_SESSION_ID, MCP_PROTOCOL_VERSION] {
            headers.remove(name);
        }
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from(self.begun.target.clone());
        *request.headers_mut() = headers;
        request.extensions_mut().extend(extensions(behalf));
        let response = upstream.send(&self.begun.endpoint, payer, request).await?;
        if !response.status().is_success() {
            return Ok(response);
        }
        // Only that it was taken counts; read, so that its connection is good for another.
        let limit = upstream.server().timeouts.first_byte;
        let _ = timeout(limit, Limited::new(response.into_body(), MAX_HTTP_SSE_ANSWER).collect()).await;
        let Some(events) = events else {
            return Ok(empty(StatusCode::ACCEPTED));
        };
        unasked.was_asked();
        Ok(streaming(UpstreamBody::of_events(
            events,
            payer,
            upstream.server().timeouts,
        )))
    }

    /// The stream of what belongs to no call. There is one; who asks last has it.
    pub(super) fn listen(&self, upstream: &Upstream, payer: Payer) -> Response<UpstreamBody> {
        self.touch();
        let Some(events) = self.begun.calls.listen() else {
            return empty(StatusCode::NOT_FOUND);
        };
        let body = UpstreamBody::of_events(events, payer, upstream.server().timeouts);
        streaming(body.without_deadlines())
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether nobody uses it, and nobody has for long.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        now.duration_since(used) >= HTTP_SSE_IDLE && !self.begun.calls.has_any()
    }
}

/// A call that waits for an answer to what the server was not asked yet: dropped so, it waits no more.
struct Unasked<'a> {
    session: &'a Session,
    id: Option<Box<str>>,
}

impl Unasked<'_> {
    fn was_asked(mut self) {
        self.id = None;
    }
}

impl Drop for Unasked<'_> {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            self.session.begun.calls.forget(id);
        }
    }
}
