//! What servers offer to single principals: where each caller's token is exchanged for one of its own, and where a
//! server says that its lists are for the one who asked.
//!
//! Such a server is asked on a principal's behalf when that first needs to know, and what it answers is shown to that
//! principal alone. Nothing is asked for principals that are gone: what is old is asked for again when it is used.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Catalogue, Known,
    ask::FetchError,
    fetch::{self, Introduced},
    limits::{
        BACKOFF, FETCH_TIMEOUT, MAX_ALL_PERSONAL_BYTES, MAX_PERSONAL, MAX_PERSONAL_AGE, MAX_PERSONAL_BYTES,
        MAX_PERSONAL_FETCHES, MIN_INTERVAL, PATIENCE, POLL,
    },
};
use crate::{
    mcp::seal::Owner,
    resources::{ObjectName, Server},
    upstream::{Behalf, Upstream},
};

/// Whose catalogues these are.
#[derive(Clone, Debug)]
pub struct Principal {
    /// By this they are told apart.
    pub owner: Owner,
    /// On whose behalf servers are asked that exchange their callers' tokens; without, they are not.
    pub behalf: Option<Behalf>,
}

/// What servers offer to one principal, of those that offer something else to each.
#[derive(Clone, Debug, Default)]
pub struct Own(pub(super) Vec<(ObjectName, Option<Arc<Catalogue>>)>);

impl Own {
    /// Whether there is no such server.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a server offers to this principal: `Some(None)`, where that is not known, and `None` where the server offers
    /// the same to all.
    pub fn of(&self, server: &ObjectName) -> Option<Option<&Arc<Catalogue>>> {
        let mut all = self.0.iter();
        all.find_map(|(name, catalogue)| (name == server).then_some(catalogue.as_ref()))
    }

    /// Whether both are the very same.
    pub fn is(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<Catalogue>>, b: &Option<Arc<Catalogue>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let mut pairs = self.0.iter().zip(&other.0);
        self.0.len() == other.0.len() && pairs.all(|((a, mine), (b, others))| a == b && same(mine, others))
    }
}

/// A server that is asked on a principal's behalf.
pub(super) struct Asked<'a> {
    pub(super) server: &'a Arc<Server>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) behalf: Behalf,
    /// What is known of it anyway, where only its lists are the principal's own.
    pub(super) known: Option<Arc<Catalogue>>,
    /// The answer is what it offers, as it is now.
    pub(super) lists: bool,
}

/// A server that was asked, and may be waited for until then.
pub(crate) struct Waiting {
    answered: watch::Receiver<()>,
    until: Instant,
}

/// Waits until each has answered, or is given up.
pub(super) async fn wait(waiting: Vec<Waiting>) {
    for Waiting { mut answered, until } in waiting {
        // Nothing to tell apart: what is known then is looked up.
        let _ = timeout_at(until, answered.changed()).await;
    }
}

type Key = (Owner, ObjectName);

/// The catalogues of all principals.
pub(super) struct Personal {
    runtime: Handle,
    table: Mutex<Table>,
    next: AtomicU64,
}

#[derive(Default)]
struct Table {
    slots: HashMap<Key, Slot>,
    bytes: usize,
    doors: HashMap<ObjectName, Arc<Semaphore>>,
}

/// One principal at one server.
struct Slot {
    /// Which slot this is, of those that this principal had at this server.
    id: u64,
    server: Arc<Server>,
    seen: Option<Seen>,
    /// The server has said that something changed since it was last asked.
    changed: bool,
    asking: Option<Asking>,
    /// When it is asked again after a failure, and how long the next pause is.
    retry: Option<Instant>,
    pause: Duration,
    used: Instant,
    answered: watch::Sender<()>,
}

struct Seen {
    catalogue: Arc<Catalogue>,
    at: Instant,
    bytes: usize,
}

struct Asking {
    since: Instant,
    _task: AbortOnDropHandle<()>,
}

