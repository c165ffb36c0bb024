//! Changes messages of an answer on their way: some of them, in few places; all else passes byte for byte.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::limits::{MAX_EVENT_BYTES, MAX_REWRITTEN_ANSWER};
use crate::{
    mcp::{
        held::Held,
        sse::{self, Event, Line, Parser},
    },
    shares::Payer,
};

/// What becomes of one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rewritten {
    /// It passes as it is.
    Keep,
    /// This instead.
    Replace(Bytes),
    /// Nothing.
    Drop,
}

/// The id of an event on its way to the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EventId {
    /// The server's.
    Keep,
    /// Another one.
    Other(Line),
    /// None: the client cannot resume the stream.
    None,
}

/// Decides about messages.
pub(super) trait Rewrite: Send {
    /// What becomes of a message of the server.
    fn message(&mut self, message: &Bytes) -> Rewritten;

    /// What becomes of the data of an event.
    fn event(&mut self, event: &Event) -> Rewritten {
        event.data.as_ref().map_or(Rewritten::Keep, |data| self.message(data))
    }

    /// The id that an event gets.
    fn event_id(&mut self, _: &Line) -> EventId {
        EventId::Keep
    }
}

/// One change, and then another.
pub(super) struct Both<A, B>(pub(super) A, pub(super) B);

impl<A: Rewrite, B: Rewrite> Rewrite for Both<A, B> {
    fn message(&mut self, message: &Bytes) -> Rewritten {
        match self.0.message(message) {
            Rewritten::Drop => Rewritten::Drop,
            Rewritten::Keep => self.1.message(message),
            Rewritten::Replace(changed) => match self.1.message(&changed) {
                Rewritten::Keep => Rewritten::Replace(changed),
                other => other,
            },
        }
    }
}

/// Why an answer cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RewriteError {
    /// An answer that must be held whole is too large.
    #[error("the server's answer is larger than {MAX_REWRITTEN_ANSWER} bytes, or than there is room for")]
    TooLarge,
    /// An event of a stream is too large.
    #[error("the server sent an event of more than {MAX_EVENT_BYTES} bytes, or than there is room for")]
    EventTooLarge,
}

/// Cuts an answer into messages, has them rewritten, and puts it together again.
pub(super) struct Rewriter {
    form: Form,
    rewrite: Box<dyn Rewrite>,
}

enum Form {
    /// One message, and its share of the memory, which it has until the client has taken all of it.
    Json(BytesMut, Held),
    /// A stream of events.
    Events(Parser),
}

impl Rewriter {
    /// For an answer with these headers, of what this payer asked for.
    pub(super) fn new(headers: &HeaderMap, payer: Payer, rewrite: impl Rewrite + 'static) -> Self {
        let form = if super::is_events(headers) {
            Form::Events(Parser::new(MAX_EVENT_BYTES, payer))
        } else {
            Form::Json(BytesMut::new(), Held::new(payer))
        };
        Self {
            form,
            rewrite: Box::new(rewrite),
        }
    }

    /// Takes a chunk, and adds what can be sent now.
    pub(super) fn feed(&mut self, chunk: &Bytes, ready: &mut VecDeque<Bytes>) -> Result<(), RewriteError> {
        match &mut self.form {
            Form::Json(whole, held) => {
                let length = whole.len() + chunk.len();
                if length > MAX_REWRITTEN_ANSWER || !held.hold(length) {
                    return Err(RewriteError::TooLarge);
                }
                whole.extend_from_slice(chunk);
            }
            Form::Events(parser) => {
                parser.feed(chunk);
                for event in parser.by_ref() {
                    let event = event.map_err(|_| RewriteError::EventTooLarge)?;
                    ready.extend(rewritten(&mut *self.rewrite, event));
                }
            }
        }
        Ok(())
    }

    /// The answer has ended.
    pub(super) fn finish(&mut self, ready: &mut VecDeque<Bytes>) -> Result<(), RewriteError> {
        if let Form::Json(whole, _) = &mut self.form {
            let message = whole.split().freeze();
            match self.rewrite.message(&message) {
                Rewritten::Keep => ready.push_back(message),
                Rewritten::Replace(other) => ready.push_back(other),
                Rewritten::Drop => {}
            }
        }
        Ok(())
    }
}

fn rewritten(rewrite: &mut dyn Rewrite, event: Event) -> Option<Bytes> {
    let id = match &event.id {
        None => EventId::Keep,
        Some(id) => rewrite.event_id(id),
    };
    let data = match (rewrite.event(&event), &id) {
        (Rewritten::Keep, EventId::Keep) => return Some(event.raw),
        // A comment, or a delay: the id of it does not matter.
        (Rewritten::Keep, _) if event.data.is_none() && event.id.is_none() => return Some(event.raw),
        (Rewritten::Keep, _) => event.data.clone().unwrap_or_default(),
        (Rewritten::Replace(data), _) => data,
        // The id of a dropped event is one to resume behind, all the same.
        (Rewritten::Drop, EventId::Other(_)) => Bytes::new(),
        (Rewritten::Drop, _) => return None,
    };
    let id = match &id {
        EventId::Keep => event.id.as_ref(),
        EventId::Other(id) => Some(id),
        EventId::None => None,
    };
    Some(sse::event_with_retry(&data, event.kind.as_ref(), id, event.retry))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::CONTENT_TYPE};

    use super::*;

    /// Gives every event another id.
    struct Renumber;

    impl Rewrite for Renumber {
        fn message(&mut self, _: &Bytes) -> Rewritten {
            Rewritten::Keep
        }

        fn event_id(&mut self, _: &Line) -> EventId {
            Line::new("other").map_or(EventId::None, EventId::Other)
        }
    }

    #[test]
    fn an_event_with_another_id_keeps_its_type_its_delay_and_its_data() {
        let events = HeaderValue::from_static("text/event-stream");
        let mut rewriter = Rewriter::new(&HeaderMap::from_iter([(CONTENT_TYPE, events)]), Payer::Agent, Renumber);
        let mut ready = VecDeque::new();
        let chunk = Bytes::from_static(b"event: x\nid: 1\nretry: 50\ndata: a\n\ndata: b\n\n");
        rewriter.feed(&chunk, &mut ready).unwrap();
        let sent: Vec<&[u8]> = ready.iter().map(|event| &**event).collect();
        let expected: [&[u8]; 2] = [b"event: x\nid: other\nretry: 50\ndata: a\n\n", b"data: b\n\n"];
        assert_eq!(sent, expected);
    }
}
