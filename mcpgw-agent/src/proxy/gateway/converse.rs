//! What a modern server says to a legacy client, up to the answer: what it wants to know in between, the client is
//! asked as it knows it, by a request on the stream of its call.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{
    super::is_events,
    asked::Asked,
    collect, errors,
    limits::{ANSWER_TIMEOUT, MAX_ANSWERS_TO_QUESTIONS, MAX_EVENT_BYTES, MAX_ROUNDS},
    session::Session,
    settle,
    stream::{Feed, Unsent},
};
use crate::{
    mcp::{
        Kind,
        error::{self, code},
        message::{self, Id, Peek},
        sse::{self, Parser},
    },
    telemetry::{Outcome, Record},
    upstream::UpstreamBody,
};

/// Why a call ends that its server never answers but with questions.
pub(super) const ASKED_TOO_OFTEN: &str = "the server asked too many times";

/// What is to be read next.
pub(super) enum Next {
    Answer(Bytes),
    /// A stream, and the id of the request whose answer it leads to.
    Stream(UpstreamBody, Option<Id>),
}

/// A call whose client hears by events what becomes of it.
pub(super) struct Conversation<'a> {
    pub(super) asked: &'a Asked,
    pub(super) session: &'a Arc<Session>,
    pub(super) feed: Feed,
    pub(super) record: Option<Record>,
}

/// What a server wants to know before it answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Questions<'a> {
    #[serde(borrow, default)]
    input_requests: BTreeMap<String, Question<'a>>,
    #[serde(borrow)]
    request_state: Option<&'a RawValue>,
}

impl<'a> Questions<'a> {
    /// Reads a result that has them.
    pub(super) fn of(message: &'a [u8]) -> Result<Self, Failed> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            result: Questions<'a>,
        }
        let answer: Answer<'a> = serde_json::from_slice(message)
            .map_err(|error| format!("the server's questions cannot be read: {error}"))?;
        Ok(answer.result)
    }

    /// What the server wants to be given again, where that is all: nobody need be asked.
    pub(super) fn only_state(&self) -> Option<&'a RawValue> {
        self.request_state.filter(|_| self.input_requests.is_empty())
    }
}

const NO_ROOM: &str = "There is no room for the answer: too much waits to be read";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// There is nobody to ask.
    #[error("{CANNOT_BE_ASKED}")]
    CannotBeAsked,
    /// The answer is there, and has no room to wait in.
    #[error("{NO_ROOM}")]
    NoRoom,
    /// Something else was in the way.
    #[error("{0}")]
    Otherwise(String),
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self::Otherwise(why)
    }
}

impl From<&str> for Failed {
    fn from(why: &str) -> Self {
        Self::Otherwise(why.to_owned())
    }
}

/// What a client hears that would have to be asked, and cannot be.
pub(super) const CANNOT_BE_ASKED: &str = "The server wants to ask something, and this client cannot be asked";

#[derive(Deserialize)]
struct Question<'a> {
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

impl Conversation<'_> {
    /// To the answer, or until it is known that there is none.
    pub(super) async fn run(self, mut next: Next) {
        for round in 1..=MAX_ROUNDS {
            let message = match next {
                Next::Answer(message) => message,
                Next::Stream(body, id) => match self.follow(body, id.as_ref()).await {
                    Some(message) => message,
                    None => return self.fail("the server's stream ended without an answer".into()).await,
                },
            };
            if !message::is_input_required(&message) {
                return self.finish(message).await;
            }
            next = match self.round(round, &message).await {
                Ok(next) => next,
                Err(why) => return self.fail(why).await,
            };
        }
        self.fail(ASKED_TOO_OFTEN.into()).await;
    }

    /// Passes on what a server says, up to its answer.
    async fn follow(&self, mut body: UpstreamBody, id: Option<&Id>) -> Option<Bytes> {
        let mut parser = Parser::new(MAX_EVENT_BYTES, body.payer());
        loop {
            for event in parser.by_ref() {
                let event = event.ok()?;
                let Some(data) = event.data else { continue };
                let Ok(message) = Peek::new(&data) else { continue };
                match message.kind {
                    Kind::Response if message.answers(id) => return Some(data),
                    // Modern servers ask in their answers.
                    Kind::Request | Kind::Response => {}
                    Kind::Notification => {
                        // A client that has gone has not taken the call back, and where there is no room for this there
                        // may be some for the answer.
                        let _ = self.feed.offer(sse::event(&data, None, None)).await;
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
    async fn round(&self, round: usize, message: &Bytes) -> Result<Next, Failed> {
        let questions = Questions::of(message)?;
        // Those who share a session have no way to answer.
        if self.session.shared && !questions.input_requests.is_empty() {
            return Err(Failed::CannotBeAsked);
        }
        let mut responses: BTreeMap<&str, Box<RawValue>> = BTreeMap::new();
        let asked = async {
            let mut room = MAX_ANSWERS_TO_QUESTIONS;
            for (key, question) in &questions.input_requests {
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
        if !questions.input_requests.is_empty() {
            members.push(("inputResponses", responses.as_bytes()));
        }
        if let Some(state) = questions.request_state {
            members.push(("requestState", state.get().as_bytes()));
        }
        let response = self
            .asked
            .send(round, &members, |_| {})
            .await
            .map_err(|error| error.explain())?;
        let id = self.asked.sent_id(round);
        if is_events(response.headers()) {
            return Ok(Next::Stream(response.into_body(), Id::parse(&id)));
        }
        let answer = collect::answer(response, &id).await;
        answer.map(Next::Answer).map_err(|error| error.to_string().into())
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
        match self.feed.offer(sse::event(&request, None, None)).await {
            Ok(()) => {}
            Err(Unsent::Gone) => return Err(gone()),
            Err(Unsent::NoRoom) => {
                return Err("there is no room for its question: too much waits to be read".to_owned());
            }
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
        let message = self.asked.named(message);
        let message = errors::to_legacy(self.asked.told(message), self.asked.reads);
        let sent = self.feed.offer(sse::event(&message, None, None)).await;
        if sent == Err(Unsent::NoRoom) {
            return self.fail(Failed::NoRoom).await;
        }
        if let Some(record) = &mut self.record {
            settle(record, &self.asked.id, StatusCode::OK, &message);
        }
    }

    async fn fail(mut self, why: Failed) {
        if let Some(record) = &mut self.record {
            record.outcome(Outcome::Error, None);
        }
        let server = &self.asked.upstream.server().name;
        let (code, message) = match why {
            Failed::CannotBeAsked => (code::INPUT_REQUIRED, CANNOT_BE_ASKED.to_owned()),
            Failed::NoRoom => (
                code::of_status(StatusCode::SERVICE_UNAVAILABLE.as_u16()),
                NO_ROOM.to_owned(),
            ),
            Failed::Otherwise(why) => (
                code::of_status(StatusCode::BAD_GATEWAY.as_u16()),
                format!("MCP server {server}: {why}"),
            ),
        };
        let body = error::body::<()>(Some(&self.asked.id), code, &message, None);
        self.feed.message(&body).await;
    }
}
