//! Servers of the HTTP+SSE transport (revision 2024-11-05), spoken to as if they had the Streamable HTTP transport.
//!
//! Such a server says everything on one stream, which tells first where to post to. Here each stream is a session
//! with an id of ours; the answer to a call, and what belongs to it, is cut out of the stream and becomes the event
//! stream that answers the call's POST.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use aws_lc_rs::rand;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Full, Limited};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Endpoint, Upstream, UpstreamBody, UpstreamError,
    credential::Behalf,
    limits::{
        HTTP_SSE_IDLE, HTTP_SSE_QUEUE, MAX_HTTP_SSE_ANSWER, MAX_HTTP_SSE_EVENT, MAX_HTTP_SSE_SESSIONS,
        MAX_HTTP_SSE_SESSIONS_PER_OWNER,
    },
};
use crate::{
    mcp::{
        Kind,
        headers::{MCP_PROTOCOL_VERSION, MCP_SESSION_ID},
        held::Held,
        message::Peek,
        sse::{self, Event, Line, Parser},
    },
    shares::{Payer, Share, Shares},
};

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

/// One stream, and who waits for something on it.
struct Session {
    id: Box<str>,
    endpoint: Endpoint,
    /// Where messages are posted.
    target: PathAndQuery,
    calls: Arc<Mutex<Calls>>,
    used: Mutex<Instant>,
    _share: Share,
    _reader: AbortOnDropHandle<()>,
}

/// Who waits for something.
#[derive(Default)]
struct Calls {
    /// By the id of the request, as JSON.
    waiting: HashMap<Box<str>, Waiting>,
    /// Who hears what belongs to no call.
    listener: Option<mpsc::Sender<Bytes>>,
    ended: bool,
}

struct Waiting {
    events: mpsc::Sender<Bytes>,
    /// The token of its progress, as JSON.
    progress: Option<Box<str>>,
}

impl Calls {
    /// Forgets calls that were taken back.
    fn forget_the_gone(&mut self) {
        self.waiting.retain(|_, waiting| !waiting.events.is_closed());
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
                        let id = HeaderValue::from_str(&session.id).map_err(http::Error::from)?;
                        answer.headers_mut().insert(MCP_SESSION_ID, id);
                        Ok(answer)
                    }
                    // Without a session this transport knows nothing.
                    None => Ok(empty(StatusCode::BAD_REQUEST)),
                }
            }
            (&Method::GET, Some(Some(session))) => Ok(session.listen(upstream)),
            (&Method::DELETE, Some(Some(session))) => {
                self.lock().remove(&session.id);
                Ok(empty(StatusCode::OK))
            }
            _ => Ok(empty(StatusCode::METHOD_NOT_ALLOWED)),
        }
    }

    async fn open(
        self: &Arc<Self>,
        upstream: &Upstream,
        endpoint: &Endpoint,
        payer: Payer,
        behalf: Option<Behalf>,
    ) -> Result<Arc<Session>, UpstreamError> {
        let share = self.shares.take(payer).ok_or(UpstreamError::ShareTaken)?;
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
        let calls = Arc::new(Mutex::new(Calls::default()));
        let (named, target) = oneshot::channel();
        let reader = Reader {
            parser: Parser::new(MAX_HTTP_SSE_EVENT),
            named: Some(named),
            calls: Ended(Arc::clone(&calls)),
            patience: upstream.server().timeouts.idle,
        };
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
        let session = Arc::new(Session {
            id,
            endpoint: endpoint.clone(),
            target: target.map_err(|_| UpstreamError::NoEndpoint)?,
            calls,
            used: Mutex::new(Instant::now()),
            _share: share,
            _reader: reader,
        });
        self.lock().insert(session.id.clone(), Arc::clone(&session));
        // It may have ended before it was there to be forgotten.
        if lock(&session.calls).ended {
            self.lock().remove(&session.id);
        }
        Ok(session)
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

/// A message on its way to the server.
struct Posted<'a> {
    payer: Payer,
    headers: HeaderMap,
    behalf: Option<Behalf>,
    body: &'a Bytes,
    message: Peek<'a>,
}

