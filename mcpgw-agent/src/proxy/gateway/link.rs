//! A session at a legacy server, opened on behalf of one session at the gateway.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use serde_json::{json, value::RawValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    aside::Aside,
    collect::{Answering, CollectError, Said},
    limits::MAX_DECLINED_AT_A_TIME,
};
use crate::{
    mcp::{
        headers::{self, MCP_PROTOCOL_VERSION, MCP_SESSION_ID},
        level::Level,
        version::Revision,
    },
    resources::ObjectName,
    shares::Payer,
    upstream::{Behalf, Endpoint, Upstream, UpstreamBody, UpstreamError, end_session},
};

/// What servers are told that a client is and can do.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The revision that the client asked for.
    pub(super) revision: Revision,
    /// `clientInfo`, as the client wrote it.
    pub(super) client_info: Box<RawValue>,
    /// `capabilities`, as the client wrote them.
    pub(super) capabilities: Box<RawValue>,
}

impl Facts {
    /// What a client said of itself, as far as that was kept.
    pub(super) fn of(
        revision: Option<Revision>,
        client_info: Option<&RawValue>,
        capabilities: Option<&RawValue>,
    ) -> Self {
        let ours = Self::of_the_gateway();
        Self {
            revision: revision.unwrap_or(ours.revision),
            client_info: client_info.map_or(ours.client_info, ToOwned::to_owned),
            capabilities: capabilities.map_or(ours.capabilities, ToOwned::to_owned),
        }
    }

    /// For a session that several callers of one principal share: the gateway's own name, and nothing that a
    /// server could ask a client for.
    pub(super) fn of_the_gateway() -> Self {
        let raw = |value| serde_json::value::to_raw_value(&value).unwrap_or_default();
        Self {
            revision: Revision::LATEST_LEGACY,
            client_info: raw(json!({"name": "mcpgw", "version": env!("CARGO_PKG_VERSION")})),
            capabilities: raw(json!({})),
        }
    }
}

/// On whose behalf a session speaks: with the token that its client showed last. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Voice(Arc<ArcSwapOption<Behalf>>);

impl Voice {
    /// From now on with this token.
    pub(super) fn lend(&self, behalf: Behalf) {
        self.0.store(Some(Arc::new(behalf)));
    }

    pub(super) fn behalf(&self) -> Option<Behalf> {
        self.0.load().as_deref().cloned()
    }
}

/// An open session at a server.
pub(super) struct Link {
    upstream: Arc<Upstream>,
    payer: Payer,
    voice: Voice,
    endpoint: Endpoint,
    id: Option<HeaderValue>,
    /// None before the server has chosen one.
    revision: OnceLock<HeaderValue>,
    next_id: AtomicU64,
    /// The lowest level that somebody who shares the session wanted to hear of.
    logs_from: tokio::sync::Mutex<Option<Level>>,
    /// For telling the server that nobody can be asked.
    declining: Arc<Semaphore>,
    /// Another has taken its place, or will.
    replaced: CancellationToken,
    /// It is ended at the server, or lost there.
    is_over: AtomicBool,
}

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// It could not be reached.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Its answer is none.
    #[error(transparent)]
    Answer(#[from] CollectError),
    /// It did not open a session in time.
    #[error("did not open a session within {} s", super::limits::OPEN_TIMEOUT.as_secs())]
    Timeout,
    /// It did not open a session.
    #[error("did not open a session: {0}")]
    Refused(String),
}

