//! The seam between datapath and proxy: the datapath opens listeners, the proxy serves them.

use std::{net::TcpListener, sync::Arc};

use super::{handoff::Handoffs, refused::KernelRefusals};
use crate::identity::WorkloadIdentity;

/// The listeners of one enrolled workload, open in its network namespace. Non-blocking.
pub struct PodListeners {
    /// Whose they are.
    pub identity: Arc<WorkloadIdentity>,
    /// 127.0.0.1, and ::1 where the namespace has IPv6.
    pub listeners: Vec<TcpListener>,
    /// Tells who is at the other end of an accepted connection.
    pub handoffs: Arc<Handoffs>,
}

/// Something that serves a workload's listeners: the proxy.
pub trait Serve: Send + Sync + 'static {
    /// Starts to accept, until the guard is dropped.
    fn serve(&self, listeners: PodListeners) -> ServeGuard;

    /// Takes note of what the kernel refused.
    fn refused(&self, refusals: KernelRefusals);
}

/// Keeps a workload served. When it is dropped the listeners close at once and the workload's open
/// connections are ended.
pub struct ServeGuard(#[allow(dead_code, reason = "held for its Drop")] Box<dyn Send>);

impl ServeGuard {
    /// Wraps whatever ends the service when it is dropped.
    pub fn new(on_drop: impl Send + 'static) -> Self {
        Self(Box::new(on_drop))
    }
}
