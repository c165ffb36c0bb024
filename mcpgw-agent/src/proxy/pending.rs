//! Calls of sessions, from before their servers are asked until their answers came: so that one whose answer comes on
//! another stream than the one it was asked on stays on record, and one that its client takes back is known to be.
//!
//! Such streams are the one that a client resumes after the server ended it, and the one stream of an HTTP+SSE
//! session. What is known of a call is kept only while the call goes on, within the share of its workload: nothing that
//! a client says of calls that are not there is remembered, and no workload's calls crowd out those of others.

use std::{
    array,
    borrow::Cow,
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use aws_lc_rs::digest;
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use bytes::Bytes;
use http::StatusCode;
use serde_json::value::RawValue;

use super::{
    carries::Carries,
    limits::{CANCELLED_TIME, MAX_EVENT_BYTES, MAX_PENDING, MAX_PENDING_ID, MAX_PENDING_PER_WORKLOAD, PENDING_TIME},
    relay::settle,
};
use crate::{
    mcp::{Answer, AnswerObserver, Kind, message::Peek, seal::Nonce, sse::Parser},
    shares::{Payer, Share, Shares},
    telemetry::{Outcome, Record},
};

/// Tells streams apart: the nonce of a session.
pub(super) type StreamKey = Nonce;

/// Parts of the table that are locked by themselves.
const SHARDS: usize = 64;

type Streams = HashMap<StreamKey, Stream>;

/// The calls of sessions that go on.
pub(super) struct Pending {
    /// Sessions are not to wait for each other.
    shards: [Mutex<Streams>; SHARDS],
    next: AtomicU64,
    shares: Shares,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            shards: array::from_fn(|_| Mutex::default()),
            next: AtomicU64::default(),
            shares: Shares::new(MAX_PENDING, MAX_PENDING_PER_WORKLOAD),
        }
    }
}

/// The calls of one session.
#[derive(Default)]
struct Stream {
    /// By the ids of their requests, as [`named`]. A client may use one id for several calls, whose answers cannot be
    /// told apart: they are taken for those of the calls in the order of these.
    calls: HashMap<Box<str>, Vec<Entry>>,
    /// How many of them wait for this stream.
    waiting: usize,
}

/// One call.
struct Entry {
    number: u64,
    cancelled: bool,
    /// Its answer, and the length of that in bytes: where it came by before the call waited for it.
    heard: Option<(Answer, u64)>,
    waits: Option<Waits>,
    _share: Share,
}

/// The record of a call that waits for its answer on this stream.
struct Waits {
    record: Record,
    /// How long it waits.
    until: Instant,
}

impl Pending {
    /// Notes that a call of this session begins; `payer` is whose share it takes. `None` where that one, or all
    /// together, have as many calls as they may: then the call is not to be made.
    pub(super) fn begin(self: &Arc<Self>, payer: Payer, key: StreamKey, id: &RawValue) -> Option<PendingCall> {
        let share = self.shares.take(payer).ok()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id: Box<str> = named(id.get()).into();
        let entry = Entry {
            number,
            cancelled: false,
            heard: None,
            waits: None,
            _share: share,
        };
        let mut streams = self.lock(&key);
        let stream = streams.entry(key).or_default();
        stream.calls.entry(id.clone()).or_default().push(entry);
        drop(streams);
        Some(PendingCall {
            pending: Arc::clone(self),
            key,
            id,
            number,
            waits: false,
        })
    }

    /// Whether calls wait for this stream.
    fn has(&self, key: &StreamKey) -> bool {
        self.lock(key).get(key).is_some_and(|stream| stream.waiting > 0)
    }

