//! Changes messages of an answer on their way: some of them, in few places; all else passes byte for byte.

use std::collections::VecDeque;

use bytes::Bytes;
use http::HeaderMap;

use super::limits::{MAX_EVENT_BYTES, MAX_REWRITTEN_ANSWER};
use crate::{
    mcp::{
        gathered::Gathered,
        splice::Splice,
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

impl Rewritten {
    /// What is changed in a few places, or in none.
    pub(super) fn by(splice: Splice<'_>) -> Self {
        match splice.is_empty() {
            true => Self::Keep,
            false => Self::Replace(splice.finish()),
        }
    }
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

/// A change that there may be.
impl<R: Rewrite> Rewrite for Option<R> {
    fn message(&mut self, message: &Bytes) -> Rewritten {
        self.as_mut()
            .map_or(Rewritten::Keep, |rewrite| rewrite.message(message))
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
    /// One message, which has its share of the memory until the client has taken all of it.
    Json(Gathered),
    /// A stream of events, and an id that came without data: only the last of several in a row is told the client.
    Events(Parser, Option<Event>),
}

impl Rewriter {
    /// For an answer with these headers, of what this payer asked for.
    pub(super) fn new(headers: &HeaderMap, payer: Payer, rewrite: impl Rewrite + 'static) -> Self {
        let form = if super::is_events(headers) {
            Form::Events(Parser::new(MAX_EVENT_BYTES, payer), None)
        } else {
            Form::Json(Gathered::new(MAX_REWRITTEN_ANSWER, payer))
        };
        Self {
            form,
            rewrite: Box::new(rewrite),
        }
    }

    /// Takes a chunk. Then [`advance`](Self::advance) to its end.
    pub(super) fn feed(&mut self, chunk: &Bytes) -> Result<(), RewriteError> {
        match &mut self.form {
            Form::Json(whole) => whole.push(chunk).map_err(|_| RewriteError::TooLarge)?,
            Form::Events(parser, _) => parser.feed(chunk),
        }
        Ok(())
    }

    /// Looks at the next event, and adds what can be sent now: no more than two events, for what becomes of one can be
    /// a thousand times as large as it was. `false`: feed more.
    pub(super) fn advance(&mut self, ready: &mut VecDeque<Bytes>) -> Result<bool, RewriteError> {
        let Form::Events(parser, place) = &mut self.form else {
            return Ok(false);
        };
        let event = parser.next().transpose().map_err(|_| RewriteError::EventTooLarge)?;
        let is_over = event.is_none();
        let (before, event) = match event {
            Some(event) if is_place(&event) => {
                *place = Some(event);
                (None, None)
            }
            event => (place.take(), event),
        };
        for event in before.into_iter().chain(event) {
            ready.extend(rewritten(&mut *self.rewrite, event));
        }
        Ok(!is_over)
    }

    /// The answer has ended.
    pub(super) fn finish(&mut self, ready: &mut VecDeque<Bytes>) -> Result<(), RewriteError> {
        if let Form::Json(whole) = &mut self.form {
            let message = whole.take();
            match self.rewrite.message(&message) {
                Rewritten::Keep => ready.push_back(message),
                Rewritten::Replace(other) => ready.push_back(other),
                Rewritten::Drop => {}
            }
        }
        Ok(())
    }
}

/// Whether an event says nothing but its id: clients pass on none without data.
fn is_place(event: &Event) -> bool {
    event.id.is_some() && event.retry.is_none() && event.data.as_ref().is_none_or(Bytes::is_empty)
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
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use http::{HeaderValue, header::CONTENT_TYPE};
    use http_body_util::{BodyExt, Full, combinators::BoxBody};

    use super::*;
    use crate::{proxy::relay::Relay, upstream::UpstreamBody};

    /// Gives every event another id, and counts them.
    #[derive(Default)]
    struct Renumber(Arc<AtomicUsize>);

    impl Rewrite for Renumber {
        fn message(&mut self, _: &Bytes) -> Rewritten {
            Rewritten::Keep
        }

        fn event_id(&mut self, id: &Line) -> EventId {
            self.0.fetch_add(1, Ordering::Relaxed);
            let other = [b"other ", id.as_bytes()].concat();
            Line::new(other).map_or(EventId::None, EventId::Other)
        }
    }

    fn events(rewrite: Renumber) -> Rewriter {
        let events = HeaderValue::from_static("text/event-stream");
        Rewriter::new(&HeaderMap::from_iter([(CONTENT_TYPE, events)]), Payer::Agent, rewrite)
    }

    /// All that is sent for a chunk.
    fn sent(rewriter: &mut Rewriter, chunk: &'static [u8]) -> Vec<Bytes> {
        let mut ready = VecDeque::new();
        rewriter.feed(&Bytes::from_static(chunk)).unwrap();
        while rewriter.advance(&mut ready).unwrap() {}
        ready.into()
    }

    #[test]
    fn an_event_with_another_id_keeps_its_type_its_delay_and_its_data() {
        let mut rewriter = events(Renumber::default());
        let sent = sent(&mut rewriter, b"event: x\nid: 1\nretry: 50\ndata: a\n\ndata: b\n\n");
        let expected: [&[u8]; 2] = [b"event: x\nid: other 1\nretry: 50\ndata: a\n\n", b"data: b\n\n"];
        assert_eq!(sent, expected);
    }

    #[test]
    fn of_ids_without_data_the_last_in_a_row_is_told_before_what_follows_and_at_the_end_of_what_came() {
        let mut rewriter = events(Renumber::default());
        let first = sent(
            &mut rewriter,
            b"id: 1\n\nid: 2\ndata\n\n: c\n\nid: 3\n\nid: 4\ndata: a\n\n",
        );
        let expected: [&[u8]; 4] = [
            b"id: other 2\ndata: \n\n",
            b": c\n\n",
            b"id: other 3\ndata: \n\n",
            b"id: other 4\ndata: a\n\n",
        ];
        assert_eq!(first, expected);
        let second = sent(&mut rewriter, b"id: 5\n\nid: 6\nretry: 7\n\nid: 8\n\n");
        let expected: [&[u8]; 3] = [
            b"id: other 5\ndata: \n\n",
            b"id: other 6\nretry: 7\ndata: \n\n",
            b"id: other 8\ndata: \n\n",
        ];
        assert_eq!(second, expected);
    }

    #[tokio::test]
    async fn what_becomes_of_a_chunk_is_made_as_the_client_takes_it() {
        const CHUNK: usize = 256 * 1024;
        for (event, most) in [("id:1\n\n", 1), ("id:1\ndata:a\n\n", CHUNK)] {
            let count = CHUNK / event.len();
            let (chunk, made) = (Bytes::from(event.repeat(count)), Arc::<AtomicUsize>::default());
            let body = BoxBody::new(Full::new(chunk).map_err(|never| match never {}));
            let mut relay = Relay::new(UpstreamBody::copied(Box::pin(body), Payer::Agent), None)
                .rewriting(Some(events(Renumber(Arc::clone(&made)))));
            let mut taken = 0;
            while let Some(frame) = relay.frame().await {
                assert!(!frame.unwrap().into_data().unwrap().is_empty());
                taken += 1;
                let made = made.load(Ordering::Relaxed);
                assert!(made <= taken + 1, "{made} were made when {taken} were taken");
            }
            assert_eq!(taken, count.min(most));
        }
    }
}
