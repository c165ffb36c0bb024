//! Requests to servers that know sessions.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::value::RawValue;

use super::{
    super::{
        exchange::Body,
        is_events,
        refused::Refused,
        relay::{Relay, Watch},
        rewrite::{EventId, Rewrite, Rewriter, Rewritten},
    },
    Call, answer,
    calls::{Cancel, InFlight},
    collect::{self, CollectError},
    errors,
    forward::{self, Forwarded},
    hearing::Hearing,
    link::Link,
    reads_events,
    resumption::{self, Places},
    session::Key,
    settle,
    tasks::TaskIds,
    uris::Uris,
};
use crate::mcp::{
    AnswerObserver, Envelope, Kind,
    error::code,
    held::Held,
    message::Peek,
    method::Method,
    params::MetaKey,
    seal::{Owner, Sealer, ServerRequest, Token as _},
    splice::{Splice, json_string},
    sse::Line,
    version::Era,
};

/// Members of `_meta` that a server of the legacy era learns when a session is opened.
const OF_THE_MODERN_ERA: [MetaKey; 4] = [
    MetaKey::ProtocolVersion,
    MetaKey::ClientInfo,
    MetaKey::ClientCapabilities,
    MetaKey::LogLevel,
];

/// Asks a server in the session that it has with this client.
pub(super) async fn ask(call: &Call<'_>, forwarded: Forwarded<'_>) -> Result<Response<Body>, Refused> {
    let Forwarded {
        seen,
        id,
        headers,
        body,
        mut record,
        share,
        ..
    } = forwarded;
    let server = seen.server.name();
    let refuse = |refused: Refused, record| refused.ending(Some(id), record);
    let Some(upstream) = call.shared.upstreams.of(&seen.server.wanted) else {
        return refuse(Refused::gone(server), record);
    };
    let session = match call.session() {
        Ok(session) => session,
        Err(refused) => return refuse(refused, record),
    };
    let mut link = match session.link(&upstream).await {
        Ok(link) => link,
        Err(error) => return refuse(forward::unanswered(server, &error), record),
    };
    let pending = match (session.key, &record) {
        (Key::Own(nonce), Some(_)) if reads_events(call.head) => {
            let workload = Owner::of(&call.caller.share_owner());
            match call.shared.pending.begin(workload, nonce, id) {
                Some(pending) => Some(pending),
                None => return refuse(Refused::no_streams(), record),
            }
        }
        _ => None,
    };
    let mut again = true;
    let (response, sent_id, in_flight) = loop {
        // Callers that share a session may use the same ids.
        let sent_id: Box<RawValue> = match session.shared {
            true => raw(link.next_id()),
            false => id.to_owned(),
        };
        let sent = match session.shared {
            true => adapted(&body, &sent_id, call.era),
            false => body.clone(),
        };
        if let Some(record) = &mut record {
            record.sent_to(link.address());
            record.leaving();
        }
        let mut in_flight = InFlight::begin(&session, id, call.era, Cancel::notice(&link, &sent_id));
        let response = link.send(sent, &headers, call.behalf()).await;
        let is_lost = match &response {
            // The server has forgotten the session, and so has not taken the call.
            Ok(response) => match response.status() {
                StatusCode::NOT_FOUND => link.has_id(),
                StatusCode::BAD_REQUEST => link.is_lost().await,
                _ => false,
            },
            // The replica that had the session cannot be reached, and so has not taken it either.
            Err(error) => error.is_of_the_way(),
        };
        if is_lost {
            in_flight.over();
        }
        if is_lost && again {
            again = false;
            drop(in_flight);
            link = match session.reopen(&upstream, &link).await {
                Ok(link) => link,
                Err(error) => return refuse(forward::unanswered(server, &error), record),
            };
            continue;
        }
        match response {
            Ok(response) => {
                if !response.status().is_success() {
                    in_flight.over();
                }
                break (response, sent_id, in_flight);
            }
            Err(error) => return refuse(forward::unreachable(server, &error), record),
        }
    };
    drop(share);
    if let Some(record) = &mut record {
        record.answered(response.version());
    }
    let mut changes = Changes {
        in_flight: Some(in_flight),
        places: None,
        sealer: call.gateway.sealer.clone(),
        owner: session.owner,
        link: Arc::clone(&link),
        restore: session.shared.then(|| (sent_id.clone(), id.to_owned())),
        modern: call.era == Era::Modern,
        reads: forwarded.method == "resources/read",
        answers_questions: !session.shared,
        tasks: TaskIds::new(call.gateway, server, session.owner),
        has_tasks: seen.catalogue.features.tasks.any,
        hearing: Hearing::of(call),
        uris: Uris::of(&call.view, server),
    };
    let status = client_status(response.status());
    let events = is_events(response.headers());
    let streams = events && reads_events(call.head);
    let places = Places::of(&call.gateway.sealer, &session).filter(|_| streams);
    let response = match events && places.is_none() {
        true => resumption::resuming(response, &link, &sent_id, seen.server.wanted.timeouts.call),
        false => response,
    };
    changes.places = places;
    if streams {
        let (head, body) = response.into_parts();
        let watch = record.map(|record| {
            Watch::new(record, AnswerObserver::new(Some(&sent_id), &head.headers), status).waiting(pending)
        });
        let rewriter = Rewriter::new(&head.headers, changes);
        let relay = Relay::new(body, watch).rewriting(Some(rewriter));
        let mut response = answer::events(Body::relay(relay));
        *response.status_mut() = status;
        return Ok(response);
    }
    if !events && !changes.changes_answers() {
        let (head, body) = response.into_parts();
        let watch = record.map(|record| Watch::new(record, AnswerObserver::new(Some(id), &head.headers), status));
        let relay = Relay::new(body, watch).holding(changes.in_flight);
        let mut response = Response::new(Body::relay(relay));
        *response.status_mut() = status;
        if let Some(kind) = head.headers.get(CONTENT_TYPE) {
            response.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        return Ok(response);
    }
    // An answer that changes is held whole, and so is one for a client that reads no event streams.
    let whole = collect::answer_between(response, sent_id.get(), |said| changes.unheard(said)).await;
    let mut changed = |whole| Held::counted(changes.of_answer(whole)).ok_or(CollectError::NoRoom);
    let whole = match whole.and_then(&mut changed) {
        Ok(whole) => whole,
        Err(error) => return refuse(forward::unanswered(server, &error.into()), record),
    };
    if let Some(record) = &mut record {
        settle(record, id, status, &whole);
    }
    let status = match call.era {
        Era::Modern => errors::modern_status(&whole, status),
        Era::Legacy => status,
    };
    let mut response = answer::ok(whole);
    *response.status_mut() = status;
    Ok(response)
}

/// What a client gets for a server's HTTP status. The server speaks to the gateway: that it does not like the
/// gateway's credentials is no matter of the client's.
fn client_status(status: StatusCode) -> StatusCode {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => StatusCode::BAD_GATEWAY,
        other => other,
    }
}

