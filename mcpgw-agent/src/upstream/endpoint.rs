//! One address of a server.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::runtime::Handle;

use super::pool::Pool;

/// One address of a server: where a call goes. Clones are the same endpoint, with the same connections.
#[derive(Clone)]
pub struct Endpoint(Arc<State>);

struct State {
    address: SocketAddr,
    pool: Arc<Pool>,
    in_flight: AtomicUsize,
    /// It is no longer the server's.
    gone: AtomicBool,
}

/// What is known of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    /// Its address.
    pub address: SocketAddr,
    /// Calls in flight: sent, and not answered to the end.
    pub in_flight: usize,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr, runtime: &Handle) -> Self {
        Self(Arc::new(State {
            address,
            pool: Pool::new(address, runtime),
            in_flight: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
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

    pub(super) fn is_gone(&self) -> bool {
        self.0.gone.load(Relaxed)
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