    /// Its client takes a call of this session back. Servers may answer all the same, so that a call that waits goes
    /// on doing so, if not for as long; it ends with that where it ends without an answer.
    pub(super) fn cancel(&self, key: StreamKey, id: &str) {
        let mut streams = self.lock(&key);
        let calls = streams
            .get_mut(&key)
            .and_then(|stream| stream.calls.get_mut(&*named(id)));
        for call in calls.into_iter().flatten() {
            call.cancelled = true;
            if let Some(waits) = &mut call.waits {
                waits.record.outcome(Outcome::Cancelled, None);
                waits.until = waits.until.min(Instant::now() + CANCELLED_TIME);
            }
        }
    }

    /// Ends the records of a stream that is over for good: their calls got no answer.
    pub(super) fn abandon(&self, key: &StreamKey) {
        let Some(stream) = self.lock(key).remove(key) else {
            return;
        };
        for waits in stream.calls.into_values().flatten().filter_map(|call| call.waits) {
            let mut record = waits.record;
            record.outcome(Outcome::Cancelled, None);
        }
    }

    /// Ends the records of calls whose answers nobody came back for.
    pub(super) fn sweep(&self) {
        self.forget(Instant::now());
    }

    /// Ends the records of calls that waited until before `now`.
    pub(super) fn forget(&self, now: Instant) {
        let is_over = |call: &mut Entry| call.waits.as_ref().is_some_and(|waits| waits.until < now);
        let mut forgotten: Vec<Entry> = Vec::new();
        for shard in &self.shards {
            locked(shard).retain(|_, stream| {
                let before = forgotten.len();
                stream.calls.retain(|_, calls| {
                    forgotten.extend(calls.extract_if(.., is_over));
                    !calls.is_empty()
                });
                stream.waiting -= forgotten.len() - before;
                !stream.calls.is_empty()
            });
        }
        // Their records are written where nobody waits for the lock.
        drop(forgotten);
    }

    /// The answer to a call came by on a stream.
    fn settle(&self, key: &StreamKey, message: &Bytes, peek: &Peek<'_>) {
        let Some(id) = peek.id.and_then(|id| id.raw()) else {
            return;
        };
        let name = named(id.get());
        let is_asked = |stream: &Stream| stream.calls.contains_key(&*name);
        if !self.lock(key).get(key).is_some_and(is_asked) {
            return;
        }
        // It is whole: nothing is gathered.
        let mut observer = AnswerObserver::of_json(Some(id), Payer::Agent);
        observer.feed(message);
        let heard = (observer.finish(), message.len() as u64);
        let call = {
            let mut streams = self.lock(key);
            let Some(calls) = streams.get_mut(key).and_then(|stream| stream.calls.get_mut(&*name)) else {
                return;
            };
            let waiting = calls.iter().find(|call| call.waits.is_some()).map(|call| call.number);
            match waiting {
                Some(number) => remove(&mut streams, key, &name, number),
                None => {
                    let unheard = calls.iter_mut().find(|call| call.heard.is_none());
                    unheard.into_iter().for_each(|call| call.heard = Some(heard));
                    None
                }
            }
        };
        if let Some(waits) = call.and_then(|call| call.waits) {
            answered(waits.record, heard);
        }
    }

    fn lock(&self, key: &StreamKey) -> MutexGuard<'_, Streams> {
        locked(&self.shards[key.shard(SHARDS)])
    }
}

fn locked(shard: &Mutex<Streams>) -> MutexGuard<'_, Streams> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a call out.
fn remove(streams: &mut Streams, key: &StreamKey, id: &str, number: u64) -> Option<Entry> {
    let stream = streams.get_mut(key)?;
    let calls = stream.calls.get_mut(id)?;
    let at = calls.iter().position(|call| call.number == number)?;
    let call = calls.remove(at);
    stream.waiting -= usize::from(call.waits.is_some());
    if calls.is_empty() {
        stream.calls.remove(id);
    }
    if stream.calls.is_empty() {
        streams.remove(key);
    }
    Some(call)
}

/// Closes the record of a call with what answered it.
fn answered(mut record: Record, (answer, length): (Answer, u64)) {
    record.add_response_bytes(length);
    settle(&mut record, StatusCode::OK, answer);
}