fn raw(id: u64) -> Box<RawValue> {
    serde_json::value::to_raw_value(&id).unwrap_or_default()
}

/// The body with another id, and without what the modern era says of the client in every request: a server that
/// knows that era too would take the request for one of it, and ask the client what only the gateway would hear.
fn adapted(body: &Bytes, id: &RawValue, era: Era) -> Bytes {
    // The name was spliced since the envelope was read, so that the places are sought again.
    let Ok(envelope) = Envelope::parse(body) else {
        return body.clone();
    };
    let mut splice = Splice::new(body);
    if let Some(span) = envelope.id_span() {
        splice.replace(span, id.get());
    }
    if era == Era::Modern
        && let Some(meta) = envelope.params.meta.whole
        && let Ok(mut members) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(meta.get())
    {
        for key in OF_THE_MODERN_ERA {
            members.remove(key.as_str());
        }
        splice.replace(meta.span(), serde_json::to_vec(&members).unwrap_or_default());
    }
    splice.finish()
}

impl Changes {
    /// For a stream that is no call's.
    pub(super) fn of_stream(
        sealer: Sealer,
        tasks: TaskIds,
        owner: Owner,
        link: Arc<Link>,
        hearing: Arc<Hearing>,
    ) -> Self {
        Self {
            in_flight: None,
            hearing,
            places: None,
            uris: None,
            tasks,
            has_tasks: true,
            sealer,
            owner,
            link,
            restore: None,
            modern: false,
            reads: false,
            answers_questions: true,
        }
    }
}

