//! Serves the workloads' listeners and the gateway's own: HTTP in, one decision, HTTP out.
//!
//! ```text
//! listener    accepts connections, no more than there may be
//! gateway_listener  the gateway's own listeners
//! preface     tells from the first bytes whether this is HTTP
//! connection  serves one connection, by what is spoken on it
//! http_service  HTTP on it, in either version
//! stall       streams of HTTP/2 that their client does not read
//! secured     what becomes of TLS to a server's address
//! tls         TLS that ends here
//! gateway_tls … at the gateway
//! observed    connections of workloads that are only observed
//! passthrough  TLS that goes on unread
//! room        what the connections at a listener share, and the part of each caller
//! exchange    one request: which of the two paths it is on
//! authenticate  what the request's token adds to what the kernel saw
//! challenge   what clients without a good token are told
//! redirected  … it dialled a server's own address
//! gateway     … it dialled the gateway, which has many servers
//! request     what is refused by its head alone
//! body        reads request bodies, within their bounds
//! batch       several messages in one body
//! route       which paths of a governed address are served
//! call        the decision about one tool call, and its record
//! limit       what a request spends, and the answer to one that is over a limit
//! cluster     … of what the whole cluster shares
//! outside     a call about which somebody outside is asked
//! refused     refusals, as JSON-RPC errors
//! subscribed  the resources that streams and sessions are subscribed to, and their share of the memory
//! lease       how long a stream may stay open
//! relay       passes an answer on, and closes the call's record
//! rewrite     changes messages of an answer on their way
//! carries     whose answers a server may send where
//! pending     calls whose answers come on another stream
//! voices      what we say ourselves on the stream of an HTTP+SSE session
//! limits      every bound, by name
//! ```

mod authenticate;
mod batch;
mod body;
mod call;
mod carries;
mod challenge;
mod cluster;
mod connection;
mod exchange;
mod gateway;
mod gateway_listener;
mod gateway_tls;
mod http_service;
mod lease;
mod limit;
pub mod limits;
mod listened;
mod listener;
mod observed;
mod outside;
mod passthrough;
mod pending;
mod preface;
mod redirected;
mod refused;
mod relay;
mod request;
mod rewrite;
mod room;
mod route;
mod secured;
mod stall;
mod subscribed;
mod tls;
mod voices;

