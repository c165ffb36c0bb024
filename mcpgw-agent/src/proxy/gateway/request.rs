//! One request at the gateway: which era, which session, on to its method.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use serde_json::value::RawValue;

use super::{
    super::{
        Shared,
        body::Share,
        exchange::Body,
        refused::{Refused, accepted},
    },
    Call, Gateway, answer, batch, forward, introduce,
    link::{Facts, Link},
    listen, lists, personal,
    session::{Key, Session},
    tasks,
    view::Kind as List,
};
use crate::{
    discovery::Principal,
    identity::Caller,
    mcp::{
        Envelope, EnvelopeError, Kind,
        error::code,
        headers::{self, MCP_SESSION_ID},
        level::Level,
        media::prefers_events,
        method::Method,
        modern,
        seal::{self, GatewaySession, Nonce, Owner, ServerProgress, ServerRequest, Token as _},
        splice::Splice,
        version::{self, Era, Revision, era},
    },
    policy::Plan,
    proxy::now,
    resources::{self, ObjectName},
    shares::Payer,
    telemetry::Outcome,
};

/// Answers a POST.
#[allow(clippy::too_many_arguments, reason = "all that is known of a request, gathered once")]
pub(super) async fn post(
    shared: &Arc<Shared>,
    caller: &Arc<Caller>,
    plan: &Arc<Plan>,
    catalog: Option<&str>,
    head: &Parts,
    body: Bytes,
    share: Share,
    received: Instant,
) -> Result<Response<Body>, Refused> {
    match Envelope::parse(&body) {
        Ok(envelope) => {
            let answer = one(shared, caller, plan, catalog, head, &envelope, &body, share, received);
            answer.await
        }
        Err(refused) if refused.error == EnvelopeError::Batch => {
            let batch = batch::serve(shared, caller, plan, catalog, head, &body, share, received, &refused);
            // Rare, and larger than all the rest of a request's state.
            Box::pin(batch).await
        }
        Err(refused) => Err(Refused::envelope(&refused)),
    }
}

/// Answers one message.
#[allow(clippy::too_many_arguments, reason = "all that is known of a request, gathered once")]
pub(super) async fn one(
    shared: &Arc<Shared>,
    caller: &Arc<Caller>,
    plan: &Arc<Plan>,
    catalog: Option<&str>,
    head: &Parts,
    envelope: &Envelope<'_>,
    body: &Bytes,
    share: Share,
    received: Instant,
) -> Result<Response<Body>, Refused> {
    let refuse_to = |refused: Refused| refused.to(envelope.id);
    let era = era(&head.headers, envelope);
    let (gateway, whose) = (&shared.gateway, whose(caller));
    let method = envelope.method.as_deref().map(Method::of);
    let session = match era {
        // The modern era has no sessions, whatever the headers say.
        Era::Modern => None,
        Era::Legacy if method == Some(Method::Initialize) => None,
        Era::Legacy => gateway.session_of(&head.headers, whose, catalog).map_err(refuse_to)?,
    };
    let lists = personal::lists(envelope);
    let call = Call::new(
        shared, caller, plan, catalog, head, body, era, received, session, whose, lists,
    );
    let call = call.await.map_err(refuse_to)?;
    check(&call, envelope).map_err(refuse_to)?;
    match envelope.kind {
        Kind::Request => call.request(envelope, share).await,
        Kind::Notification => {
            call.notification(envelope).await;
            Ok(accepted())
        }
        Kind::Response => call.response(envelope).await,
    }
}

/// Whom the sessions of a caller are bound to, and whose share of what all have in common they take.
pub(super) fn whose(caller: &Caller) -> (Owner, Payer) {
    (caller.session_owner(), Payer::of(caller))
}

/// Checks the headers against the body, as the era wants it.
fn check(call: &Call<'_>, envelope: &Envelope<'_>) -> Result<(), Refused> {
    match call.era {
        Era::Legacy => {
            // What a client writes that has yet to hear which versions there are is its wish.
            if envelope.known() != Some(Method::Initialize) {
                supported(call.head)?;
            }
            headers::check_claims(&call.head.headers, envelope).map_err(Refused::headers)
        }
        Era::Modern => {
            let called = envelope.tool().and_then(|tool| call.view.tools.get(tool));
            let item = called.map(|entry| &call.view.server(entry).catalogue.tools[entry.item]);
            let parameters = item.and_then(|item| item.param_headers.as_ref());
            modern::check(&call.head.headers, envelope, parameters.map(|parameters| &**parameters))
                .map_err(Refused::rejection)
        }
    }
}

