//! Looks on while an answer streams by, and tells at its end what it was.
//!
//! Nothing is delayed or changed. Of a JSON answer cheap clones of its chunks are kept, of an event stream no
//! more than the event that is being received; both up to [`MAX_OBSERVED`].

use bytes::Bytes;
use http::{HeaderMap, header};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Number, value::RawValue};

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
    /// A JSON-RPC error.
    Error,
    /// It ended without an answer to the request.
    Absent,
    /// It cannot be told: too large, encoded, or an event stream that the client may resume later.
    Unknown,
}

/// Watches one answer. Feed it every chunk, then ask.
pub struct AnswerObserver {
    id: Option<Id>,
    state: State,
}

enum State {
    Json { chunks: Vec<Bytes>, size: usize },
    Events(Events),
    Known(Answer),
}

impl AnswerObserver {
    /// For the answer to the request with this id, by the headers of the response.
    pub fn new(id: Option<&RawValue>, headers: &HeaderMap) -> Self {
        let id = id.and_then(|id| serde_json::from_str(id.get()).ok());
        let media = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        let state = if headers.contains_key(header::CONTENT_ENCODING) {
            State::Known(Answer::Unknown)
        } else if media.eq_ignore_ascii_case("text/event-stream") {
            State::Events(Events::default())
        } else {
            State::Json {
                chunks: Vec::new(),
                size: 0,
            }
        };
        Self { id, state }
    }

    /// Looks at the next chunk.
    pub fn feed(&mut self, chunk: &Bytes) {
        let answer = match &mut self.state {
            State::Known(_) => return,
            State::Json { chunks, size } => {
                *size += chunk.len();
                chunks.push(chunk.clone());
                (*size > MAX_OBSERVED).then_some(Answer::Unknown)
            }
            State::Events(events) => events.feed(chunk, self.id.as_ref()),
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

    /// What the answer was, now that it has ended.
    pub fn finish(&mut self) -> Answer {
        match &self.state {
            State::Known(answer) => *answer,
            State::Json { chunks, .. } => {
                let whole = match chunks.as_slice() {
                    [one] => one.clone(),
                    many => many.concat().into(),
                };
                read(&whole, self.id.as_ref()).unwrap_or(Answer::Absent)
            }
            State::Events(events) if events.resumable => Answer::Unknown,
            State::Events(_) => Answer::Absent,
        }
    }
}

/// An id by its value: `1` and `1`, `"a"` and `"\u0061"` are the same.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(Number),
    Text(String),
}

/// The answer in one JSON-RPC message, if it is the answer to `id`.
fn read(message: &[u8], id: Option<&Id>) -> Option<Answer> {
    #[derive(Deserialize)]
    struct Message {
        method: Option<IgnoredAny>,
        id: Option<Id>,
        result: Option<ResultPart>,
        error: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum ResultPart {
        Object {
            #[serde(rename = "isError", default)]
            is_error: bool,
        },
        Other(IgnoredAny),
    }
    let message: Message = serde_json::from_slice(message).ok()?;
    if message.method.is_some() {
        return None;
    }
    // A server that could not read the request answers with a null id.
    if message.error.is_some() && (message.id.is_none() || message.id.as_ref() == id) {
        return Some(Answer::Error);
    }
    if message.id.as_ref() != id {
        return None;
    }
    match message.result? {
        ResultPart::Object { is_error } => Some(Answer::Result { is_error }),
        ResultPart::Other(_) => Some(Answer::Result { is_error: false }),
    }
}

/// Cuts an event stream into events.
#[derive(Default)]
struct Events {
    /// The beginning of an event whose end has not come.
    partial: Vec<u8>,
    /// An event carried an id: the client may resume the stream.
    resumable: bool,
}

impl Events {
    fn feed(&mut self, chunk: &Bytes, id: Option<&Id>) -> Option<Answer> {
        // The usual case, whole events in one chunk, is read in place.
        let mut joined = std::mem::take(&mut self.partial);
        let stream: &[u8] = if joined.is_empty() {
            chunk
        } else {
            joined.extend_from_slice(chunk);
            &joined
        };
        let mut rest = stream;
        while let Some((event, after)) = next_event(rest) {
            if let Some(answer) = self.event(event, id) {
                return Some(answer);
            }
            rest = after;
        }
        if rest.len() > MAX_OBSERVED {
            return Some(Answer::Unknown);
        }
        self.partial = rest.to_vec();
        None
    }

    fn event(&mut self, event: &[u8], id: Option<&Id>) -> Option<Answer> {
        let mut data: Option<std::borrow::Cow<'_, [u8]>> = None;
        for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
            if line.starts_with(b"id:") {
                self.resumable = true;
            }
            let Some(value) = line.strip_prefix(b"data:") else {
                continue;
            };
            match &mut data {
                None => data = Some(value.into()),
                Some(data) => {
                    data.to_mut().push(b'\n');
                    data.to_mut().extend_from_slice(value);
                }
            }
        }
        read(&data?, id)
    }
}

/// Splits at the first blank line: the event before it and what follows. A line ends with LF, CR or CR LF.
fn next_event(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut line_start = 0;
    while let Some(length) = stream[line_start..]
        .iter()
        .position(|byte| matches!(byte, b'\n' | b'\r'))
    {
        let line_end = line_start + length;
        let after = match (stream[line_end], stream.get(line_end + 1)) {
            (b'\r', Some(b'\n')) => line_end + 2,
            // An LF may still come; it belongs to this line end.
            (b'\r', None) => return None,
            _ => line_end + 1,
        };
        if length == 0 {
            return Some((&stream[..line_start], &stream[after..]));
        }
        line_start = after;
    }
    None
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
