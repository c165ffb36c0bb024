//! One request at the gateway: which era, which session, on to its method.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use serde_json::value::RawValue;

use super::{
    super::{
        body::Share,
        exchange::Body,
        refused::{Refused, accepted},
    },
    Call, answer,
    arrived::Arrived,
    batch, forward, introduce, listen, lists, personal,
    session::Key,
    tasks,
    view::Kind as ListKind,
};
use crate::{
    mcp::{
        Envelope, EnvelopeError, Kind,
        error::code,
        headers::{self, MCP_SESSION_ID},
        media::prefers_events,
        method::Method,
        modern,
        seal::{self, GatewaySession, Nonce, Token as _},
        version::{self, Era, Revision, era},
    },
    proxy::now,
    resources,
    telemetry::Outcome,
};

/// Answers a POST.
pub(super) async fn post(arrived: Arrived<'_>, body: Bytes, share: Share) -> Result<Response<Body>, Refused> {
    match Envelope::parse(&body) {
        Ok(envelope) => one(arrived, &envelope, &body, share).await,
        Err(refused) if refused.error == EnvelopeError::Batch => {
            // Rare, and larger than all the rest of a request's state.
            Box::pin(batch::serve(arrived, &body, share, &refused)).await
        }
        Err(refused) => Err(Refused::envelope(&refused)),
    }
}

/// Answers one message.
pub(super) async fn one(
    arrived: Arrived<'_>,
    envelope: &Envelope<'_>,
    body: &Bytes,
    share: Share,
) -> Result<Response<Body>, Refused> {
    let refuse_to = |refused: Refused| refused.to(envelope.id);
    let era = era(&arrived.head.headers, envelope);
    let method = envelope.method.as_deref().map(Method::of);
    let session = match era {
        // The modern era has no sessions, whatever the headers say.
        Era::Modern => None,
        Era::Legacy if method == Some(Method::Initialize) => None,
        Era::Legacy => arrived.session().map_err(refuse_to)?,
    };
    let call = Call::new(arrived, body, era, session, personal::lists(envelope));
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

impl Call<'_> {
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
            Method::ToolsList => list(ListKind::Tools),
            Method::PromptsList => list(ListKind::Prompts),
            Method::ResourcesList => list(ListKind::Resources),
            Method::ResourceTemplatesList => list(ListKind::Templates),
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
}

/// Answers a GET: the stream of what the client did not ask for.
pub(super) async fn get(arrived: Arrived<'_>) -> Result<Response<Body>, Refused> {
    has_sessions(arrived.head)?;
    // Without a session there is nobody to speak to, and the modern era has no such stream.
    let session = arrived.session()?.ok_or_else(|| Refused::method("method"))?;
    let body = Bytes::new();
    let call = Call::new(arrived, &body, Era::Legacy, Some(session), false).await?;
    listen::stream(&call).await
}

/// Answers a DELETE: the client's session is over.
pub(super) fn delete(arrived: Arrived<'_>) -> Result<Response<Body>, Refused> {
    has_sessions(arrived.head)?;
    let session = arrived.session()?.ok_or_else(|| Refused::method("method"))?;
    arrived.shared.gateway.end(&session);
    if let Key::Own(nonce) = session.key {
        arrived.shared.pending.abandon(&nonce);
    }
    Ok(Response::new(Body::default()))
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