/// Checks the version that the headers of a legacy request name.
fn supported(head: &Parts) -> Result<Revision, Refused> {
    Revision::of_headers(&head.headers).map_err(|_| {
        let message = "Unsupported protocol version in MCP-Protocol-Version";
        Refused::new(StatusCode::BAD_REQUEST, "unsupported_version", message)
    })
}

/// Checks that a GET or DELETE is of the era that has them.
fn has_sessions(head: &Parts) -> Result<(), Refused> {
    if version::is_modern(&head.headers) {
        return Err(Refused::method("method"));
    }
    supported(head).map(drop)
}

impl<'a> Call<'a> {
    #[allow(clippy::too_many_arguments, reason = "all that is known of a request, gathered once")]
    async fn new(
        shared: &'a Arc<Shared>,
        caller: &'a Arc<Caller>,
        plan: &Arc<Plan>,
        catalog: Option<&'a str>,
        head: &'a Parts,
        body: &'a Bytes,
        era: Era,
        received: Instant,
        session: Option<Arc<Session>>,
        (owner, payer): (Owner, Payer),
        lists: bool,
    ) -> Result<Self, Refused> {
        let plan = Arc::clone(plan);
        let chosen = match catalog {
            None => None,
            Some(name) => Some(plan.catalog(name).cloned().ok_or_else(Refused::no_catalog)?),
        };
        let snapshot = shared.discovery.snapshot();
        let who = || Principal {
            owner,
            behalf: super::behalf(&plan, caller, head),
        };
        let own = personal::offered(shared, &plan, &snapshot, caller, chosen.as_deref(), who, lists).await;
        // Behind the catalogues: what is approved is never older than what is shown.
        let pins = shared.pins.table();
        let views = &shared.gateway.views;
        let view = views.of(caller, owner, chosen.as_ref(), &plan, &snapshot, &own, &pins);
        Ok(Self {
            shared,
            gateway: &shared.gateway,
            caller,
            owner,
            payer,
            plan,
            view,
            catalog,
            head,
            body,
            era,
            received,
            read: Instant::now(),
            session,
        })
    }

    async fn request(&self, envelope: &Envelope<'_>, share: Share) -> Result<Response<Body>, Refused> {
        let Some(id) = envelope.id else {
            return Err(Refused::protocol(
                StatusCode::BAD_REQUEST,
                code::INVALID_REQUEST,
                "invalid_envelope",
                "A request has an id",
            ));
        };
        let method = Method::of(envelope.method.as_deref().unwrap_or_default());
        let list = |kind| {
            let list = lists::answer(self, kind, id, envelope)?;
            Ok(match prefers_events(&self.head.headers) {
                true => answer::one_event(&list),
                false => answer::ok(list),
            })
        };
        match method {
            Method::Initialize => Ok(self.initialize(id, envelope)),
            Method::ServerDiscover => {
                let body = introduce::discover(self, id);
                self.introduced("server/discover", id, envelope, &body);
                Ok(answer::ok(body))
            }
            Method::Ping => Ok(answer::ok(answer::empty(id))),
            Method::ToolsList => list(List::Tools),
            Method::PromptsList => list(List::Prompts),
            Method::ResourcesList => list(List::Resources),
            Method::ResourceTemplatesList => list(List::Templates),
            Method::SetLevel => self.set_level(id, envelope).await,
            Method::Subscribe | Method::Unsubscribe => listen::subscribe(self, id, envelope).await,
            Method::Listen => listen::listen(self, id, envelope).await,
            Method::TasksList => tasks::list(self, id, envelope).await,
            _ => forward::request(self, id, envelope, share).await,
        }
    }

    fn initialize(&self, id: &RawValue, envelope: &Envelope<'_>) -> Response<Body> {
        let (body, revision) = introduce::initialize(self, id, envelope);
        self.introduced("initialize", id, envelope, &body);
        let sealed = Nonce::random().and_then(|nonce| {
            GatewaySession {
                owner: self.owner,
                revision: revision.as_str().to_owned(),
                client_info: seal::kept(envelope.params.client_info.and_then(|part| part.raw())),
                capabilities: seal::kept(envelope.params.capabilities.and_then(|part| part.raw())),
                catalog: self.catalog.map(ToOwned::to_owned),
                issued: now(),
                nonce,
            }
            .seal(&self.gateway.sealer)
        });
        let mut response = answer::ok(body);
        match sealed.ok().and_then(|id| HeaderValue::from_str(&id).ok()) {
            Some(id) => drop(response.headers_mut().insert(MCP_SESSION_ID, id)),
            None => tracing::warn!("a session could not be sealed; its client works without one"),
        }
        response
    }

