//! What has been spent. Governor does the arithmetic (GCRA); here is where its state is kept: in shards that a call
//! locks together, so that it spends from all of its limits or from none.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use governor::{
    RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{NotKeyed, StateStore},
};

use super::{
    Limit, Spender,
    key::{Key, Keys},
    limit::Rate,
};

/// Budgets that are kept at a time. Where a new one has no room, it is the one that all such newcomers to the limit
/// share.
pub const MAX_KEYS: usize = 1 << 18;
const SHARDS: usize = 64;
/// How long a caller waits who has too many calls in flight, for want of a better estimate.
const CONCURRENCY_WAIT: Duration = Duration::from_secs(1);

/// What has been spent of every limit; outlives every plan. A quota that changes takes over what was spent as the
/// time that it would have taken to be forgiven: nobody gets a fresh burst by it.
#[derive(Debug)]
pub struct Budgets {
    keys: Keys,
    shards: Box<[Mutex<Shard>]>,
    origin: Instant,
    max_per_shard: usize,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<Key, Entry>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Governor's state: when all is forgiven, in nanoseconds since the origin.
    forgiven: u64,
    in_flight: u32,
    /// Until when the whole cluster's budget is spent, in the same time.
    closed: u64,
}

impl Entry {
    /// Whether it says no more than its absence would.
    fn is_idle(&self, now: u64) -> bool {
        self.in_flight == 0 && self.forgiven <= now && self.closed <= now
    }
}

/// A call that spent. Its end gives back the places that it took among the calls in flight.
#[derive(Debug)]
#[must_use = "dropping it ends the call, as far as limits on calls in flight go"]
pub struct Taken {
    budgets: Arc<Budgets>,
    held: Vec<Key>,
    /// Where the rate limit service has a say: what was spent, in the order of the limits.
    spent: Vec<(Key, u64)>,
}

/// One budget, for whoever learns of it what this node cannot know.
#[derive(Clone, Debug)]
pub struct Budget {
    budgets: Arc<Budgets>,
    key: Key,
}

/// A call that a limit refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// The limit.
    pub limit: Arc<str>,
    /// When to try again.
    pub wait: Duration,
    /// What it allows, as an item of the header field `RateLimit-Policy`.
    pub policy: String,
    /// Whether the rate limit service said so.
    pub by_service: bool,
}

impl Default for Budgets {
    fn default() -> Self {
        Self::with_room_for(MAX_KEYS)
    }
}

impl Budgets {
    /// Budgets with room for so many, at least.
    pub fn with_room_for(keys: usize) -> Self {
        Self {
            keys: Keys::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            origin: Instant::now(),
            max_per_shard: keys.div_ceil(SHARDS),
        }
    }

    /// Spends one call from each of these limits, or from none.
    ///
    /// # Errors
    /// The limit that refuses, with the longest wait where several do.
    pub fn take(self: &Arc<Self>, limits: &[&Limit], spender: &Spender<'_>) -> Result<Taken, Limited> {
        self.take_at(self.now(), limits, spender)
    }

    /// Whether [`Budgets::take`] would refuse a call now. Spends nothing.
    ///
    /// # Errors
    /// As there.
    pub fn look(&self, limits: &[&Limit], spender: &Spender<'_>) -> Result<(), Limited> {
        let now = self.now();
        let (mut held, keys) = self.hold(now, limits, spender);
        held.after_one_more(limits, &keys, now).map(drop)
    }

    /// The shards of a call's budgets, locked, and the budgets.
    fn hold(&self, now: u64, limits: &[&Limit], spender: &Spender<'_>) -> (Held<'_>, Vec<Key>) {
        let mut keys: Vec<Key> = limits.iter().map(|limit| self.keys.of(limit, spender)).collect();
        let mut held = Held::lock(&self.shards, &keys);
        if !held.have_room_for(&keys, self.max_per_shard, now) {
            for (limit, key) in limits.iter().zip(&mut keys) {
                if !held.shard(*key).has_room_for(*key, self.max_per_shard, now) {
                    *key = self.keys.of_the_rest(limit);
                }
            }
            drop(held);
            held = Held::lock(&self.shards, &keys);
        }
        (held, keys)
    }

    pub(super) fn take_at(
        self: &Arc<Self>,
        now: u64,
        limits: &[&Limit],
        spender: &Spender<'_>,
    ) -> Result<Taken, Limited> {
        let (mut held, keys) = self.hold(now, limits, spender);
        let entries = held.after_one_more(limits, &keys, now)?;
        for (key, entry) in keys.iter().zip(entries) {
            held.shard(*key).entries.insert(*key, entry);
        }
        let spent = match limits.iter().any(|limit| limit.shared.is_some()) {
            true => limits
                .iter()
                .zip(&keys)
                .map(|(limit, key)| (*key, limit.cost()))
                .collect(),
            false => Vec::new(),
        };
        let counted = limits.iter().zip(keys).filter(|(limit, _)| limit.concurrency.is_some());
        Ok(Taken {
            held: counted.map(|(_, key)| key).collect(),
            spent,
            budgets: Arc::clone(self),
        })
    }

    /// Forgets the budgets of which nothing is spent.
    pub fn sweep(&self) {
        let now = self.now();
        for shard in &self.shards {
            lock(shard).forget_idle(now);
        }
    }

