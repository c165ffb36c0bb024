//! One address of a server.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{runtime::Handle, time::Instant};

use super::{
    limits::{EJECTION, MAX_POOR_ANSWERS},
    pool::{Pool, Speech},
};

/// One address of a server: where a call goes. Clones are the same endpoint, with the same connections.
#[derive(Clone)]
pub struct Endpoint(Arc<State>);

struct State {
    address: SocketAddr,
    pool: Arc<Pool>,
    in_flight: AtomicUsize,
    /// It is no longer the server's.
    gone: AtomicBool,
    /// How many of the latest calls got no answer, or one that only says that there is none.
    poor: AtomicU32,
    /// How often in a row it was found to be of no use.
    failures: AtomicU32,
    /// Until when it is left alone, in milliseconds since `made`.
    ejected_until: AtomicU64,
    made: Instant,
}

/// What is known of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    /// Its address.
    pub address: SocketAddr,
    /// Calls in flight: sent, and not answered to the end.
    pub in_flight: usize,
    /// For how long it is left alone because it could not be reached or failed too often, in milliseconds; 0 if it is
    /// not.
    pub ejected_for: u64,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr, speech: Speech, runtime: &Handle) -> Self {
        Self(Arc::new(State {
            address,
            pool: Pool::new(address, speech, runtime),
            in_flight: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            poor: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            made: Instant::now(),
        }))
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Calls in flight: sent, and not answered to the end.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Relaxed)
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.0.pool
    }

    /// Whether the server is no longer there: nothing is sent to it any more.
    pub fn is_gone(&self) -> bool {
        self.0.gone.load(Relaxed)
    }

    /// For how long it is left alone, in milliseconds; 0 if it may be dialled.
    pub(super) fn ejected_for(&self) -> u64 {
        self.0.ejected_until.load(Relaxed).saturating_sub(self.age())
    }

    /// A call is about to go there. Where it was of no use before, this call tries, and others stay away until it is
    /// known what became of it.
    pub(super) fn picked(&self) {
        if self.0.failures.load(Relaxed) > 0 {
            self.eject();
        }
    }

    /// It could not be reached.
    pub(super) fn failed(&self) {
        self.0.failures.fetch_add(1, Relaxed);
        self.eject();
    }

    /// A call that was sent there got no answer, or one that says that there is none. It takes several in a row to
    /// leave it alone, or one where it is being tried: a single call may itself be what a server dies of.
    pub(super) fn answered_poorly(&self) {
        let poor = self.0.poor.fetch_add(1, Relaxed).saturating_add(1);
        if poor >= MAX_POOR_ANSWERS || self.0.failures.load(Relaxed) > 0 {
            self.failed();
        }
    }

    /// It answered.
    pub(super) fn reached(&self) {
        // Read first: of all calls nearly none finds anything to change, and a write would be felt by all others.
        if self.0.poor.load(Relaxed) > 0 {
            self.0.poor.store(0, Relaxed);
        }
        if self.0.failures.swap(0, Relaxed) > 0 {
            self.0.ejected_until.store(0, Relaxed);
        }
    }

    fn eject(&self) {
        let (first, last) = EJECTION;
        let doublings = self.0.failures.load(Relaxed).saturating_sub(1).min(16);
        let time = (first * 2_u32.pow(doublings)).min(last);
        let until = self
            .age()
            .saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.0.ejected_until.store(until, Relaxed);
    }

    fn age(&self) -> u64 {
        u64::try_from(self.0.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes it away from its server: calls in flight end as they would, no others begin.
    pub(super) fn leave(&self) {
        self.0.gone.store(true, Relaxed);
        self.0.pool.clear();
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Counts a call until what is returned is dropped.
    pub(super) fn count(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Relaxed);
        InFlight(Arc::clone(&self.0))
    }

    pub(super) fn status(&self) -> EndpointStatus {
        EndpointStatus {
            address: self.address(),
            in_flight: self.in_flight(),
            ejected_for: self.ejected_for(),
        }
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Endpoint").field(&self.0.address).finish()
    }
}

/// A call in flight.
pub(super) struct InFlight(Arc<State>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