    /// Records who begins a conversation here.
    fn introduced(&self, method: &str, id: &RawValue, envelope: &Envelope<'_>, answer: &Bytes) {
        let mut record = self.shared.telemetry.call(self.start(method, id, envelope));
        record.status(StatusCode::OK.as_u16());
        record.add_response_bytes(answer.len() as u64);
        record.outcome(Outcome::Ok, None);
    }

    async fn set_level(&self, id: &RawValue, envelope: &Envelope<'_>) -> Result<Response<Body>, Refused> {
        let level = envelope.params.level.filter(|level| Level::of(level.get()).is_some());
        let Some(level) = level.and_then(|level| level.raw()) else {
            let message = "Invalid params: there is no such logging level";
            let bad = Refused::protocol(StatusCode::OK, code::INVALID_PARAMS, "level", message);
            return Err(bad.to(Some(id)));
        };
        if let Some(session) = &self.session {
            session.set_level(level);
            for link in self.links_of(session) {
                link.set_level(level, &mut session.aside()).await;
            }
        }
        Ok(answer::ok(answer::empty(id)))
    }

    /// Passes a notification to the servers that it is about.
    async fn notification(&self, envelope: &Envelope<'_>) {
        let Some(session) = &self.session else { return };
        let method = envelope.method.as_deref().unwrap_or_default();
        let is_notification = method.starts_with("notifications/");
        match Method::of(method) {
            // The servers' sessions are opened, and told so, when they are needed.
            Method::Initialized => {}
            Method::Cancelled => {
                if let Some(id) = envelope.params.request_id.and_then(|part| part.raw()) {
                    if let Key::Own(nonce) = session.key {
                        // Before its server hears of it: the call may then end without an answer.
                        self.shared.pending.cancel(nonce, id.get());
                    }
                    session.calls.cancel(id).await;
                }
            }
            Method::Progress => self.progress(session, envelope).await,
            // Whose question it is about, or that it is about all of them, only the servers know. What is no
            // notification by its name could be a call that nobody decided.
            _ if !is_notification => {}
            _ => {
                for link in self.links_of(session) {
                    if let Err(error) = link.notify(self.body.clone()).await {
                        tracing::debug!(server = %link.server(), %error, "a notification was not delivered");
                    }
                }
            }
        }
    }

    /// What a session has open at servers that the caller still sees.
    fn links_of(&self, session: &Session) -> impl Iterator<Item = Arc<Link>> {
        let links = session.open_links().into_iter();
        links.filter(|link| self.sees(link.server()))
    }

    /// Whether the caller sees a server now.
    fn sees(&self, server: &ObjectName) -> bool {
        self.view.seen(server).is_some()
    }

    /// Tells the server that asked the client how far it is with the answer, and no other.
    async fn progress(&self, session: &Session, envelope: &Envelope<'_>) {
        let Some(part) = envelope.params.progress_token else {
            return;
        };
        let text: Option<String> = part.raw().and_then(|raw| serde_json::from_str(raw.get()).ok());
        let opened = text.map(|text| ServerProgress::open(&self.gateway.sealer, &text, self.owner, now()));
        // Nobody wants to hear of any other.
        let Some(Ok(wanted)) = opened else { return };
        let link = ObjectName::parse(&wanted.server).and_then(|server| session.open_link(&server));
        let Some(link) = link.filter(|link| link.name() == wanted.session && self.sees(link.server())) else {
            return;
        };
        let mut splice = Splice::new(self.body);
        splice.replace(part.span(), wanted.token.get());
        if let Err(error) = link.notify(splice.finish()).await {
            tracing::debug!(server = %link.server(), %error, "progress was not told");
        }
    }

    /// Takes the client's answer to a server's question to that server.
    async fn response(&self, envelope: &Envelope<'_>) -> Result<Response<Body>, Refused> {
        let unknown = || {
            let message = "There is no such question, or its server no longer waits";
            Refused::protocol(
                StatusCode::NOT_FOUND,
                code::INVALID_REQUEST,
                "unknown_response",
                message,
            )
        };
        let session = self.session.as_ref().ok_or_else(unknown)?;
        let id = envelope.id.ok_or_else(unknown)?;
        if session.answered(id, self.body) {
            return Ok(accepted());
        }
        let text: String = serde_json::from_str(id.get()).map_err(|_| unknown())?;
        let asked = ServerRequest::open(&self.gateway.sealer, &text, self.owner, now()).map_err(|_| unknown())?;
        let server = ObjectName::parse(&asked.server).ok_or_else(unknown)?;
        let link = session
            .open_link(&server)
            .filter(|link| link.name() == asked.session && self.sees(&server))
            .ok_or_else(unknown)?;
        let mut splice = Splice::new(self.body);
        if let Some(span) = envelope.id_span() {
            splice.replace(span, asked.id.get());
        }
        let body = splice.finish();
        match link.send(body, &HeaderMap::new(), self.behalf()).await {
            Ok(response) => {
                let mut accepted = accepted();
                *accepted.status_mut() = response.status();
                Ok(accepted)
            }
            Err(error) => Err(forward::unreachable(link.server(), &error)),
        }
    }
}

