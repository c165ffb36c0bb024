//! One message to a server: session, headers, decision, on to the server, and its answer back.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use super::{Dialled, batch, lists::Filter, session::Opened};
use crate::{
    mcp::{
        AnswerObserver, Envelope, EnvelopeError, Kind as Message,
        governed::{Governed, Kind, LISTS, OPENINGS, governed, subscriptions},
        headers::{self, MCP_PROTOCOL_VERSION, MCP_SESSION_ID},
        method::Method,
        modern,
        splice::Splice,
        version::{Era, Revision, era},
    },
    proxy::{
        body::Share,
        call::{Asked, Decided, decide},
        exchange::Body,
        gateway::end_of_listening,
        listened::Listened,
        pending::PendingCall,
        refused::Refused,
        relay::{Relay, Watch},
        subscribed,
    },
    resources::{DenialStatus, Transport},
    shares,
    telemetry::{CallStart, Carried, Client, Keeping, Outcome, Path, Propagated, Record},
    upstream::UpstreamBody,
};

/// Headers that say what the body is, byte for byte.
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// What comes of a message: where it may go to the server, the record that was opened for it and what it is to hear of,
/// and else the answer.
type Judged = Result<(Option<Record>, Option<ToHear>), Response<Body>>;

/// The resources that a client wants to hear of, and their share of the memory.
type ToHear = (Vec<String>, shares::Share);