/// An id, as JSON, by which calls are found: of one that is too long to be kept a digest, which is no JSON.
fn named(id: &str) -> Cow<'_, str> {
    if id.len() <= MAX_PENDING_ID {
        return id.into();
    }
    let digest = digest::digest(&digest::SHA256, id.as_bytes());
    format!("#{}", BASE64_STANDARD_NO_PAD.encode(digest)).into()
}

/// A call of a session that goes on; dropped, it is over, unless it waits.
pub(super) struct PendingCall {
    pending: Arc<Pending>,
    key: StreamKey,
    id: Box<str>,
    number: u64,
    waits: bool,
}

impl PendingCall {
    /// Whether its client has taken it back.
    pub(super) fn was_cancelled(&self) -> bool {
        let streams = self.pending.lock(&self.key);
        let calls = streams.get(&self.key).and_then(|stream| stream.calls.get(&self.id));
        let call = calls.into_iter().flatten().find(|call| call.number == self.number);
        call.is_some_and(|call| call.cancelled)
    }

    /// Keeps the record of the call open until its answer comes by on the session's stream. Where that is never heard
    /// the record ends with this outcome; where the stream is over already, as cancelled.
    pub(super) fn wait(mut self, mut record: Record, unheard: Outcome) {
        self.waits = true;
        let now = Instant::now();
        let heard = {
            let mut streams = self.pending.lock(&self.key);
            let stream = streams.get_mut(&self.key);
            let found = stream.and_then(|stream| {
                let calls = stream.calls.get_mut(&self.id)?;
                let call = calls.iter_mut().find(|call| call.number == self.number)?;
                Some((call, &mut stream.waiting))
            });
            match found {
                None => {
                    record.outcome(Outcome::Cancelled, None);
                    None
                }
                Some((call, _)) if call.heard.is_some() => remove(&mut streams, &self.key, &self.id, self.number)
                    .and_then(|call| call.heard)
                    .map(|heard| (record, heard)),
                Some((call, waiting)) => {
                    let (unheard, time) = match call.cancelled {
                        true => (Outcome::Cancelled, CANCELLED_TIME),
                        false => (unheard, PENDING_TIME),
                    };
                    record.outcome(unheard, None);
                    let until = now + time;
                    *waiting += 1;
                    call.waits = Some(Waits { record, until });
                    None
                }
            }
        };
        if let Some((record, heard)) = heard {
            answered(record, heard);
        }
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if !mem::replace(&mut self.waits, true) {
            let mut streams = self.pending.lock(&self.key);
            let call = remove(&mut streams, &self.key, &self.id, self.number);
            drop(streams);
            drop(call);
        }
    }
}

/// Looks on at a stream for the answers of calls that wait for it.
pub(super) struct StreamWatch {
    pending: Arc<Pending>,
    key: StreamKey,
    parser: Parser,
    /// An event was too large: nothing can be told any more.
    lost: bool,
    carries: Carries,
}

impl StreamWatch {
    /// For the stream with this key, which this payer asked for.
    pub(super) fn new(pending: &Arc<Pending>, key: StreamKey, carries: Carries, payer: Payer) -> Self {
        Self {
            pending: Arc::clone(pending),
            key,
            parser: Parser::new(MAX_EVENT_BYTES, payer),
            lost: false,
            carries,
        }
    }

    /// Looks at the next chunk.
    pub(super) fn feed(&mut self, chunk: &Bytes) {
        if self.lost || !matches!(self.carries, Carries::All) && !self.pending.has(&self.key) {
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
                && self.carries.may_bring(&peek)
            {
                self.pending.settle(&self.key, data, &peek);
            }
        }
    }
}

impl Drop for StreamWatch {
    fn drop(&mut self) {
        if matches!(self.carries, Carries::All) {
            self.pending.abandon(&self.key);
        }
    }
}

#[cfg(test)]
#[path = "pending_tests.rs"]
mod tests;