/// What changes in a legacy server's messages on their way to the client.
pub(super) struct Changes {
    /// The call whose answer these messages lead to.
    pub(super) in_flight: Option<InFlight>,
    pub(super) sealer: Sealer,
    /// Seals the ids of events, where the client can resume the stream.
    pub(super) places: Option<Places>,
    pub(super) owner: Owner,
    pub(super) link: Arc<Link>,
    /// The id that the server knows, and the one that the client knows.
    pub(super) restore: Option<(Box<RawValue>, Box<RawValue>)>,
    pub(super) modern: bool,
    pub(super) reads: bool,
    /// Whether the client can be asked by the server.
    pub(super) answers_questions: bool,
    pub(super) tasks: TaskIds,
    /// Whether the server may speak of tasks.
    pub(super) has_tasks: bool,
    /// What the client may hear of.
    pub(super) hearing: Arc<Hearing>,
    /// The URIs that are others for the client, if there are any.
    pub(super) uris: Option<Uris>,
}

impl Changes {
    /// Whether an answer in JSON is another for the client.
    fn changes_answers(&self) -> bool {
        self.modern || self.restore.is_some() || self.has_tasks || self.uris.is_some()
    }

    fn of_answer(&mut self, message: Bytes) -> Bytes {
        self.in_flight.as_mut().into_iter().for_each(InFlight::over);
        match Peek::new(&message).map(|peek| self.response(&message, &peek)) {
            Ok(Rewritten::Replace(changed)) => changed,
            _ => message,
        }
    }

    fn response(&mut self, message: &Bytes, peek: &Peek<'_>) -> Rewritten {
        let mut splice = Splice::new(message);
        if let (Some((known, own)), Some(id)) = (&self.restore, &peek.id)
            && id.get() == known.get()
        {
            splice.replace(id.span(), own.get().as_bytes().to_vec());
            self.in_flight.as_mut().into_iter().for_each(InFlight::over);
        }
        if self.modern {
            self.modernise(peek, &mut splice);
        }
        if self.has_tasks {
            self.tasks.seal(message, peek, &mut splice);
        }
        if let Some(uris) = &self.uris {
            uris.change(message, peek, &mut splice);
        }
        match splice.is_empty() {
            true => Rewritten::Keep,
            false => Rewritten::Replace(splice.finish()),
        }
    }