impl Session {
    async fn post(&self, upstream: &Upstream, posted: Posted<'_>) -> Result<Response<UpstreamBody>, UpstreamError> {
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
            Some(id) => match self.wait(id, &message) {
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
        *request.uri_mut() = Uri::from(self.target.clone());
        *request.headers_mut() = headers;
        request.extensions_mut().extend(extensions(behalf));
        let response = upstream.send(&self.endpoint, payer, request).await?;
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
        Ok(streaming(UpstreamBody::of_events(events, upstream.server().timeouts)))
    }

    /// Waits for the answer to a request; `None` if the stream has ended.
    fn wait(&self, id: &str, message: &Peek<'_>) -> Option<mpsc::Receiver<Bytes>> {
        let progress = message.params().ok().and_then(|params| params.wanted_progress);
        let (events, receiver) = mpsc::channel(HTTP_SSE_QUEUE);
        let mut calls = lock(&self.calls);
        if calls.ended {
            return None;
        }
        let waiting = Waiting {
            events,
            progress: progress.map(|token| token.get().into()),
        };
        calls.forget_the_gone();
        calls.waiting.insert(id.into(), waiting);
        Some(receiver)
    }

    /// The stream of what belongs to no call. There is one; who asks last has it.
    fn listen(&self, upstream: &Upstream) -> Response<UpstreamBody> {
        self.touch();
        let (events, receiver) = mpsc::channel(HTTP_SSE_QUEUE);
        let mut calls = lock(&self.calls);
        if calls.ended {
            return empty(StatusCode::NOT_FOUND);
        }
        calls.listener = Some(events);
        let body = UpstreamBody::of_events(receiver, upstream.server().timeouts);
        streaming(body.without_deadlines())
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether nobody uses it, and nobody has for long.
    fn is_idle(&self, now: Instant) -> bool {
        let mut calls = lock(&self.calls);
        calls.forget_the_gone();
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let listens = calls.listener.as_ref().is_some_and(|listener| !listener.is_closed());
        calls.waiting.is_empty() && !listens && now.duration_since(used) >= HTTP_SSE_IDLE
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
            lock(&self.session.calls).waiting.remove(id);
        }
    }
}

/// Reads the stream.
struct Reader {
    parser: Parser,
    /// Where it says first what it is posted to.
    named: Option<oneshot::Sender<PathAndQuery>>,
    calls: Ended,
    /// How long a client may leave an event lying about.
    patience: Duration,
}

/// Whoever waits is let go when the stream ends.
struct Ended(Arc<Mutex<Calls>>);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut calls = lock(&self.0);
        *calls = Calls {
            ended: true,
            ..Calls::default()
        };
    }
}

impl Reader {
    async fn read(mut self, mut body: UpstreamBody) {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(chunk) = frame.into_data() else { continue };
            self.parser.feed(&chunk);
            while let Some(event) = self.parser.next() {
                let Ok(event) = event else { return };
                if self.event(&event).await.is_none() {
                    return;
                }
            }
        }
    }

    /// `None` if the stream is none.
    async fn event(&mut self, event: &Event) -> Option<()> {
        let Some(data) = &event.data else { return Some(()) };
        if event.kind == Some(Line::ENDPOINT) {
            let uri: Uri = std::str::from_utf8(data).ok()?.trim().parse().ok()?;
            // Scheme and host are no matter: messages go to the address that the stream comes from.
            let target = uri.path_and_query()?.clone();
            return self.named.take()?.send(target).ok();
        }
        let message = Peek::new(data).ok()?;
        let receiver = self.receiver(&message);
        let Some(event) = Held::counted(sse::event(data, None, None)) else {
            // Who waited for it waits no more.
            tracing::debug!("a server said more than there is room for");
            return Some(());
        };
        match receiver {
            Some(To::Call(events)) => drop(events.send_timeout(event, self.patience).await),
            // Calls are not held up by one who only listens.
            Some(To::Listener(events)) => drop(events.try_send(event)),
            None => tracing::debug!("a server said something that nobody waits for"),
        }
        Some(())
    }

    fn receiver(&self, message: &Peek<'_>) -> Option<To> {
        let mut calls = lock(&self.calls.0);
        if message.kind == Kind::Response {
            let id = message.id.as_ref()?.get();
            return calls.waiting.remove(id).map(|waiting| To::Call(waiting.events));
        }
        let token = message.params().ok().and_then(|params| params.progress_token);
        if let Some(token) = token {
            let told = |waiting: &&Waiting| waiting.progress.as_deref() == Some(token.get());
            return calls
                .waiting
                .values()
                .find(told)
                .map(|waiting| To::Call(waiting.events.clone()));
        }
        let method = message.method.as_deref().unwrap_or_default();
        if (method == "notifications/resources/updated" || method.ends_with("/list_changed"))
            && let Some(listener) = &calls.listener
        {
            return Some(To::Listener(listener.clone()));
        }
        // With one call in flight, what else is said belongs to it.
        let mut waiting = calls.waiting.values();
        match (waiting.next(), waiting.next(), &calls.listener) {
            (Some(only), None, _) | (Some(only), _, None) => Some(To::Call(only.events.clone())),
            (_, _, listener) => listener.clone().map(To::Listener),
        }
    }
}

/// Who is to have a message.
enum To {
    Call(mpsc::Sender<Bytes>),
    Listener(mpsc::Sender<Bytes>),
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
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