impl Slot {
    /// Whether what was seen is not to be asked for again. A call goes by what is older than its server says that a list
    /// holds: it is not worth a list request each.
    fn is_current(&self, now: Instant, lists: bool) -> bool {
        !self.changed
            && self.seen.as_ref().is_some_and(|seen| {
                let holds = seen
                    .catalogue
                    .ttl
                    .filter(|_| lists)
                    .unwrap_or(POLL)
                    .clamp(MIN_INTERVAL, POLL);
                now < seen.at + holds
            })
    }
}

impl Table {
    /// Makes room for these many bytes more, and for one slot more.
    fn make_room(&mut self, bytes: usize, slots: usize) {
        while self.slots.len() + slots > MAX_PERSONAL || self.bytes + bytes > MAX_ALL_PERSONAL_BYTES {
            let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &Key) {
        let gone = self.slots.remove(key).and_then(|slot| slot.seen);
        self.bytes -= gone.map_or(0, |seen| seen.bytes);
    }
}

impl Personal {
    pub(super) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            table: Mutex::default(),
            next: AtomicU64::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all but these servers, and those that became others.
    pub(super) fn retain(&self, servers: &[Arc<Server>]) {
        let mut table = self.table();
        let is_kept = |slot: &Slot| servers.contains(&slot.server);
        let gone: Vec<Key> = table
            .slots
            .iter()
            .filter(|(_, slot)| !is_kept(slot))
            .map(|(key, _)| key.clone())
            .collect();
        gone.iter().for_each(|key| table.remove(key));
        table
            .doors
            .retain(|name, _| servers.iter().any(|server| server.name == *name));
    }

    /// What was last seen of a server has changed. Whether anybody has seen something of it.
    pub(super) fn changed(&self, server: &ObjectName) -> bool {
        let mut table = self.table();
        let its = table.slots.iter_mut().filter(|((_, name), _)| name == server);
        its.fold(false, |_, (_, slot)| {
            slot.changed = true;
            true
        })
    }

    /// What a server offers to a principal, as far as that is known, and for what to wait where that is not current.
    pub(super) fn look(
        &self,
        owner: Owner,
        asked: Asked<'_>,
        known: &Arc<Known>,
    ) -> (Option<Arc<Catalogue>>, Option<Waiting>) {
        let now = Instant::now();
        let key = (owner, asked.server.name.clone());
        let mut table = self.table();
        let is_it = |slot: &Slot| Arc::ptr_eq(&slot.server, asked.server) || slot.server == *asked.server;
        if table.slots.get(&key).is_some_and(|slot| !is_it(slot)) {
            table.remove(&key);
        }
        if !table.slots.contains_key(&key) {
            table.make_room(0, 1);
        }
        let door = || Arc::new(Semaphore::new(MAX_PERSONAL_FETCHES));
        let door = Arc::clone(table.doors.entry(key.1.clone()).or_insert_with(door));
        let Table { slots, bytes, .. } = &mut *table;
        let slot = slots.entry(key.clone()).or_insert_with(|| Slot {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            server: Arc::clone(asked.server),
            seen: None,
            changed: false,
            asking: None,
            retry: None,
            pause: BACKOFF.0,
            used: now,
            answered: watch::Sender::default(),
        });
        slot.used = now;
        if slot.seen.as_ref().is_some_and(|seen| now > seen.at + MAX_PERSONAL_AGE) {
            *bytes -= slot.seen.take().map_or(0, |seen| seen.bytes);
        }
        if slot.is_current(now, asked.lists) {
            return (slot.seen.as_ref().map(|seen| Arc::clone(&seen.catalogue)), None);
        }
        if slot.asking.is_none() && slot.retry.is_none_or(|retry| now >= retry) {
            slot.changed = false;
            let before = slot.seen.as_ref().map(|seen| Arc::clone(&seen.catalogue));
            let task = ask(
                door,
                key,
                slot.id,
                asked.upstream,
                asked.behalf,
                asked.known,
                before,
                Arc::clone(known),
            );
            slot.asking = Some(Asking {
                since: now,
                _task: AbortOnDropHandle::new(self.runtime.spawn(task)),
            });
        }
        let wait = slot.asking.as_ref().map(|asking| Waiting {
            answered: slot.answered.subscribe(),
            until: asking.since + PATIENCE,
        });
        (
            slot.seen.as_ref().map(|seen| Arc::clone(&seen.catalogue)),
            wait.filter(|wait| now < wait.until),
        )
    }