impl Dialled<'_> {
    /// Answers a POST of a message, or of several.
    pub(super) async fn post(&self, body: Bytes, share: Share) -> Result<Response<Body>, Refused> {
        let headers = &self.head.headers;
        headers::check_content(headers).map_err(Refused::headers)?;
        match Envelope::parse(&body) {
            Ok(envelope) => {
                let id = envelope.id.map(ToOwned::to_owned);
                let answer = self.message(&envelope, &body, share).await;
                answer.map_err(|refused| refused.to(id.as_deref()))
            }
            Err(refused) if refused.error == EnvelopeError::Batch => {
                let session = self.session()?;
                if !self.revision(session.as_ref()).has_batches() {
                    return Err(Refused::envelope(&refused));
                }
                // Rare, and larger than all the rest of a request's state.
                Box::pin(batch::serve(self, &body, session, share)).await
            }
            Err(refused) => Err(Refused::envelope(&refused)),
        }
    }

    /// The revision that a message is of. What a session agreed on beats what the headers leave out.
    fn revision(&self, session: Option<&Opened>) -> Revision {
        let named = self
            .head
            .headers
            .get(MCP_PROTOCOL_VERSION)
            .and_then(|value| value.to_str().ok());
        match (session, named) {
            (Some(session), _) => session.revision(),
            (None, Some(named)) => named.parse().unwrap_or(Revision::LATEST_LEGACY),
            (None, None) => Revision::ASSUMED,
        }
    }

    async fn message(&self, envelope: &Envelope<'_>, body: &Bytes, share: Share) -> Result<Response<Body>, Refused> {
        // The transport of 2024-11-05 has no headers to go by, whatever era is spoken over it.
        let has_headers = self.server.wanted.transport == Transport::StreamableHttp;
        let era = era(&self.head.headers, envelope);
        let session = match era {
            Era::Legacy => self.session()?,
            // It stands for itself, whatever session it names.
            Era::Modern => None,
        };
        match era {
            Era::Modern if !has_headers => {}
            Era::Legacy => headers::check_claims(&self.head.headers, envelope).map_err(Refused::headers)?,
            Era::Modern => {
                let parameters = self.parameters(envelope);
                modern::check(&self.head.headers, envelope, parameters.as_deref()).map_err(Refused::rejection)?;
            }
        }
        let judged = match self.decide(envelope, body, self.server.denial_status).await? {
            Ok(judged) => judged,
            Err(denied) => return Ok(self.denied(denied).await),
        };
        if era == Era::Legacy {
            self.note_cancelled(envelope, session.as_ref());
        }
        self.forward(envelope, judged, body, session, share).await
    }

    /// Which arguments the headers of a call must repeat, where the tool's definition is known.
    fn parameters(&self, envelope: &Envelope<'_>) -> Option<Arc<modern::ParamHeaders>> {
        let tool = envelope.tool()?;
        let snapshot = self.shared.discovery.snapshot();
        let item = snapshot.get(self.server.name())?.tool(tool)?;
        item.param_headers.clone()
    }

    /// Decides about a message, where rules can; a denial gets this status.
    pub(super) async fn decide(
        &self,
        envelope: &Envelope<'_>,
        body: &[u8],
        denial_status: DenialStatus,
    ) -> Result<Judged, Refused> {
        if envelope.known() == Some(Method::Listen) {
            return self.decide_subscriptions(envelope, body, denial_status).await;
        }
        let Some(governed) = governed(envelope) else {
            return Ok(Ok((self.listing(envelope, body.len()), None)));
        };
        let asked = self.asked(governed, envelope, body, denial_status);
        let decided = decide(self.shared, self.plan, &asked).await;
        Ok(match decided {
            Decided::Allowed(record) => Ok((Some(record), None)),
            Decided::Denied(answer) => Err(answer),
        })
    }

    /// Decides about each resource that a modern client wants to hear of: if it may not hear of one, it hears of none.
    async fn decide_subscriptions(
        &self,
        envelope: &Envelope<'_>,
        body: &[u8],
        denial_status: DenialStatus,
    ) -> Result<Judged, Refused> {
        let to_hear = self.to_hear(envelope)?;
        let (uris, _) = &to_hear;
        let mut listened = Listened::new(|| self.start("subscriptions/listen", envelope, body.len()));
        for (number, uri) in uris.iter().enumerate() {
            let governed = Governed {
                method: "resources/subscribe",
                kind: Kind::Resource,
                name: uri,
            };
            // The one for which all are refused has a line of its own, wherever it stands.
            let asked = self.asked(governed, envelope, body, denial_status);
            match decide(self.shared, self.plan, &asked).await {
                Decided::Allowed(mut record) => {
                    let has_line = listened.has_line();
                    if !has_line {
                        record.off_record();
                    }
                    record.outcome(Outcome::Ok, None);
                    listened.note(uri, true, has_line);
                }
                Decided::Denied(answer) => {
                    listened.refuse_all();
                    listened.note(uri, false, true);
                    let behind = uris.iter().skip(number + 1);
                    behind.for_each(|uri| listened.note(uri, false, false));
                    note(listened);
                    return Ok(Err(answer));
                }
            }
        }
        note(listened);
        Ok(Ok((None, Some(to_hear))))
    }

    /// The record of a request that nobody decides: for a list, which is cut to what the caller may have, or one that
    /// a conversation begins with.
    fn listing(&self, envelope: &Envelope<'_>, request_bytes: usize) -> Option<Record> {
        let method = envelope.method.as_deref()?;
        let mut recorded = LISTS.iter().chain(&OPENINGS);
        let is_one = envelope.kind == Message::Request && recorded.any(|known| *known == method);
        is_one.then(|| self.start(method, envelope, request_bytes))
    }

    /// The record of a request that is about nothing in particular.
    fn start(&self, method: &str, envelope: &Envelope<'_>, request_bytes: usize) -> Record {
        let caller = Arc::clone(self.caller);
        self.shared.telemetry.call(CallStart {
            server: Some(self.server.name()),
            request_id: envelope.id,
            read: self.read,
            request_bytes: request_bytes as u64,
            client: Client::of(envelope),
            ..CallStart::new(
                caller,
                Path::Redirected,
                method,
                self.received,
                self.carried(envelope),
                Keeping::by(&self.plan.settings.audit),
            )
        })
    }

    fn carried<'c>(&'c self, envelope: &'c Envelope<'_>) -> Carried<'c> {
        Carried {
            headers: &self.head.headers,
            version: self.head.version,
            meta: &envelope.params.meta,
        }
    }

    fn asked<'a>(
        &'a self,
        governed: Governed<'a>,
        envelope: &'a Envelope<'_>,
        body: &[u8],
        denial_status: DenialStatus,
    ) -> Asked<'a> {
        Asked {
            catalog: None,
            caller: self.caller,
            path: Path::Redirected,
            server: self.server,
            personal: None,
            governed,
            called_as: governed.name,
            arguments: envelope.params.arguments,
            era: era(&self.head.headers, envelope),
            id: envelope.id,
            received: self.received,
            read: self.read,
            request_bytes: body.len(),
            http_path: &self.path,
            left_out: false,
            on_record: true,
            denial_status,
            carried: self.carried(envelope),
            keeping: Keeping::by(&self.plan.settings.audit),
        }
    }

    /// Notes that the client takes a call back, before the server hears of it: the call may then end without an answer.
    pub(super) fn note_cancelled(&self, envelope: &Envelope<'_>, session: Option<&Opened>) {
        if envelope.known() == Some(Method::Cancelled)
            && let Some(key) = session.map(Opened::key).or(self.stream)
            && let Some(id) = envelope.params.request_id.and_then(|part| part.raw())
        {
            self.shared.pending.cancel(key, id.get());
        }
    }

    /// Takes a message to the server, and the answer back.
    pub(super) async fn forward(
        &self,
        envelope: &Envelope<'_>,
        (mut record, to_hear): (Option<Record>, Option<ToHear>),
        body: &Bytes,
        session: Option<Opened>,
        share: Share,
    ) -> Result<Response<Body>, Refused> {
        let method = Method::of(envelope.method.as_deref().unwrap_or_default());
        if let Some(session) = &session
            && method.leaves_traces()
        {
            self.shared.redirected.taint(&session.key());
        }
        let traced = record.as_mut().and_then(|record| self.traced(record));
        let body = match &traced {
            Some(traced) => &told(envelope, body, traced),
            None => body,
        };
        let key = session.as_ref().map(Opened::key).or(self.stream);
        let call = match (key, envelope.id, &record) {
            (Some(key), Some(id), Some(_)) => match self.shared.pending.begin(self.payer, key, id) {
                Some(call) => Some(call),
                None => return Refused::no_streams().ending(Some(id), record),
            },
            _ => None,
        };
        if let Some(record) = &mut record {
            let endpoint = session.as_ref().map_or(&self.endpoint, |session| &session.endpoint);
            record.sent_to(endpoint.address());
            record.leaving();
        }
        let answered = self.ask(body, session, traced.as_ref()).await;
        let (mut response, session) = match (answered, record.take()) {
            (Ok(answered), open) => {
                record = open;
                answered
            }
            (Err(refused), record) => return refused.ending(envelope.id, record),
        };
        drop(share);
        let read = match method {
            Method::Initialize => match self.seal(envelope, &mut response).await {
                Ok(read) => read,
                Err(refused) => return refused.ending(envelope.id, record),
            },
            _ => VecDeque::new(),
        };
        if let Some(to_hear) = to_hear
            && self.server.wanted.transport == Transport::StreamableHttp
        {
            return self.listen(response, envelope, session.as_ref(), to_hear);
        }
        let mut filter = self.filter(Some(method), envelope.id);
        if let (Some(filter), Some(record)) = (&mut filter, &mut record) {
            filter.counts_in(|| record.lists());
        }
        let noted = record.map(|record| (record, call));
        self.answer(response, read, noted, envelope.id, session, filter)
    }

    /// The resources that a client wants to hear of, and their share.
    fn to_hear(&self, envelope: &Envelope<'_>) -> Result<ToHear, Refused> {
        let uris = subscriptions(envelope.params.whole).map_err(Refused::rejection)?;
        let mut share = self.shared.gateway.subscribed().none(self.payer);
        match share.resize(subscribed::cost(uris.iter())) {
            true => Ok((uris, share)),
            false => Err(Refused::no_subscriptions()),
        }
    }

    /// Passes on what a modern client listens to, for as long as it may.
    fn listen(
        &self,
        response: Response<UpstreamBody>,
        envelope: &Envelope<'_>,
        session: Option<&Opened>,
        (uris, share): ToHear,
    ) -> Result<Response<Body>, Refused> {
        let (mut head, body) = response.into_parts();
        let endpoint = session.map_or(&self.endpoint, |session| &session.endpoint);
        let (rewriter, lease) = self.watched(&mut head, endpoint, Some(Method::Listen), uris)?;
        let lease = lease.map(|lease| lease.holding(share));
        let lease = match envelope.id {
            // Only what is cut into events can have one more at its end.
            Some(id) if rewriter.is_some() => lease.map(|lease| lease.saying(&end_of_listening(id))),
            _ => lease,
        };
        let body = match lease {
            Some(_) => body.without_call_deadline(),
            None => body,
        };
        let relay = Relay::new(body, None).rewriting(rewriter).leased(lease);
        Ok(Response::from_parts(head, Body::relay(relay)))
    }

    /// What the server is told of the trace. Nothing, where the body must be what the caller says that it is.
    fn traced(&self, record: &mut Record) -> Option<Propagated> {
        let is_bound = DIGESTS.iter().any(|name| self.head.headers.contains_key(*name));
        record.propagated().filter(|_| !is_bound)
    }

    /// Asks the server; once more in a new session, where it has lost the one that was named.
    async fn ask(
        &self,
        body: &Bytes,
        session: Option<Opened>,
        traced: Option<&Propagated>,
    ) -> Result<(Response<UpstreamBody>, Option<Opened>), Refused> {
        let request = |session: Option<&Opened>| {
            let mut request = self.request(body.clone(), session);
            if session.is_none() && !self.caller.observed {
                // No session is entered by an id that we did not look into.
                request.headers_mut().remove(MCP_SESSION_ID);
            }
            if let Some(traced) = traced {
                traced.write_headers(request.headers_mut());
            }
            request
        };
        let response = self.send(request(session.as_ref()), session.as_ref()).await?;
        let Some(lost) = session.as_ref().filter(|_| response.status() == StatusCode::NOT_FOUND) else {
            return Ok((response, session));
        };
        // Rare, and larger than all the rest of a call's state.
        match Box::pin(self.replace(lost)).await {
            Some(session) => Ok((self.send(request(Some(&session)), Some(&session)).await?, Some(session))),
            None => Ok((response, session)),
        }
    }

    fn answer(
        &self,
        response: Response<UpstreamBody>,
        read: VecDeque<Bytes>,
        noted: Option<(Record, Option<PendingCall>)>,
        id: Option<&RawValue>,
        session: Option<Opened>,
        filter: Option<Filter>,
    ) -> Result<Response<Body>, Refused> {
        let (mut head, body) = response.into_parts();
        if let (Some(_), true) = (&session, head.headers.contains_key(MCP_SESSION_ID)) {
            // The client's own id of its session, and none that only the server and we know.
            if let Some(own) = self.head.headers.get(MCP_SESSION_ID) {
                head.headers.insert(MCP_SESSION_ID, own.clone());
            }
        }
        let rewriter = match filter {
            Some(filter) => filter.answer(head.status, &mut head.headers, self.payer)?,
            None => None,
        };
        let watch = match (noted, self.server.wanted.transport) {
            // The answer comes on the session's one stream.
            (Some((record, call)), Transport::Sse) => {
                self.wait_for_stream(record, call, head.status);
                None
            }
            (Some((mut record, call)), Transport::StreamableHttp) => {
                record.answered(head.version);
                let observer = AnswerObserver::new(id, &head.headers, self.payer);
                Some(Watch::new(record, observer, head.status).waiting(call))
            }
            (None, _) => None,
        };
        let relay = Relay::behind(read, body, watch).rewriting(rewriter);
        Ok(Response::from_parts(head, Body::relay(relay)))
    }
}

/// Records which resources a client may hear of, of those that it wants to, and which not, where not each has a line of
/// its own.
fn note(listened: Listened<'_>) {
    if let Some(mut record) = listened.record() {
        record.outcome(Outcome::Ok, None);
    }
}

/// The body with what the server is told of the trace.
fn told(envelope: &Envelope<'_>, body: &Bytes, traced: &Propagated) -> Bytes {
    let mut splice = Splice::new(body);
    traced.write_meta(envelope, &mut splice);
    splice.finish()
}
