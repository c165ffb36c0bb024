//! Looks on while an answer streams by, and tells at its end what it was.
//!
//! Nothing is delayed or changed. Of a JSON answer the bytes are kept, of an event stream no more than the event
//! that is being received; both up to [`MAX_OBSERVED`]. What comes whole in one chunk is not copied.

use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::value::RawValue;

use super::{
    gathered::Gathered,
    media::is_events,
    message::{Id, Peek, ResultKind},
    sse::{Event, Line, Parser},
};
use crate::shares::Payer;

/// Bytes of one answer (in an event stream: of one event) that are kept to be understood. A larger answer
/// is [`Answer::Unknown`].
pub const MAX_OBSERVED: usize = 256 * 1024;

/// What the answer to a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A result; for a tool call, whether it says `isError`.
    Result {
        /// The tool ran and failed.
        is_error: bool,
    },
    /// Questions to the client, which is to ask again with its answers.
    InputRequired,
    /// A JSON-RPC error.
    Error {
        /// Its code, if it has one.
        code: Option<i64>,
    },
    /// It ended without an answer to the request.
    Absent,
    /// The stream ended before the answer, and the client can resume it.
    Resumable,
    /// It cannot be told: too large, or encoded.
    Unknown,
}

/// Watches one answer. Feed it every chunk, then ask.
pub struct AnswerObserver {
    id: Option<Id>,
    state: State,
}

enum State {
    Json(Gathered),
    Events {
        parser: Parser,
        /// The last id that an event had: the client may resume the stream behind it.
        last_id: Option<Line>,
    },
    Known(Answer),
}

impl AnswerObserver {
    /// For the answer to the request with this id, by the headers of the response; of what this payer asked for.
    pub fn new(id: Option<&RawValue>, headers: &HeaderMap, payer: Payer) -> Self {
        let state = if headers.contains_key(header::CONTENT_ENCODING) {
            State::Known(Answer::Unknown)
        } else if is_events(headers) {
            State::Events {
                parser: Parser::new(MAX_OBSERVED, payer),
                last_id: None,
            }
        } else {
            State::Json(Gathered::new(MAX_OBSERVED, payer))
        };
        Self {
            id: id.and_then(Id::of),
            state,
        }
    }

    /// For an answer that is one JSON message.
    pub fn of_json(id: Option<&RawValue>, payer: Payer) -> Self {
        Self {
            id: id.and_then(Id::of),
            state: State::Json(Gathered::new(MAX_OBSERVED, payer)),
        }
    }

    /// Looks at the next chunk.
    pub fn feed(&mut self, chunk: &Bytes) {
        let answer = match &mut self.state {
            State::Known(_) => return,
            State::Json(gathered) => gathered.push(chunk).is_err().then_some(Answer::Unknown),
            State::Events { parser, last_id } => {
                parser.feed(chunk);
                parser.find_map(|event| match event {
                    Ok(event) => look(event, last_id, self.id.as_ref()),
                    Err(_) => Some(Answer::Unknown),
                })
            }
        };
        if let Some(answer) = answer {
            self.state = State::Known(answer);
        }
    }

    /// What is known already, while more may come: an event stream may have brought the answer.
    pub fn known(&self) -> Option<Answer> {
        match self.state {
            State::Known(answer) => Some(answer),
            _ => None,
        }
    }

    /// Whether the client could resume the stream behind what it has, and the answer is still to come.
    pub fn is_resumable(&self) -> bool {
        matches!(self.state, State::Events { last_id: Some(_), .. })
    }

    /// What the answer was, now that it has ended.
    pub fn finish(&mut self) -> Answer {
        match &self.state {
            State::Known(answer) => *answer,
            State::Json(gathered) => read(gathered.bytes(), self.id.as_ref()).unwrap_or(Answer::Absent),
            State::Events { last_id: Some(_), .. } => Answer::Resumable,
            State::Events { last_id: None, .. } => Answer::Absent,
        }
    }
}

/// The answer in one event. Clients take notice of events of type `message` only.
fn look(event: Event, last_id: &mut Option<Line>, id: Option<&Id>) -> Option<Answer> {
    if let Some(id) = event.id {
        *last_id = Some(id).filter(|id| !id.as_bytes().is_empty());
    }
    match event
        .kind
        .is_none_or(|kind| kind == Line::MESSAGE || kind.as_bytes().is_empty())
    {
        true => read(&event.data?, id),
        false => None,
    }
}

/// The answer in one JSON-RPC message, if it is the answer to `id`.
fn read(message: &[u8], id: Option<&Id>) -> Option<Answer> {
    let message = Peek::new(message).ok().filter(|message| message.answers(id))?;
    if message.is_error() {
        return Some(Answer::Error {
            code: message.error_code(),
        });
    }
    let result = message.result().ok()??;
    Some(match result.kind {
        ResultKind::InputRequired => Answer::InputRequired,
        _ => Answer::Result {
            is_error: result.is_error,
        },
    })
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
