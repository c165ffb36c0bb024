//! Calls whose answers come on another stream than the one they were asked on: a stream that the server ended for
//! the client to resume, and the one stream of an HTTP+SSE session. And calls that their clients have cancelled, whose
//! answers need not come at all.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use http::StatusCode;

use super::{
    limits::{
        MAX_CANCELLED_ID, MAX_CANCELLED_PER_STREAM, MAX_EVENT_BYTES, MAX_PENDING_PER_STREAM, MAX_PENDING_STREAMS,
        PENDING_TIME,
    },
    relay::settle,
};
use crate::{
    mcp::{AnswerObserver, Kind, message::Peek, seal::Nonce, sse::Parser},
    telemetry::{Outcome, Record},
};

/// Tells streams apart: the nonce of a session.
pub(super) type StreamKey = Nonce;

/// The records of calls that wait for another stream.
#[derive(Default)]
pub(super) struct Pending(Mutex<HashMap<StreamKey, Waiting>>);

struct Waiting {
    since: Instant,
    /// By the id of the request, as JSON.
    records: HashMap<Box<str>, Record>,
    /// The ids of calls that were cancelled, the oldest first; of too many the oldest are forgotten.
    cancelled: VecDeque<Box<str>>,
}

impl Waiting {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            records: HashMap::new(),
            cancelled: VecDeque::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.cancelled.is_empty()
    }
}

impl Pending {
    /// Keeps a record open until its answer comes by. Where that is never heard, or too many wait, the record ends
    /// with this outcome.
    pub(super) fn wait(&self, key: StreamKey, id: &str, mut record: Record, unheard: Outcome) {
        record.outcome(unheard, None);
        let mut streams = self.lock();
        if streams.len() >= MAX_PENDING_STREAMS && !streams.contains_key(&key) {
            return;
        }
        let waiting = streams.entry(key).or_insert_with(Waiting::new);
        waiting.since = Instant::now();
        if waiting.records.len() < MAX_PENDING_PER_STREAM {
            waiting.records.insert(id.into(), record);
        }
    }

    /// Whether calls wait for this stream.
    pub(super) fn has(&self, key: &StreamKey) -> bool {
        let streams = self.lock();
        streams.get(key).is_some_and(|waiting| !waiting.records.is_empty())
    }

    /// Its client cancels a call of this session: where it waits it ends with that, and else it does where it ends
    /// without an answer.
    pub(super) fn cancel(&self, key: StreamKey, id: &str) {
        if id.len() > MAX_CANCELLED_ID {
            return;
        }
        let mut streams = self.lock();
        if streams.len() >= MAX_PENDING_STREAMS && !streams.contains_key(&key) {
            return;
        }
        let waiting = streams.entry(key).or_insert_with(Waiting::new);
        let record = waiting.records.remove(id);
        if record.is_none() {
            waiting.since = Instant::now();
            waiting.cancelled.push_back(id.into());
            if waiting.cancelled.len() > MAX_CANCELLED_PER_STREAM {
                waiting.cancelled.pop_front();
            }
        } else if waiting.is_empty() {
            streams.remove(&key);
        }
        drop(streams);
        if let Some(mut record) = record {
            record.outcome(Outcome::Cancelled, None);
        }
    }

    /// Whether its client has cancelled a call that ends now.
    pub(super) fn was_cancelled(&self, key: &StreamKey, id: &str) -> bool {
        let mut streams = self.lock();
        let Some(waiting) = streams.get_mut(key) else {
            return false;
        };
        let before = waiting.cancelled.len();
        waiting.cancelled.retain(|cancelled| **cancelled != *id);
        let found = waiting.cancelled.len() < before;
        if waiting.is_empty() {
            streams.remove(key);
        }
        found
    }

    /// Ends the records of a stream that is over for good: their calls got no answer.
    pub(super) fn abandon(&self, key: &StreamKey) {
        let Some(waiting) = self.lock().remove(key) else { return };
        for (_, mut record) in waiting.records {
            record.outcome(Outcome::Cancelled, None);
        }
    }

    /// Ends the records of streams that nobody came back for.
    pub(super) fn sweep(&self) {
        let forgotten: Vec<Waiting> = {
            let mut streams = self.lock();
            let old: Vec<StreamKey> = streams
                .iter()
                .filter(|(_, waiting)| waiting.since.elapsed() > PENDING_TIME)
                .map(|(key, _)| *key)
                .collect();
            old.iter().filter_map(|key| streams.remove(key)).collect()
        };
        drop(forgotten);
    }

    fn settle(&self, key: &StreamKey, message: &Bytes, peek: &Peek<'_>) {
        let Some(id) = peek.id.and_then(|id| id.raw()) else {
            return;
        };
        let record = {
            let mut streams = self.lock();
            let Some(waiting) = streams.get_mut(key) else { return };
            let record = waiting.records.remove(id.get());
            if waiting.is_empty() {
                streams.remove(key);
            }
            record
        };
        let Some(mut record) = record else { return };
        let mut observer = AnswerObserver::of_json(Some(id));
        observer.feed(message);
        let answer = observer.finish();
        record.add_response_bytes(message.len() as u64);
        settle(&mut record, StatusCode::OK, answer);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamKey, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks on at a stream for the answers of calls that wait for it.
pub(super) struct StreamWatch {
    pending: Arc<Pending>,
    key: StreamKey,
    parser: Parser,
    /// An event was too large: nothing can be told any more.
    lost: bool,
    /// The stream is the only one of its session.
    only: bool,
}

impl StreamWatch {
    /// For the stream with this key; `only` if no other can carry its answers.
    pub(super) fn new(pending: &Arc<Pending>, key: StreamKey, only: bool) -> Self {
        Self {
            pending: Arc::clone(pending),
            key,
            parser: Parser::new(MAX_EVENT_BYTES),
            lost: false,
            only,
        }
    }

    /// Looks at the next chunk.
    pub(super) fn feed(&mut self, chunk: &Bytes) {
        if self.lost || !self.pending.has(&self.key) && !self.only {
            return;
        }
        self.parser.feed(chunk);
        for event in self.parser.by_ref() {
            let Ok(event) = event else {
                self.lost = true;
                return;
            };
            if let Some(data) = &event.data
                && let Ok(peek) = Peek::new(data)
                && peek.kind == Kind::Response
            {
                self.pending.settle(&self.key, data, &peek);
            }
        }
    }
}

impl Drop for StreamWatch {
    fn drop(&mut self) {
        if self.only {
            self.pending.abandon(&self.key);
        }
    }
}