impl Link {
    /// Opens a session: `initialize`, then `notifications/initialized`. From the moment on that the server has named it,
    /// it is ended there if this fails, or is given up.
    pub(super) async fn open(
        upstream: Arc<Upstream>,
        facts: &Facts,
        voice: Voice,
        payer: Payer,
        aside: &mut Aside<'_>,
    ) -> Result<Arc<Self>, LinkError> {
        let initialize = json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {
                "protocolVersion": facts.revision.as_str(),
                "capabilities": facts.capabilities, "clientInfo": facts.client_info,
            },
        });
        let initialize: Bytes = initialize.to_string().into();
        let request = || post(&upstream, initialize.clone(), &HeaderMap::new(), voice.behalf());
        let (endpoint, response) = upstream.ask_any(payer, request, |_| {}).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(LinkError::Refused(format!("HTTP {status}")));
        }
        let too_long = headers::session_id(response.headers()).err();
        let link = Arc::new(Self {
            upstream,
            payer,
            voice,
            endpoint,
            id: headers::any_session_id(response.headers()),
            revision: OnceLock::new(),
            next_id: AtomicU64::new(1),
            logs_from: tokio::sync::Mutex::default(),
            declining: Arc::new(Semaphore::new(MAX_DECLINED_AT_A_TIME)),
            replaced: CancellationToken::new(),
            is_over: AtomicBool::new(false),
        });
        if let Some(long) = too_long {
            return Err(LinkError::Refused(long.to_string()));
        }
        let answer = link.answered(response, "0", aside).await?;
        let _ = link.revision.set(negotiated(&answer)?);
        link.notify(Bytes::from_static(
            br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        ))
        .await?;
        Ok(link)
    }

    /// Whether it is a session at this server as it is, at an address that the server still has.
    pub(super) fn is_of(&self, upstream: &Arc<Upstream>) -> bool {
        Arc::ptr_eq(&self.upstream, upstream) && !self.endpoint.is_gone()
    }

    /// What tells it apart from other sessions at the server.
    pub(super) fn name(&self) -> &str {
        self.id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default()
    }

    /// The server.
    pub(super) fn server(&self) -> &ObjectName {
        &self.upstream.server().name
    }

    /// Whose share of what all have in common it takes.
    pub(super) fn payer(&self) -> Payer {
        self.payer
    }

    /// Which of the server's addresses has it.
    pub(super) fn address(&self) -> SocketAddr {
        self.endpoint.address()
    }

    /// An id that no other request of this session has.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Room for telling the server that nobody can be asked; `None` where it is being told so often enough.
    pub(super) fn room_to_decline(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.declining).try_acquire_owned().ok()
    }

    /// Sends a message, and waits for the head of the answer. On whose `behalf`: of whoever spoke last, where that is
    /// not known.
    pub(super) async fn send(
        &self,
        body: Bytes,
        extra: &HeaderMap,
        behalf: Option<Behalf>,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let behalf = behalf.or_else(|| self.voice.behalf());
        let mut request = post(&self.upstream, body, extra, behalf);
        self.identify(request.headers_mut());
        self.upstream.ask(&self.endpoint, self.payer, request).await
    }

    /// Sends a request of the gateway's own and waits for its answer; `method` and `params` are its own words. What the
    /// server says before it is heard aside.
    pub(super) async fn ask(
        self: &Arc<Self>,
        method: &str,
        params: serde_json::Value,
        aside: &mut Aside<'_>,
    ) -> Result<Bytes, LinkError> {
        let id = self.next_id();
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let response = self.send(body.to_string().into(), &HeaderMap::new(), None).await?;
        self.answered(response, &id.to_string(), aside).await
    }

    /// The answer to a request of the gateway's own, with what the server says before it.
    async fn answered(
        self: &Arc<Self>,
        response: Response<UpstreamBody>,
        id: &str,
        aside: &mut Aside<'_>,
    ) -> Result<Bytes, LinkError> {
        let mut answering = Answering::new(response, id);
        loop {
            match answering.next().await? {
                Said::Answer(answer) => return Ok(answer),
                Said::Aside(event) => aside.hear(self, event).await,
            }
        }
    }

    /// Has the server log from this level on, if it does not yet: it may say more then, not less, because others who
    /// share the session may want to hear that. One that cannot is not asked again.
    pub(super) async fn log_from(self: &Arc<Self>, level: Level, aside: &mut Aside<'_>) {
        let mut from = self.logs_from.lock().await;
        if from.is_some_and(|from| from <= level) {
            return;
        }
        self.set_level(level, aside).await;
        *from = Some(level);
    }

    /// Has the server log from this level on, and no less.
    pub(super) async fn set_level(self: &Arc<Self>, level: impl Serialize, aside: &mut Aside<'_>) {
        let set = self.ask("logging/setLevel", json!({ "level": level }), aside).await;
        if let Err(error) = set {
            tracing::debug!(server = %self.server(), %error, "the logging level could not be set");
        }
    }

    /// Sends what has no answer.
    pub(super) async fn notify(&self, body: Bytes) -> Result<StatusCode, UpstreamError> {
        Ok(self.send(body, &HeaderMap::new(), None).await?.status())
    }

    /// Opens the stream of what the server has to say unasked, or resumes one behind `last`.
    pub(super) async fn listen(&self, last: Option<&HeaderValue>) -> Result<Response<UpstreamBody>, UpstreamError> {
        let mut request = request(Full::default(), self.voice.behalf());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = path(&self.upstream);
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(last) = last {
            headers.insert("last-event-id", last.clone());
        }
        self.identify(headers);
        self.upstream.ask(&self.endpoint, self.payer, request).await
    }

    /// Ends the session at the server, in the background.
    pub(super) fn close(&self) {
        if let Some(request) = self.ending() {
            end_session(&self.upstream, &self.endpoint, self.payer, request);
        }
    }

    /// The request that ends it, if it has to be ended: once.
    fn ending(&self) -> Option<Request<Full<Bytes>>> {
        if self.id.is_none() || self.is_over.swap(true, Ordering::Relaxed) {
            return None;
        }
        let mut request = request(Full::default(), self.voice.behalf());
        *request.method_mut() = Method::DELETE;
        *request.uri_mut() = path(&self.upstream);
        self.identify(request.headers_mut());
        Some(request)
    }

    /// Whether the server has sessions that it can lose.
    pub(super) fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// Whether the server has lost it, as its answer to something else may say: HTTP 404, or 400 as many servers have
    /// it. One that has not lost it answers a ping.
    pub(super) async fn is_lost(&self) -> bool {
        if !self.has_id() {
            return false;
        }
        let ping = json!({"jsonrpc": "2.0", "id": self.next_id(), "method": "ping"});
        let answer = self.send(ping.to_string().into(), &HeaderMap::new(), None).await;
        answer.is_ok_and(|answer| matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST))
    }

    /// Whether an error says that the session is lost, and that what was asked in it was not taken.
    pub(super) fn lost_by(&self, error: &LinkError) -> bool {
        match error {
            LinkError::Answer(CollectError::Absent(StatusCode::NOT_FOUND)) => self.has_id(),
            LinkError::Upstream(error) => error.is_of_the_way(),
            _ => false,
        }
    }

    /// The server has lost it: there is nothing to end.
    pub(super) fn lost(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.replaced();
    }

    /// Another takes its place: nobody needs to listen to it any more.
    pub(super) fn replaced(&self) {
        self.replaced.cancel();
    }

    /// What is done in it, unless another takes its place before.
    pub(super) async fn while_it_lasts<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.replaced.run_until_cancelled(work).await
    }

    fn identify(&self, headers: &mut HeaderMap) {
        if let Some(id) = &self.id {
            headers.insert(MCP_SESSION_ID, id.clone());
        }
        if let Some(revision) = self.revision.get() {
            headers.insert(MCP_PROTOCOL_VERSION, revision.clone());
        }
    }
}