/// Answers a GET: the stream of what the client did not ask for.
pub(super) async fn get(
    shared: &Arc<Shared>,
    caller: &Arc<Caller>,
    plan: &Arc<Plan>,
    catalog: Option<&str>,
    head: &Parts,
) -> Result<Response<Body>, Refused> {
    has_sessions(head)?;
    let whose = whose(caller);
    let session = shared.gateway.session_of(&head.headers, whose, catalog)?;
    // Without a session there is nobody to speak to, and the modern era has no such stream.
    let session = session.ok_or_else(|| Refused::method("method"))?;
    let body = Bytes::new();
    let call = Call::new(
        shared,
        caller,
        plan,
        catalog,
        head,
        &body,
        Era::Legacy,
        Instant::now(),
        Some(session),
        whose,
        false,
    )
    .await?;
    listen::stream(&call).await
}

/// Answers a DELETE: the client's session is over.
pub(super) fn delete(
    shared: &Arc<Shared>,
    caller: &Arc<Caller>,
    catalog: Option<&str>,
    head: &Parts,
) -> Result<Response<Body>, Refused> {
    has_sessions(head)?;
    let session = shared.gateway.session_of(&head.headers, whose(caller), catalog)?;
    let session = session.ok_or_else(|| Refused::method("method"))?;
    shared.gateway.end(&session);
    if let Key::Own(nonce) = session.key {
        shared.pending.abandon(&nonce);
    }
    Ok(Response::new(Body::default()))
}

impl Gateway {
    /// The session that a request names; `None` if it names none. The client of a session that is over, or was
    /// never there, gets the 404 that makes it begin anew.
    pub(super) fn session_of(
        &self,
        headers: &HeaderMap,
        (owner, payer): (Owner, Payer),
        catalog: Option<&str>,
    ) -> Result<Option<Arc<Session>>, Refused> {
        let mut named = headers.get_all(MCP_SESSION_ID).iter();
        let Some(id) = named.next() else { return Ok(None) };
        if named.next().is_some() {
            let message = "More than one Mcp-Session-Id header";
            return Err(Refused::new(StatusCode::BAD_REQUEST, "ambiguous_session", message));
        }
        let opened = id
            .to_str()
            .ok()
            .and_then(|id| self.opened.open(&self.sealer, id, owner, now()).ok());
        let sealed = opened
            .filter(|sealed| sealed.catalog.as_deref() == catalog && !self.ended.contains(&sealed.nonce))
            .ok_or_else(Refused::no_session)?;
        let facts = || {
            Facts::of(
                sealed.revision.parse().ok(),
                sealed.client_info.as_deref(),
                sealed.capabilities.as_deref(),
            )
        };
        let session = self.sessions.get(Key::Own(sealed.nonce), (owner, payer), facts);
        session.map(Some).ok_or_else(Refused::no_room_for_sessions)
    }

    /// The session that callers of an owner share who have none of their own.
    pub(super) fn shared_session(&self, (owner, payer): (Owner, Payer)) -> Result<Arc<Session>, Refused> {
        let session = self
            .sessions
            .get(Key::Shared(owner), (owner, payer), Facts::of_the_gateway);
        session.ok_or_else(Refused::no_room_for_sessions)
    }

    fn end(&self, session: &Session) {
        if let Key::Own(nonce) = session.key {
            self.ended.insert(nonce);
        }
        self.sessions.end(session);
    }
}

/// Whether a browser may have sent this request: without an `Origin` it was none; else the origin is allowed by
/// name, or is the listener itself on loopback.
pub(super) fn origin_is_allowed(headers: &HeaderMap, gateway: &resources::Gateway) -> bool {
    let allowed = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        gateway
            .allowed_origins
            .iter()
            .any(|allowed| origin == allowed.as_bytes())
    };
    headers.get_all(header::ORIGIN).iter().all(allowed)
}