    /// What a modern client expects in every answer.
    fn modernise(&self, peek: &Peek<'_>, splice: &mut Splice<'_>) {
        if let Ok(Some(result)) = peek.result()
            && let Some(members) = result.members
            && !result.is_typed
        {
            let kept = if self.reads {
                r#","ttlMs":0,"cacheScope":"private""#
            } else {
                ""
            };
            let comma = if members.empty { "" } else { "," };
            splice.insert(members.at, format!(r#""resultType":"complete"{kept}{comma}"#));
        }
        if let Some(other) = peek.error_code().and_then(errors::for_modern)
            && let Some(part) = peek.error_code_part()
        {
            splice.replace(part.span(), other.to_string());
        }
    }

    /// A question of the server's: its id becomes one that finds the way back.
    fn question(&self, message: &Bytes, peek: &Peek<'_>) -> Rewritten {
        let Some(part) = &peek.id else {
            return Rewritten::Keep;
        };
        let Some(id) = part.raw() else {
            return Rewritten::Keep;
        };
        if !self.answers_questions {
            decline(&self.link, id, peek.method.as_deref() == Some("ping"));
            return Rewritten::Drop;
        }
        let sealed = ServerRequest {
            server: self.link.server().to_string(),
            session: self.link.name().to_owned(),
            id: id.to_owned(),
            owner: self.owner,
        }
        .seal(&self.sealer);
        let Ok(sealed) = sealed else {
            decline(&self.link, id, false);
            return Rewritten::Drop;
        };
        let mut splice = Splice::new(message);
        splice.replace(part.span(), json_string(&sealed));
        self.tasks.seal(message, peek, &mut splice);
        Rewritten::Replace(splice.finish())
    }
}

impl Changes {
    /// That a resource changed, as the client hears it; `None` where it may not, or where it is another server's.
    fn updated(&self, message: &Bytes, peek: &Peek<'_>) -> Option<Rewritten> {
        let uri = peek.params().ok()?.uri?;
        let own = uri.text()?;
        let shown = self.hearing.hears(self.link.server(), &own)?;
        if shown == *own {
            return Some(Rewritten::Keep);
        }
        let mut splice = Splice::new(message);
        splice.replace(uri.span(), json_string(&shown));
        Some(Rewritten::Replace(splice.finish()))
    }

    /// What a server says while the client hears nothing but the answer: what it asks is not to wait for one.
    fn unheard(&self, said: &Peek<'_>) {
        if let (Kind::Request, Some(id)) = (said.kind, said.id.and_then(|id| id.raw())) {
            decline(&self.link, id, said.method.as_deref() == Some("ping"));
        }
    }
}

/// Answers a question that no client can be asked.
pub(super) fn decline(link: &Arc<Link>, id: &RawValue, ping: bool) {
    let body = match ping {
        true => answer::empty(id),
        false => crate::mcp::error::body::<()>(Some(id), code::METHOD_NOT_FOUND, "No client can be asked here", None),
    };
    let link = Arc::clone(link);
    tokio::spawn(async move {
        if let Err(error) = link.send(body, &HeaderMap::new(), None).await {
            tracing::debug!(server = %link.server(), %error, "a question was not answered");
        }
    });
}

impl Rewrite for Changes {
    fn message(&mut self, message: &Bytes) -> Rewritten {
        let Ok(peek) = Peek::new(message) else {
            return Rewritten::Keep;
        };
        match peek.kind {
            Kind::Response => self.response(message, &peek),
            Kind::Request => self.question(message, &peek),
            Kind::Notification if peek.method.as_deref().map(Method::of) == Some(Method::ResourceUpdated) => {
                self.updated(message, &peek).unwrap_or(Rewritten::Drop)
            }
            Kind::Notification => self.tasks.message(message),
        }
    }

    /// A client that has a session can resume the stream, if the id tells where.
    fn event_id(&mut self, id: &Line) -> EventId {
        let sealed = self.places.as_ref().and_then(|places| places.seal(&self.link, id));
        sealed.map_or(EventId::None, EventId::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(body: &'static str, era: Era) -> String {
        let id: Box<RawValue> = serde_json::from_str("7").unwrap();
        let body = super::adapted(&Bytes::from_static(body.as_bytes()), &id, era);
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn what_the_modern_era_says_of_a_client_does_not_reach_a_session_and_all_else_does() {
        let body = r#"{"id":"a","method":"m","jsonrpc":"2.0","params":{"x":1.0,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":"p","io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"v":[1, 2],"io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/logLevel":"info"}}}"#;
        assert_eq!(
            adapted(body, Era::Modern),
            r#"{"id":7,"method":"m","jsonrpc":"2.0","params":{"x":1.0,"_meta":{"progressToken":"p","v":[1, 2]}}}"#
        );
        assert_eq!(adapted(body, Era::Legacy), body.replace(r#""a""#, "7"));
        let bare = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
        assert_eq!(adapted(bare, Era::Modern), bare.replace(":1", ":7"));
    }
}
