//! A legacy client asks a modern server. What the server wants to know in between, it is asked of the client in the
//! way that the client knows: as a request on the stream of its call.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{
    super::{exchange::Body, is_events, refused::Refused},
    Call, answer, collect, errors,
    forward::{self, Forwarded},
    limits::{ANSWER_TIMEOUT, MAX_ANSWERS_TO_QUESTIONS, MAX_EVENT_BYTES, MAX_ROUNDS},
    link, modern, reads_events,
    session::{Cancel, Session},
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
        version::Revision,
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
        mut record,
        share,
    } = forwarded;
    let server = seen.server.name();
    let refuse = |refused: Refused, record| refused.ending(Some(id), record);
    let Some(upstream) = call.shared.upstreams.of(&seen.server.wanted) else {
        return refuse(Refused::gone(server), record);
    };
    let session = call.session();
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
    let sent_to = |endpoint: &Endpoint| {
        if let Some(record) = &mut record {
            record.sent_to(endpoint.address());
            record.leaving();
        }
    };
    let response = match asked.send(0, &[], sent_to).await {
        Ok(response) => response,
        Err(error) => return refuse(forward::unreachable(server, &error), record),
    };
    drop(share);
    if let Some(record) = &mut record {
        record.answered(response.version());
    }
    let streams = is_events(response.headers());
    let talks = reads_events(call.head);
    if !streams {
        let status = response.status();
        let whole = match collect::whole(response.into_body()).await {
            Ok(whole) => whole,
            Err(error) => return refuse(forward::unanswered(server, &error.into()), record),
        };
        let needs_input = message::is_input_required(&whole);
        if !needs_input || !talks || session.shared {
            return Ok(done(&asked, status, whole, record, needs_input));
        }
        return Ok(converse(asked, session, record, Next::Answer(whole)));
    }
    if !talks {
        let status = response.status();
        return match collect::answer(response, id.get()).await {
            Ok(whole) => {
                let needs_input = message::is_input_required(&whole);
                Ok(done(&asked, status, whole, record, needs_input))
            }
            Err(error) => refuse(forward::unanswered(server, &error.into()), record),
        };
    }
    Ok(converse(asked, session, record, Next::Stream(response.into_body())))
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

/// Goes on as a stream of events to the client.
fn converse(asked: Asked, session: Arc<Session>, record: Option<Record>, next: Next) -> Response<Body> {
    let (feed, body, gone) = EventBody::new();
    tokio::spawn(async move {
        let cancelled = tokio_util::sync::CancellationToken::new();
        let _note = session.begin(&asked.id, Cancel::token(&cancelled));
        let conversation = Conversation {
            asked: &asked,
            session: &session,
            feed,
            record,
        };
        tokio::select! {
            () = conversation.run(next) => {}
            // A legacy client that goes away has not cancelled, but there is nobody left to tell the answer to.
            () = gone.cancelled() => {}
            () = cancelled.cancelled() => {}
        }
    });
    answer::events(Body::events(body))
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
                        self.feed.message(&data).await.then_some(())?;
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
