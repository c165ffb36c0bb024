//! One address of a server.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::runtime::Handle;

use super::{
    health::Health,
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
    health: Health,
}

/// What is known of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    /// Its address.
    pub address: SocketAddr,
    /// Calls in flight: sent, and not answered to the end.
    pub in_flight: usize,
    /// For how long all leave it alone because it could not be reached, in milliseconds; 0 if they do not.
    pub ejected_for: u64,
    /// How many workloads leave it alone for themselves, because it failed them too often.
    pub avoided_by: usize,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr, speech: Speech, runtime: &Handle) -> Self {
        Self(Arc::new(State {
            address,
            pool: Pool::new(address, speech, runtime),
            in_flight: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            health: Health::default(),
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

    /// What became of calls there.
    pub(super) fn health(&self) -> &Health {
        &self.0.health
    }

    /// Takes it away from its server: calls in flight end as they would, no others begin.
    pub(super) fn leave(&self) {
        self.0.gone.store(true, Relaxed);
        self.0.pool.clear();
    }

    /// Closes what has been idle for too long, and forgets what is long ago.
    pub(super) fn sweep(&self) {
        self.0.pool.sweep();
        self.0.health.sweep();
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
            ejected_for: self.health().ejected_for_all(),
            avoided_by: self.health().avoided_by(),
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
