//! A legacy client asks a modern server. What the server wants to know in between, it is asked of the client in the
//! way that the client knows: as a request on the stream of its call.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::{sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    super::{body::Share, exchange::Body, is_events, refused::Refused},
    Call, answer,
    calls::{Cancel, InFlight},
    collect, errors,
    forward::{self, Forwarded},
    limits::{ANSWER_TIMEOUT, MAX_ANSWERS_TO_QUESTIONS, MAX_EVENT_BYTES, MAX_ROUNDS},
    link, modern, reads_events,
    session::Session,
    settle,
    stream::{EventBody, Feed},
    uris::Uris,
};
use crate::{
    mcp::{
        Envelope, Kind,
        error::{self, code},
        message::{self, Peek},
        params::MetaKey,
        splice::Splice,
        sse::Parser,
        version::{Era, Revision},
    },
    telemetry::{Outcome, Record},
    upstream::{Behalf, Endpoint, Upstream, UpstreamBody, UpstreamError},
};

/// Asks a modern server on behalf of a legacy client.
pub(super) async fn ask(
    call: &Call<'_>,
    envelope: &Envelope<'_>,
    forwarded: Forwarded<'_>,
) -> Result<Response<Body>, Refused> {
    let Forwarded {
        seen,
        id,
        method,
        subject,
        mut headers,
        body,
        record,
        share,
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
    modern::route(&mut headers, method, subject.as_deref());
    if let Some(entry) = envelope.tool().and_then(|tool| call.view.tools.get(tool))
        && let Some(parameters) = &seen.catalogue.tools[entry.item].param_headers
    {
        let written = parameters.write(envelope.params.arguments, &mut headers);
        if let Err(rejection) = written {
            return refuse(Refused::rejection(rejection), record);
        }
    }
    let asked = Asked {
        upstream,
        behalf: call.behalf(),
        headers,
        body: introduced(&body, &session),
        id: id.to_owned(),
        uris: Uris::of(&call.view, server),
        reads: method == "resources/read",
    };
    let (feed, body, gone) = EventBody::new();
    let (head, begun) = oneshot::channel();
    let talks = reads_events(call.head);
    let work = Work {
        asked,
        session: Arc::clone(&session),
        feed,
        record,
        talks,
        _share: share,
    };
    tokio::spawn(work.run(head, gone));
    match begun.await {
        Ok(Begun::Whole(answer)) => *answer,
        Ok(Begun::Stream) => Ok(answer::events(Body::events(body))),
        // The client has cancelled the call, and waits for nothing.
        Err(_) if talks => Ok(answer::events(Body::events(body))),
        Err(_) => Ok(answer::ok(taken_back(id))),
    }
}

/// How an answer begins.
enum Begun {
    /// It is whole, or there is none.
    Whole(Box<Result<Response<Body>, Refused>>),
    /// What else there is to say comes as events.
    Stream,
}

/// A call on its way. It goes on without the client, to its own deadline: a legacy client that goes away has not
/// cancelled.
struct Work {
    asked: Asked,
    session: Arc<Session>,
    feed: Feed,
    record: Option<Record>,
    /// Whether the client reads event streams.
    talks: bool,
    /// The body may have to be sent again, so that it counts to the end.
    _share: Share,
}

impl Work {
    /// Until the answer has come, the call is cancelled, or the client has `gone` and too many others have, too.
    async fn run(self, head: oneshot::Sender<Begun>, gone: CancellationToken) {
        let cancelled = CancellationToken::new();
        let session = Arc::clone(&self.session);
        let _in_flight = InFlight::begin(&session, &self.asked.id, Era::Legacy, Cancel::token(&cancelled));
        let orphaned = async {
            gone.cancelled().await;
            match session.orphans.try_acquire() {
                Ok(_room) => std::future::pending().await,
                Err(_) => tracing::debug!("too many calls go on without their clients: one ends with its client"),
            }
        };
        tokio::select! {
            () = self.answer(head) => {}
            () = orphaned => {}
            () = cancelled.cancelled() => {}
        }
    }

    async fn answer(mut self, head: oneshot::Sender<Begun>) {
        // Nobody may be waiting for it any more.
        let begin = |begun| drop(head.send(begun));
        let answered = |answer| Begun::Whole(Box::new(answer));
        let next = match self.ask().await {
            Ok(Asking::Goes(next)) => next,
            Ok(Asking::Answered(status, whole, needs_input)) => {
                let answer = done(&self.asked, status, whole, self.record, needs_input);
                return begin(answered(Ok(answer)));
            }
            Err(refused) => return begin(answered(refused.ending(Some(&self.asked.id), self.record))),
        };
        begin(Begun::Stream);
        let conversation = Conversation {
            asked: &self.asked,
            session: &self.session,
            feed: self.feed,
            record: self.record,
        };
        conversation.run(next).await;
    }

    /// Asks the server, and waits for what can be told at once.
    async fn ask(&mut self) -> Result<Asking, Refused> {
        let server = &self.asked.upstream.server().name;
        let record = &mut self.record;
        let sent_to = |endpoint: &Endpoint| {
            if let Some(record) = record {
                record.sent_to(endpoint.address());
                record.leaving();
            }
        };
        let response = self.asked.send(0, &[], sent_to).await;
        let response = response.map_err(|error| forward::unreachable(server, &error))?;
        if let Some(record) = &mut self.record {
            record.answered(response.version());
        }
        let (status, streams) = (response.status(), is_events(response.headers()));
        if streams && self.talks {
            return Ok(Asking::Goes(Next::Stream(response.into_body())));
        }
        let whole = match streams {
            true => collect::answer(response, self.asked.id.get()).await,
            false => collect::whole(response.into_body()).await,
        };
        let whole = whole.map_err(|error| forward::unanswered(server, &error.into()))?;
        let needs_input = message::is_input_required(&whole);
        Ok(match needs_input && self.talks && !self.session.shared {
            true => Asking::Goes(Next::Answer(whole)),
            false => Asking::Answered(status, whole, needs_input),
        })
    }
}

/// What has come of asking the server.
enum Asking {
    /// The answer, and whether it is a question.
    Answered(StatusCode, Bytes, bool),
    /// It goes on with this.
    Goes(Next),
}

/// What a client gets that has cancelled its call and reads no event streams.
fn taken_back(id: &RawValue) -> Bytes {
    error::body::<()>(Some(id), code::TAKEN_BACK, "The call was cancelled by its client", None)
}

/// A request to a modern server, which may be sent again with what the server wanted to know.
struct Asked {
    upstream: Arc<Upstream>,
    behalf: Option<Behalf>,
    headers: HeaderMap,
    body: Bytes,
    id: Box<RawValue>,
    /// The URIs that are others for the client, if there are any.
    uris: Option<Uris>,
    /// Whether it is to read a resource.
    reads: bool,
}

impl Asked {
    /// An answer, with the URIs that the client knows.
    fn told(&self, answer: Bytes) -> Bytes {
        match &self.uris {
            Some(uris) => uris.changed(answer),
            None => answer,
        }
    }

    /// Sends it; the `round`th time with these members in `params`, and under another id, as the protocol wants it.
    async fn send(
        &self,
        round: usize,
        members: &[(&str, &[u8])],
        sent_to: impl FnMut(&Endpoint),
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let mut body = self.body.clone();
        if round > 0
            && let Ok(envelope) = Envelope::parse(&self.body)
            && let params = &envelope.params
            && let Some(inside) = params.whole.and_then(|params| params.members())
            && let Some(id) = envelope.id_span()
        {
            let mut splice = Splice::new(&self.body);
            splice.replace(id, format!("\"mcpgw-retry-{round}\""));
            for (name, value) in members {
                let present = match *name {
                    "requestState" => params.request_state,
                    "inputResponses" => params.input_responses,
                    _ => None,
                };
                match present {
                    Some(part) => splice.replace(part.span(), *value),
                    None => splice.insert_member(inside, name, value),
                }
            }
            body = splice.finish();
        }
        let request = || link::post(&self.upstream, body.clone(), &self.headers, self.behalf.clone());
        let (_, response) = self.upstream.ask_any(request, sent_to).await?;
        Ok(response)
    }
}

/// The body with what a modern server must be told about the client.
fn introduced(body: &Bytes, session: &Session) -> Bytes {
    let Ok(envelope) = Envelope::parse(body) else {
        return body.clone();
    };
    let version = format!("\"{}\"", Revision::MODERN.as_str());
    let info = session.facts.client_info.to_string();
    let capabilities = session.facts.capabilities.to_string();
    let mut splice = Splice::new(body);
    let members = [
        (MetaKey::ProtocolVersion, &*version),
        (MetaKey::ClientInfo, &*info),
        (MetaKey::ClientCapabilities, &*capabilities),
    ];
    envelope.set_meta(&mut splice, &members);
    splice.finish()
}

/// The answer, whole. Modern servers say some things by the HTTP status that legacy clients look for in the body.
fn done(asked: &Asked, status: StatusCode, whole: Bytes, record: Option<Record>, needs_input: bool) -> Response<Body> {
    let body = match needs_input {
        false => errors::to_legacy(asked.told(whole), asked.reads),
        true => {
            let message = "The server wants to ask something, and this client cannot be asked";
            error::body::<()>(Some(&asked.id), code::INPUT_REQUIRED, message, None)
        }
    };
    if let Some(mut record) = record {
        settle(&mut record, &asked.id, StatusCode::OK, &body);
    }
    let is_answer = message::is_response(&body);
    let mut response = answer::ok(body);
    if !is_answer && !status.is_success() {
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    response
}

/// What is to be read next.
enum Next {
    Answer(Bytes),
    Stream(UpstreamBody),
}

struct Conversation<'a> {
    asked: &'a Asked,
    session: &'a Arc<Session>,
    feed: Feed,
    record: Option<Record>,
}

/// What a server wants to know before it answers.
#[derive(Deserialize)]
struct Questions<'a> {
    #[serde(borrow)]
    result: Wanted<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted<'a> {
    #[serde(borrow, default)]
    input_requests: BTreeMap<String, Question<'a>>,
    #[serde(borrow)]
    request_state: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Question<'a> {
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

impl Conversation<'_> {
    async fn run(self, mut next: Next) {
        for round in 1..=MAX_ROUNDS {
            let message = match next {
                Next::Answer(message) => message,
                Next::Stream(body) => match self.follow(body).await {
                    Some(message) => message,
                    None => return self.fail("the server's stream ended without an answer").await,
                },
            };
            if !message::is_input_required(&message) {
                return self.finish(message).await;
            }
            next = match self.round(round, &message).await {
                Ok(next) => next,
                Err(why) => return self.fail(&why).await,
            };
        }
        self.fail("the server asked too many times").await;
    }

    /// Passes on what a server says, up to its answer.
    async fn follow(&self, mut body: UpstreamBody) -> Option<Bytes> {
        let mut parser = Parser::new(MAX_EVENT_BYTES);
        loop {
            for event in parser.by_ref() {
                let event = event.ok()?;
                let Some(data) = event.data else { continue };
                match Peek::new(&data).ok().map(|message| message.kind) {
                    Some(Kind::Response) => return Some(data),
                    // Modern servers ask in their answers.
                    Some(Kind::Request) | None => {}
                    Some(Kind::Notification) => {
                        // A client that has gone has not taken the call back.
                        let _ = self.feed.message(&data).await;
                    }
                }
            }
            let frame = body.frame().await?.ok()?;
            if let Ok(chunk) = frame.into_data() {
                parser.feed(&chunk);
            }
        }
    }

    /// Asks the client what the server wants to know, and the server again.
    async fn round(&self, round: usize, message: &Bytes) -> Result<Next, String> {
        let questions: Questions<'_> = serde_json::from_slice(message)
            .map_err(|error| format!("the server's questions cannot be read: {error}"))?;
        let mut responses: BTreeMap<&str, Box<RawValue>> = BTreeMap::new();
        let asked = async {
            let mut room = MAX_ANSWERS_TO_QUESTIONS;
            for (key, question) in &questions.result.input_requests {
                let response = self.question(question).await?;
                let left = room.checked_sub(response.get().len());
                room = left.ok_or("the client's answers to the server's questions are too long")?;
                responses.insert(key, response);
            }
            Ok::<(), String>(())
        };
        timeout(ANSWER_TIMEOUT, asked)
            .await
            .map_err(|_| "the client did not answer the server's question in time".to_owned())??;
        let responses = serde_json::to_string(&responses).map_err(|error| error.to_string())?;
        let mut members: Vec<(&str, &[u8])> = Vec::new();
        if !questions.result.input_requests.is_empty() {
            members.push(("inputResponses", responses.as_bytes()));
        }
        if let Some(state) = questions.result.request_state {
            members.push(("requestState", state.get().as_bytes()));
        }
        let response = self
            .asked
            .send(round, &members, |_| {})
            .await
            .map_err(|error| error.explain())?;
        if is_events(response.headers()) {
            return Ok(Next::Stream(response.into_body()));
        }
        let whole = collect::whole(response.into_body())
            .await
            .map_err(|error| error.to_string())?;
        Ok(Next::Answer(whole))
    }

    /// What the client answers, byte for byte.
    async fn question(&self, question: &Question<'_>) -> Result<Box<RawValue>, String> {
        #[derive(Serialize)]
        struct Asked<'a> {
            jsonrpc: &'static str,
            id: &'a str,
            method: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            params: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Answered {
            result: Option<Box<RawValue>>,
            error: Option<Refusal>,
        }
        #[derive(Deserialize)]
        struct Refusal {
            message: String,
        }
        let gone = || "the client has gone".to_owned();
        let (id, answered) = self.session.ask();
        let request = serde_json::to_vec(&Asked {
            jsonrpc: "2.0",
            id: id.text(),
            method: &question.method,
            params: question.params,
        });
        let request = request.map_err(|error| error.to_string())?;
        if !self.feed.message(&request).await {
            return Err(gone());
        }
        let body = answered.await.map_err(|_| gone())?;
        match serde_json::from_slice(&body) {
            Ok(Answered {
                result: Some(result), ..
            }) => Ok(result),
            Ok(Answered { error: Some(error), .. }) => Err(format!("the client refused: {}", error.message)),
            _ => Err("the client's answer cannot be read".to_owned()),
        }
    }

    async fn finish(mut self, message: Bytes) {
        // The client knows the id of its own request only.
        let message = match Peek::new(&message).ok().and_then(|peek| peek.id) {
            Some(id) => {
                let mut splice = Splice::new(&message);
                splice.replace(id.span(), self.asked.id.get());
                splice.finish()
            }
            None => message,
        };
        let message = errors::to_legacy(self.asked.told(message), self.asked.reads);
        if let Some(record) = &mut self.record {
            settle(record, &self.asked.id, StatusCode::OK, &message);
        }
        self.feed.message(&message).await;
    }

    async fn fail(mut self, why: &str) {
        if let Some(record) = &mut self.record {
            record.outcome(Outcome::Error, None);
        }
        let server = &self.asked.upstream.server().name;
        let body = error::body::<()>(
            Some(&self.asked.id),
            code::of_status(StatusCode::BAD_GATEWAY.as_u16()),
            &format!("MCP server {server}: {why}"),
            None,
        );
        self.feed.message(&body).await;
    }
}