use std::{
    net::{Shutdown, SocketAddr},
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use tokio::{net::TcpListener, runtime::Handle, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    datapath::{KernelRefusals, PodListeners, Serve, ServeGuard},
    discovery::Discovery,
    engines::Engines,
    identity::{Caller, jwt::Authenticator},
    mcp::{media::is_events, seal::Sealer},
    pins::Pins,
    policy::{InForce, limits::Budgets},
    resources::{Certificate, ClientTls, Server},
    telemetry::{Path, Refusal, Telemetry, Who},
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
    plan: Arc<InForce>,
    telemetry: Arc<Telemetry>,
    upstreams: Arc<Upstreams>,
    discovery: Arc<Discovery>,
    pins: Arc<Pins>,
    tokens: Arc<dyn Authenticator>,
    gateway: Gateway,
    /// What TLS is spoken with at the gateway's addresses.
    tls: GatewayTls,
    certificates: Certificates,
    /// Sessions on the redirected path.
    redirected: redirected::Known,
    pending: Arc<Pending>,
    voices: Arc<Voices>,
    /// What callers have spent of their limits.
    budgets: Arc<Budgets>,
    engines: Arc<Engines>,
    /// Cancelled when the agent ends: no more connections, and none of those that are open takes another request.
    draining: CancellationToken,
}

/// What a proxy is put together from.
pub struct Parts {
    /// What it goes by, as it is at each request.
    pub plan: Arc<InForce>,
    /// Where calls are recorded.
    pub telemetry: Arc<Telemetry>,
    /// The servers in force.
    pub upstreams: Arc<Upstreams>,
    /// What they offer.
    pub discovery: Arc<Discovery>,
    /// What was approved of it.
    pub pins: Arc<Pins>,
    /// Tells whose a token is.
    pub tokens: Arc<dyn Authenticator>,
    /// Services outside that are asked about calls.
    pub engines: Arc<Engines>,
    /// Seals session ids and cursors.
    pub sealer: Sealer,
}

impl Shared {
    fn new(parts: Parts) -> Arc<Self> {
        let Parts {
            plan,
            telemetry,
            upstreams,
            discovery,
            pins,
            tokens,
            engines,
            sealer,
        } = parts;
        Arc::new(Self {
            plan,
            telemetry,
            upstreams,
            discovery,
            pins,
            tokens,
            engines,
            gateway: Gateway::new(sealer),
            tls: GatewayTls::default(),
            certificates: Certificates::default(),
            redirected: redirected::Known::default(),
            pending: Arc::default(),
            voices: Arc::default(),
            budgets: Arc::default(),
            draining: CancellationToken::new(),
        })
    }

    /// Which of the two paths a connection is on that was meant for this address.
    fn path_to(&self, destination: SocketAddr) -> Path {
        match self.plan.load().gateway_at(destination) {
            Some(_) => Path::Gateway,
            None => Path::Redirected,
        }
    }

    /// Counts and audits a connection that is refused.
    fn refuse(&self, reason: &'static str, caller: &Arc<Caller>) {
        self.telemetry.refused(Refusal {
            time: SystemTime::now(),
            reason,
            status: None,
            path: self.path_to(caller.destination),
            who: Who::Caller(Arc::clone(caller)),
            decision_id: None,
        });
    }
}

impl Proxy {
    /// A proxy. Everything runs on `runtime`, whose threads must be in the node's network namespace.
    pub fn new(parts: Parts, runtime: Handle) -> Arc<Self> {
        let seen: Weak<InForce> = Arc::downgrade(&parts.plan);
        parts
            .telemetry
            .observe_plan(move || seen.upgrade().map_or(0, |plan| plan.load().generation));
        let proxy = Arc::new(Self {
            shared: Shared::new(parts),
            runtime,
            tasks: TaskTracker::new(),
        });
        proxy.runtime.spawn(sweep(Arc::downgrade(&proxy.shared)));
        proxy
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

    /// Speaks TLS with the certificate in these files at the gateway's addresses from the next connection on; `None`:
    /// plain HTTP.
    pub fn put_tls_in_force(&self, files: Option<&Certificate>) {
        self.shared.tls.put_in_force(files);
    }

    /// Why the gateway's certificate, as it stands now, cannot be used; `None` if it is in force, or there is none.
    pub fn gateway_certificate_error(&self) -> Option<String> {
        self.shared.tls.get().and_then(|tls| tls.error())
    }

    /// Why the certificate by which TLS to a server ends here, as it stands now, cannot be used; `None` if it can, or
    /// the server has none.
    pub fn certificate_error(&self, server: &Server) -> Option<String> {
        match &server.client_tls {
            ClientTls::Terminate(files) => match self.shared.certificates.of(files) {
                Ok(tls) => tls.error(),
                Err(error) => Some(error.to_string()),
            },
            ClientTls::Refuse | ClientTls::Passthrough => None,
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
    fn refused(&self, refusals: KernelRefusals) {
        self.shared.telemetry.kernel_refused(refusals);
    }

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
            workload: Some(Arc::clone(&identity)),
            origin: move |stream: &_| handoffs.take(stream, &identity).map_err(|missing| missing.reason()),
            room: room::Room::of_workload(self.tasks.clone()),
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

/// Forgets, now and then, what was not used for long.
async fn sweep(shared: Weak<Shared>) {
    let mut now_and_then = tokio::time::interval(limits::SWEEP_INTERVAL);
    loop {
        now_and_then.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        shared.gateway.sweep();
        shared.pending.sweep();
        shared.budgets.sweep();
        let plan = shared.plan.load_full();
        let is_used = |files: &Certificate| {
            let uses = |server: &Server| matches!(&server.client_tls, ClientTls::Terminate(used) if used == files);
            plan.servers().iter().any(|server| uses(&server.wanted))
        };
        shared.certificates.retain(is_used);
    }
}

/// Seconds of Unix time.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
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

pub use gateway_listener::ListenError;
pub use tls::{CertificateError, Tls};

use gateway::Gateway;
use gateway_tls::GatewayTls;
use pending::Pending;
use tls::Certificates;
use voices::Voices;

#[cfg(test)]
mod tests;