    /// How many budgets are kept.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nanoseconds since the origin.
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Taken {
    /// Of a call that holds nothing.
    pub fn nothing(budgets: &Arc<Budgets>) -> Self {
        Self {
            budgets: Arc::clone(budgets),
            held: Vec::new(),
            spent: Vec::new(),
        }
    }

    /// Takes over what the same call spent of other limits.
    pub fn add(&mut self, mut other: Self) {
        self.held.append(&mut other.held);
        self.spent.append(&mut other.spent);
    }

    /// The budget of limit number `index` of those that it was taken from. `None` where the rate limit service has a
    /// say in none of them.
    pub fn budget(&self, index: usize) -> Option<Budget> {
        let (key, _) = self.spent.get(index)?;
        Some(Budget {
            budgets: Arc::clone(&self.budgets),
            key: *key,
        })
    }

    /// The call does not happen after all: what it spent is as if it had not been.
    pub fn give_back(mut self) {
        for (key, cost) in self.spent.drain(..) {
            let mut shard = lock(&self.budgets.shards[key.shard(SHARDS)]);
            if let Some(entry) = shard.entries.get_mut(&key) {
                entry.forgiven = entry.forgiven.saturating_sub(cost);
            }
        }
    }
}

impl Budget {
    /// Refuses every call of this budget for so long: the rest of the cluster has spent it.
    pub fn close(&self, time: Duration) {
        let now = self.budgets.now();
        let until = now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let mut shard = lock(&self.budgets.shards[self.key.shard(SHARDS)]);
        // One that was swept in the meantime has its room again; one that was not is there.
        if shard.has_room_for(self.key, self.budgets.max_per_shard, now) {
            let entry = shard.entries.entry(self.key).or_default();
            entry.closed = entry.closed.max(until);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        for key in &self.held {
            let mut shard = lock(&self.budgets.shards[key.shard(SHARDS)]);
            if let Some(entry) = shard.entries.get_mut(key) {
                entry.in_flight = entry.in_flight.saturating_sub(1);
            }
        }
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    /// Whether a budget is kept here or can be; makes room by forgetting, where it must.
    fn has_room_for(&mut self, key: Key, max: usize, now: u64) -> bool {
        if self.entries.len() < max || self.entries.contains_key(&key) {
            return true;
        }
        self.forget_idle(now);
        self.entries.len() < max
    }

    fn forget_idle(&mut self, now: u64) {
        self.entries.retain(|_, entry| !entry.is_idle(now));
        if self.entries.capacity() > 4 * self.entries.len() {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }
}

/// The shards of a call's budgets, locked in their order.
struct Held<'a>(Vec<(usize, MutexGuard<'a, Shard>)>);

impl<'a> Held<'a> {
    fn lock(shards: &'a [Mutex<Shard>], keys: &[Key]) -> Self {
        let mut wanted: Vec<usize> = keys.iter().map(|key| key.shard(SHARDS)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        Self(wanted.into_iter().map(|index| (index, lock(&shards[index]))).collect())
    }

    #[allow(
        clippy::expect_used,
        reason = "the shards of all keys were locked from the same list"
    )]
    fn shard(&mut self, key: Key) -> &mut Shard {
        let wanted = key.shard(SHARDS);
        let held = self.0.iter_mut().find(|(index, _)| *index == wanted);
        &mut held.expect("a shard of this call").1
    }

    fn have_room_for(&mut self, keys: &[Key], max: usize, now: u64) -> bool {
        keys.iter().all(|key| self.shard(*key).has_room_for(*key, max, now))
    }

    /// What a call's budgets are after it; or the limit that refuses it, with the longest wait where several do.
    fn after_one_more(&mut self, limits: &[&Limit], keys: &[Key], now: u64) -> Result<Vec<Entry>, Limited> {
        let mut entries = Vec::with_capacity(keys.len());
        let mut refused: Option<Limited> = None;
        for (limit, key) in limits.iter().zip(keys) {
            match self.entry(*key).spend(limit, now) {
                Ok(entry) => entries.push(entry),
                Err(limited) if refused.as_ref().is_none_or(|other| other.wait < limited.wait) => {
                    refused = Some(limited)
                }
                Err(_) => {}
            }
        }
        refused.map_or(Ok(entries), Err)
    }

    fn entry(&mut self, key: Key) -> Entry {
        self.shard(key).entries.get(&key).copied().unwrap_or_default()
    }
}

impl Entry {
    /// What it is after one more call.
    fn spend(mut self, limit: &Limit, now: u64) -> Result<Self, Limited> {
        let refuse = |wait| limit.refusal(wait, false);
        if self.closed > now {
            return Err(limit.refusal(Duration::from_nanos(self.closed - now), true));
        }
        if let Some(most) = limit.concurrency {
            if self.in_flight >= most.get() {
                return Err(refuse(CONCURRENCY_WAIT));
            }
            self.in_flight += 1;
        }
        if let Some(rate) = &limit.rate {
            self.forgiven = spend(rate, self.forgiven, now).map_err(refuse)?;
        }
        Ok(self)
    }
}

/// Governor's verdict on one more call: its new state, or the time to wait.
fn spend(rate: &Rate, forgiven: u64, now: u64) -> Result<u64, Duration> {
    let (state, time) = (Cell::new(forgiven), Cell::new(0));
    // A limiter counts from its making on: from the origin.
    let limiter: RateLimiter<NotKeyed, Slot<'_>, At<'_>, NoOpMiddleware<Nanos>> =
        RateLimiter::new(rate.quota, Slot(&state), At(&time));
    time.set(now);
    match limiter.check() {
        Ok(()) => Ok(state.get()),
        Err(refused) => Err(refused.wait_time_from(Nanos::from(now)).max(Duration::from_millis(1))),
    }
}

/// One budget, as governor's store of one state.
struct Slot<'a>(&'a Cell<u64>);

impl StateStore for Slot<'_> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, check: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, state) = check(Some(Nanos::from(self.0.get())))?;
        self.0.set(state.into());
        Ok(outcome)
    }
}

/// The time of one call.
#[derive(Clone, Copy)]
struct At<'a>(&'a Cell<u64>);

impl Clock for At<'_> {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.get())
    }
}
