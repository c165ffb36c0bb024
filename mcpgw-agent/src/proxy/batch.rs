//! Several messages in one body, as revision 2025-03-26 has them: taken apart, and their answers put together.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;

use super::{
    exchange::Body,
    is_events,
    limits::{MAX_EVENT_BYTES, MAX_REWRITTEN_ANSWER},
    refused::{Refused, accepted, json},
    relay::RelayError,
};
use crate::{
    mcp::{
        Envelope,
        batch::split,
        gathered::Gathered,
        headers,
        held::Held,
        method::Method,
        sse::Parser,
        version::{Era, era},
    },
    shares::Payer,
};

/// The messages of a batch, each with its bytes. Everything is read before anything is sent: a batch that is wrong in
/// one place is refused whole.
pub(super) fn messages<'b>(headers: &HeaderMap, body: &'b Bytes) -> Result<Vec<(Envelope<'b>, Bytes)>, Refused> {
    let refused = |message| Refused::new(StatusCode::BAD_REQUEST, "batch", message);
    let mut messages = Vec::new();
    for element in split(body).map_err(|refused| Refused::envelope(&refused))? {
        let envelope = Envelope::parse(element).map_err(|refused| Refused::envelope(&refused))?;
        if era(headers, &envelope) == Era::Modern {
            return Err(refused("A batch has no messages of a revision that has no batches"));
        }
        headers::check_claims(headers, &envelope).map_err(Refused::headers)?;
        if envelope.known() == Some(Method::Initialize) {
            return Err(refused("initialize must not be part of a batch"));
        }
        messages.push((envelope, body.slice_ref(element)));
    }
    Ok(messages)
}

/// The answers to the requests of a batch, put together.
pub(super) struct Answers {
    array: BytesMut,
    held: Held,
}

impl Answers {
    /// None yet, to what this payer asked.
    pub(super) fn of(payer: Payer) -> Self {
        Self {
            array: BytesMut::new(),
            held: Held::new(payer),
        }
    }

    /// Adds one.
    pub(super) fn add(&mut self, answer: &[u8]) -> Result<(), Refused> {
        let length = self.array.len() + answer.len();
        if length > MAX_REWRITTEN_ANSWER || !self.held.hold(length) {
            let message = "The answers to this batch are too large together";
            return Err(Refused::new(StatusCode::BAD_GATEWAY, "upstream_answer", message));
        }
        self.array.put_u8(if self.array.is_empty() { b'[' } else { b',' });
        self.array.put_slice(answer);
        Ok(())
    }

    /// All of them as one answer: an array, or nothing if there was no request.
    pub(super) fn response(mut self) -> Response<Body> {
        if self.array.is_empty() {
            return accepted();
        }
        self.array.put_u8(b']');
        json(StatusCode::OK, self.held.keep(self.array.freeze()))
    }
}

/// Reads the messages of an answer of any form, one after the other.
pub(super) struct Messages {
    body: Body,
    /// Absent where the whole body is one message.
    events: Option<Parser>,
    /// What came of that message; absent where all has come.
    whole: Option<Gathered>,
}

impl Messages {
    /// Of this answer, which this payer asked for.
    pub(super) fn of(answer: Response<Body>, payer: Payer) -> Self {
        Self {
            events: is_events(answer.headers()).then(|| Parser::new(MAX_EVENT_BYTES, payer)),
            body: answer.into_body(),
            whole: Some(Gathered::new(MAX_REWRITTEN_ANSWER, payer)),
        }
    }

    /// The next one; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        let refused = |reason, message: String| Refused::new(StatusCode::BAD_GATEWAY, reason, message);
        let too_large = || refused("upstream_answer", "The server's answer is too large".to_owned());
        let broken =
            |error: RelayError| refused("upstream_closed", format!("The server's answer is not whole: {error}"));
        loop {
            for event in self.events.iter_mut().flatten() {
                if let Some(data) = event.map_err(|_| too_large())?.data {
                    return Ok(Some(data));
                }
            }
            let Some(whole) = &mut self.whole else {
                return Ok(None);
            };
            let Some(frame) = self.body.frame().await else {
                let whole = self.whole.take().map(Gathered::keep);
                return Ok(whole.filter(|whole| !whole.is_empty()));
            };
            let Ok(chunk) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            match &mut self.events {
                Some(parser) => parser.feed(&chunk),
                None => whole.push(&chunk).map_err(|_| too_large())?,
            }
        }
    }
}
