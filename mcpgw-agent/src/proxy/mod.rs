//! Serves the workloads' listeners: HTTP in, one decision, HTTP out.
//!
//! ```text
//! listener    accepts a workload's connections, no more than it may have
//! preface     tells from the first bytes whether this is HTTP
//! connection  serves one connection
//! exchange    one request: check → read → govern → forward → answer
//! govern      the verdict: server, envelope, decision
//! request     what is refused by its head alone
//! body        reads request bodies, within their bounds
//! route       which paths of a governed address are served
//! refused     refusals, as JSON-RPC errors
//! relay       passes an answer on, and closes the call's record
//! limits      every bound, by name
//! ```

mod body;
mod connection;
mod exchange;
mod govern;
pub mod limits;
mod listener;
mod preface;
mod refused;
mod relay;
mod request;
mod route;

use std::{
    net::Shutdown,
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{net::TcpListener, runtime::Handle, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    datapath::{PodListeners, Serve, ServeGuard},
    policy::Plan,
    telemetry::Telemetry,
    upstream::Upstreams,
};

/// The proxy of this node. It serves what the datapath hands to it through [`Serve`].
pub struct Proxy {
    shared: Arc<Shared>,
    runtime: Handle,
    tasks: TaskTracker,
}

/// What every connection needs.
struct Shared {
    plan: Arc<ArcSwap<Plan>>,
    telemetry: Arc<Telemetry>,
    upstreams: Arc<Upstreams>,
    /// Cancelled when the agent ends: no more connections, and none of those that are open takes another request.
    draining: CancellationToken,
}

impl Shared {
    fn new(plan: Arc<ArcSwap<Plan>>, telemetry: Arc<Telemetry>, upstreams: Arc<Upstreams>) -> Arc<Self> {
        Arc::new(Self {
            plan,
            telemetry,
            upstreams,
            draining: CancellationToken::new(),
        })
    }
}

impl Proxy {
    /// A proxy that goes by `plan`, as it is at each request, to the servers that `upstreams` has in force.
    ///
    /// Everything runs on `runtime`.
    pub fn new(
        plan: Arc<ArcSwap<Plan>>,
        telemetry: Arc<Telemetry>,
        upstreams: Arc<Upstreams>,
        runtime: Handle,
    ) -> Arc<Self> {
        let seen: Weak<ArcSwap<Plan>> = Arc::downgrade(&plan);
        telemetry.observe_plan(move || seen.upgrade().map_or(0, |plan| plan.load().generation));
        Arc::new(Self {
            shared: Shared::new(plan, telemetry, upstreams),
            runtime,
            tasks: TaskTracker::new(),
        })
    }

    /// Takes no more connections and requests, and gives calls in flight `limit` to end. Connections that are
    /// still open then end with their [`ServeGuard`].
    pub async fn drain(&self, limit: Duration) {
        self.shared.draining.cancel();
        self.tasks.close();
        if timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::info!(
                connections = self.tasks.len(),
                "still open after {limit:?}; ending them"
            );
        }
    }

    /// Waits until every connection has ended. Drop all [`ServeGuard`]s first; when this returns, every record
    /// has been handed to the telemetry.
    pub async fn closed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Serve for Proxy {
    fn serve(&self, pod: PodListeners) -> ServeGuard {
        let PodListeners {
            identity,
            listeners,
            handoffs,
        } = pod;
        let entered = self.runtime.enter();
        let listeners: Arc<[TcpListener]> = listeners
            .into_iter()
            .filter_map(|listener| {
                let registered = TcpListener::from_std(listener);
                let refused =
                    |error: &_| tracing::error!(workload = %identity.workload, %error, "cannot serve a listener");
                registered.inspect_err(refused).ok()
            })
            .collect();
        drop(entered);
        let stop = CancellationToken::new();
        let accept = listener::Accept {
            listeners: Arc::clone(&listeners),
            workload: Arc::clone(&identity),
            origin: move |stream: &_| handoffs.take(stream, &identity).map_err(|missing| missing.reason()),
            shared: Arc::clone(&self.shared),
            tasks: self.tasks.clone(),
            stop: stop.clone(),
        };
        self.tasks.spawn_on(accept.run(), &self.runtime);
        ServeGuard::new(Stop {
            listeners,
            _connections: stop.drop_guard(),
        })
    }
}

/// Ends the service of one workload.
struct Stop {
    listeners: Arc<[TcpListener]>,
    _connections: DropGuard,
}

impl Drop for Stop {
    fn drop(&mut self) {
        refuse_from_now_on(&self.listeners);
    }
}

/// A listening socket that is shut down refuses at once, whoever still holds it open.
fn refuse_from_now_on(listeners: &[TcpListener]) {
    for listener in listeners {
        if let Err(error) = socket2::SockRef::from(listener).shutdown(Shutdown::Both) {
            tracing::debug!(%error, "cannot shut a listener down at once");
        }
    }
}

#[cfg(test)]
mod tests;