    /// Notes what a server answered, if the slot still is there.
    fn answered(&self, key: &Key, id: u64, answer: Result<Catalogue, FetchError>) {
        let now = Instant::now();
        let mut table = self.table();
        let Some(slot) = table.slots.get_mut(key).filter(|slot| slot.id == id) else {
            return;
        };
        slot.asking = None;
        let answered = slot.answered.clone();
        let gone = match answer {
            Ok(catalogue) => {
                slot.retry = None;
                slot.pause = BACKOFF.0;
                let before = slot.seen.take();
                let gone = before.as_ref().map_or(0, |seen| seen.bytes);
                // Views are made of it: the same one stays, with the new hints where these are others.
                let same =
                    |before: &Seen| before.catalogue.is_like(&catalogue) && before.catalogue.ttl == catalogue.ttl;
                let catalogue = match before {
                    Some(before) if same(&before) => before.catalogue,
                    _ => Arc::new(catalogue),
                };
                table.bytes -= gone;
                let bytes = catalogue.bytes();
                table.make_room(bytes, 0);
                // Its own slot may have been the oldest.
                if let Some(slot) = table.slots.get_mut(key) {
                    slot.seen = Some(Seen {
                        catalogue,
                        at: now,
                        bytes,
                    });
                    table.bytes += bytes;
                }
                0
            }
            Err(error) => {
                tracing::debug!(server = %key.1, %error, "what it offers to a principal is not known");
                slot.retry = Some(now + slot.pause);
                slot.pause = (slot.pause * 2).min(BACKOFF.1);
                // It is asked again for the change as well.
                slot.changed = true;
                // One that is turned away is offered nothing any more.
                let gone = slot.seen.take_if(|_| error.turns_away());
                gone.map_or(0, |seen| seen.bytes)
            }
        };
        table.bytes -= gone;
        drop(table);
        answered.send_replace(());
    }
}

/// Asks a server on a principal's behalf, and notes what it answers.
#[allow(clippy::too_many_arguments, reason = "a task has all that it needs")]
async fn ask(
    door: Arc<Semaphore>,
    key: Key,
    id: u64,
    upstream: Arc<Upstream>,
    behalf: Behalf,
    base: Option<Arc<Catalogue>>,
    before: Option<Arc<Catalogue>>,
    known: Arc<Known>,
) {
    // It is never closed.
    let Ok(_turn) = door.acquire().await else { return };
    let offered = fetched(&upstream, &behalf, base.as_deref(), before.as_deref());
    let too_long = Err(FetchError::TooLong);
    let answer = timeout(FETCH_TIMEOUT, offered).await.unwrap_or(too_long);
    known.personal.answered(&key, id, answer);
}

async fn fetched(
    upstream: &Arc<Upstream>,
    behalf: &Behalf,
    base: Option<&Catalogue>,
    before: Option<&Catalogue>,
) -> Result<Catalogue, FetchError> {
    let introduced = match base {
        Some(base) => Introduced::before(base),
        None => fetch::introduce(upstream, behalf).await?,
    };
    let listed = fetch::list(upstream, behalf, &introduced, before, MAX_PERSONAL_BYTES).await;
    Ok(listed?.0)
}

#[cfg(test)]
#[path = "personal_tests.rs"]
mod tests;
