//! The way to the servers: which endpoint, over which connection, within which bounds.
//!
//! ```text
//! server    one server: picks an endpoint, sends a request, waits for the head of the answer
//! endpoint  one address of a server: what is in flight to it
//! pool      keep-alive connections to one endpoint, and how many there may be
//! connect   opens one
//! credential  what a server is shown in place of what the caller showed
//! body      the body of an answer, with its deadlines
//! hop       headers that end at each connection
//! error     why there is no answer
//! limits    every bound, by name
//! ```

mod body;
mod connect;
pub(crate) mod credential;
mod endpoint;
mod error;
mod hop;
pub mod limits;
mod pool;
mod server;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::{runtime::Handle, sync::watch, time::interval};

pub use body::{BodyError, UpstreamBody};
pub use credential::{Behalf, CredentialError, OwnCredentials};
pub use endpoint::{Endpoint, EndpointStatus};
pub use error::UpstreamError;
pub use server::{Upstream, UpstreamStatus};

use crate::resources::{ObjectName, Server};

/// Where the names of [`Backend::Host`](crate::resources::Backend::Host) servers are: addresses by name and port.
pub type HostAddresses = HashMap<(Arc<str>, u16), Vec<SocketAddr>>;

/// The servers of this node, with their connections.
pub struct Upstreams {
    runtime: Handle,
    in_force: ArcSwap<HashMap<ObjectName, Arc<Upstream>>>,
    /// Held while servers change, so that two changes do not lose each other.
    changing: Mutex<()>,
    hosts: watch::Sender<Arc<HostAddresses>>,
}

impl Upstreams {
    /// No servers yet. Everything runs on `runtime`, whose threads must be in the node's network namespace: the
    /// servers are dialled from there.
    pub fn new(runtime: Handle) -> Arc<Self> {
        let upstreams = Arc::new(Self {
            runtime,
            in_force: ArcSwap::default(),
            changing: Mutex::default(),
            hosts: watch::Sender::default(),
        });
        let seen = Arc::downgrade(&upstreams);
        upstreams.runtime.spawn(async move {
            let mut tick = interval(limits::POOL_SWEEP);
            loop {
                tick.tick().await;
                let Some(upstreams) = seen.upgrade() else { return };
                upstreams.in_force.load().values().for_each(|upstream| upstream.sweep());
            }
        });
        upstreams
    }

    /// Puts these servers in force, and no others. Connections to an address stay where the address and the way
    /// to speak to it have not changed.
    pub fn put_in_force(&self, servers: &[Arc<Server>]) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.in_force.load_full();
        let after: HashMap<_, _> = servers
            .iter()
            .map(|server| {
                let upstream = match before.get(&server.name) {
                    Some(same) if same.server() == server => Arc::clone(same),
                    other => Arc::new(Upstream::new(server, other.map(Arc::as_ref), &self.runtime)),
                };
                (server.name.clone(), upstream)
            })
            .collect();
        self.in_force.store(Arc::new(after));
        let after = self.in_force.load();
        for (name, upstream) in before.iter() {
            upstream.leave_all_but(after.get(name).map(Arc::as_ref));
        }
    }

    /// The server of this name, as it is now. Endpoints of one that has changed or gone answer with
    /// [`UpstreamError::Gone`] where the change took them away.
    pub fn get(&self, server: &ObjectName) -> Option<Arc<Upstream>> {
        self.in_force.load().get(server).cloned()
    }

    /// The addresses of servers that have names, as they are found and change.
    pub fn hosts(&self) -> watch::Receiver<Arc<HostAddresses>> {
        self.hosts.subscribe()
    }

    /// What is known of each server, ordered by name.
    pub fn status(&self) -> Vec<UpstreamStatus> {
        let mut status: Vec<_> = self
            .in_force
            .load()
            .values()
            .map(|upstream| upstream.status())
            .collect();
        status.sort_by(|a, b| a.server.cmp(&b.server));
        status
    }
}