/// When nobody has it any more, it is ended.
impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

/// A POST of a message to a server's endpoint.
pub(super) fn post(
    upstream: &Upstream,
    body: Bytes,
    extra: &HeaderMap,
    behalf: Option<Behalf>,
) -> Request<Full<Bytes>> {
    let mut request = request(Full::new(body), behalf);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path(upstream);
    let headers = request.headers_mut();
    headers.clone_from(extra);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        header::ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    request
}

fn request(body: Full<Bytes>, behalf: Option<Behalf>) -> Request<Full<Bytes>> {
    let mut request = Request::new(body);
    if let Some(behalf) = behalf {
        request.extensions_mut().insert(behalf);
    }
    request
}

fn path(upstream: &Upstream) -> http::Uri {
    // Validated with the resources.
    upstream.server().path.parse().unwrap_or_default()
}

/// The revision that the server chose.
fn negotiated(answer: &[u8]) -> Result<HeaderValue, LinkError> {
    #[derive(serde::Deserialize)]
    struct Answer {
        result: Option<Initialized>,
        error: Option<Error>,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Initialized {
        protocol_version: String,
    }
    #[derive(serde::Deserialize)]
    struct Error {
        message: String,
    }
    let refused = |why: &str| LinkError::Refused(why.chars().take(200).collect());
    match serde_json::from_slice(answer) {
        Ok(Answer {
            result: Some(chosen), ..
        }) => {
            let revision = headers::revision(&chosen.protocol_version);
            revision.ok_or_else(|| refused("it chose a protocol version that is none"))
        }
        Ok(Answer { error: Some(error), .. }) => Err(refused(&error.message)),
        _ => Err(refused("its answer to initialize is none")),
    }
}
