//! The way to the servers: which endpoint, over which connection, within which bounds.
//!
//! ```text
//! server    one server: picks an endpoint, sends a request, waits for the head of the answer
//! endpoint  one address of a server: what is in flight to it
//! health    … and whether it is to be left alone
//! pool      keep-alive connections to one endpoint, and how many there may be
//! multiplex … those of HTTP/2, which carry many calls
//! connect   opens one
//! secure    TLS on it
//! lingering  where they were a moment ago
//! resolve   where servers with names are
//! reserved  … and cannot be
//! credential  what a server is shown in place of what the caller showed
//! http_sse  servers of the transport of 2024-11-05, spoken to like all others
//! body      the body of an answer, with its deadlines
//! ending    ends sessions that servers opened
//! hop       headers that end at each connection
//! error     why there is no answer
//! limits    every bound, by name
//! ```

mod body;
mod connect;
pub(crate) mod credential;
mod ending;
mod endpoint;
mod error;
mod health;
mod hop;
mod http_sse;
pub mod limits;
mod lingering;
mod multiplex;
mod pool;
mod reserved;
mod resolve;
mod secure;
mod server;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use arc_swap::ArcSwap;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, interval},
};
use tokio_util::task::AbortOnDropHandle;

use lingering::Lingering;
use resolve::Names;

pub use body::{BodyError, UpstreamBody};
pub(crate) use connect::{Stream, open};
pub use credential::{Behalf, CredentialError, OwnCredentials};
pub use ending::end_session;
pub use endpoint::{Endpoint, EndpointStatus};
pub use error::UpstreamError;
pub use resolve::Resolution;
pub(crate) use secure::Secure;
pub use secure::TlsError;
pub use server::{Upstream, UpstreamStatus};

use crate::resources::{Backend, HostAddresses, ObjectName, Server};

/// How a server can be reached, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Where its host is, as `ip:port`; none for a server that is at addresses.
    pub found: Vec<String>,
    /// What is wrong with the way there, a sentence each.
    pub problems: Vec<String>,
}

/// A host that is asked for.
struct Resolving {
    known: Resolution,
    /// By what addresses callers may know it.
    lingering: Lingering,
    _task: Option<AbortOnDropHandle<()>>,
}

fn host_of(server: &Server) -> Option<Host> {
    match &server.backend {
        Backend::Host { name, port, .. } => Some((Arc::clone(name), *port)),
        Backend::Addresses { .. } => None,
    }
}

type Servers = HashMap<ObjectName, Arc<Upstream>>;

/// A name that DNS knows, and the port there.
type Host = (Arc<str>, u16);

/// The servers of this node, with their connections.
pub struct Upstreams {
    /// For itself.
    this: Weak<Self>,
    runtime: Handle,
    names: Option<Names>,
    /// What is known of hosts, and the tasks that keep it current.
    resolving: Mutex<HashMap<Host, Resolving>>,
    in_force: ArcSwap<Servers>,
    /// Those that were in force before, for requests that go by the plan before.
    before: ArcSwap<Servers>,
    /// Held while servers change, so that two changes do not lose each other.
    changing: Mutex<()>,
    hosts: watch::Sender<Arc<HostAddresses>>,
}

impl Upstreams {
    /// No servers yet. Everything runs on `runtime`, whose threads must be in the node's network namespace: the
    /// servers are dialled from there.
    pub fn new(runtime: Handle) -> Arc<Self> {
        let names = resolve::of_system();
        if let Err(error) = &names {
            tracing::warn!(%error, "servers with names cannot be found: the system's resolver is not set up");
        }
        Self::resolving_by(names.ok(), runtime)
    }

    fn resolving_by(names: Option<Names>, runtime: Handle) -> Arc<Self> {
        let upstreams = Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            names,
            resolving: Mutex::default(),
            runtime,
            in_force: ArcSwap::default(),
            before: ArcSwap::default(),
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
        self.resolve(servers);
        let before = self.in_force.load_full();
        let hosts = self.found_now();
        let after: HashMap<_, _> = servers
            .iter()
            .map(|server| {
                let upstream = match before.get(&server.name) {
                    Some(same) if same.server() == server => {
                        same.is_still(server);
                        Arc::clone(same)
                    }
                    other => Arc::new(Upstream::new(server, other.map(Arc::as_ref), &hosts, &self.runtime)),
                };
                (server.name.clone(), upstream)
            })
            .collect();
        self.before.store(Arc::clone(&before));
        self.in_force.store(Arc::new(after));
        let after = self.in_force.load();
        for (name, upstream) in before.iter() {
            upstream.leave_all_but(after.get(name).map(Arc::as_ref));
        }
    }

    /// Asks for the hosts of these servers, and no longer for others.
    fn resolve(&self, servers: &[Arc<Server>]) {
        let wanted: HashSet<Host> = servers.iter().filter_map(|server| host_of(server)).collect();
        let mut resolving = self.resolving.lock().unwrap_or_else(PoisonError::into_inner);
        resolving.retain(|host, _| wanted.contains(host));
        self.hosts.send_if_modified(|hosts| {
            let some_are_gone = hosts.keys().any(|host| !wanted.contains(host));
            if some_are_gone {
                Arc::make_mut(hosts).retain(|host, _| wanted.contains(host));
            }
            some_are_gone
        });
        for host in wanted {
            resolving.entry(host).or_insert_with_key(|host| {
                let task = self.names.clone().map(|names| {
                    let task = resolve::follow(Weak::clone(&self.this), host.clone(), names);
                    AbortOnDropHandle::new(self.runtime.spawn(task))
                });
                let error = task
                    .is_none()
                    .then(|| "DNS: the system's resolver is not set up".to_owned());
                Resolving {
                    known: Resolution {
                        addresses: Vec::new(),
                        error,
                    },
                    lingering: Lingering::default(),
                    _task: task,
                }
            });
        }
    }

    /// Takes over what was found.
    fn found(&self, host: &Host, resolution: &Resolution) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut resolving = self.resolving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = resolving.get_mut(host) else { return };
        known.known = resolution.clone();
        known.lingering.given(&resolution.addresses, Instant::now());
        // What was somebody else's may be the node's own by now.
        if let Some(Ok(reserved)) = self.names.as_ref().map(|names| names.reserved.now()) {
            known.lingering.keep(|ip| reserved.what(ip).is_none());
        }
        let lingering = known.lingering.addresses();
        drop(resolving);
        for upstream in self.in_force.load().values() {
            if host_of(upstream.server()).as_ref() == Some(host) {
                upstream.is_at(&resolution.addresses, &self.runtime);
            }
        }
        self.hosts.send_if_modified(|hosts| {
            let changed = hosts.get(host) != Some(&lingering);
            if changed {
                Arc::make_mut(hosts).insert(host.clone(), lingering);
            }
            changed
        });
    }

    /// Where the hosts are now.
    fn found_now(&self) -> HostAddresses {
        let resolving = self.resolving.lock().unwrap_or_else(PoisonError::into_inner);
        let found = resolving
            .iter()
            .map(|(host, resolving)| (host.clone(), resolving.known.addresses.clone()));
        found.collect()
    }

    /// What is known of the host of a server; `None` for one that is at addresses.
    pub fn resolution(&self, server: &Server) -> Option<Resolution> {
        let host = host_of(server)?;
        let resolving = self.resolving.lock().unwrap_or_else(PoisonError::into_inner);
        resolving.get(&host).map(|resolving| resolving.known.clone())
    }

    /// How a server can be reached, for people.
    pub fn reach(&self, server: &Server) -> Reach {
        let resolution = self.resolution(server);
        let mut reach = Reach {
            found: resolution
                .iter()
                .flat_map(|known| &known.addresses)
                .map(ToString::to_string)
                .collect(),
            problems: resolution.and_then(|known| known.error).into_iter().collect(),
        };
        let endpoints = self.get(&server.name).map(|upstream| upstream.status().endpoints);
        let endpoints = endpoints.unwrap_or_default();
        let none_can = endpoints.iter().all(|endpoint| endpoint.ejected_for > 0);
        for endpoint in endpoints {
            let EndpointStatus {
                address,
                ejected_for,
                avoided_by,
                ..
            } = endpoint;
            if ejected_for > 0 {
                let seconds = ejected_for.div_ceil(1_000);
                reach.problems.push(match none_can {
                    true => format!("{address} could not be reached; no other can, so calls still try it"),
                    false => format!("{address} could not be reached: left alone for {seconds} s"),
                });
            }
            if avoided_by > 0 {
                let problem =
                    format!("{address} failed too often for {avoided_by} of its callers: they leave it alone");
                reach.problems.push(problem);
            }
        }
        reach
    }

    /// The server that this document speaks of: as it is now, or as it was until the last change, for a request that
    /// was decided by the plan of that time. `None` where it is another by now: what was decided about one server never
    /// reaches another of the same name.
    pub fn of(&self, server: &Arc<Server>) -> Option<Arc<Upstream>> {
        let of = |servers: &ArcSwap<Servers>| {
            let servers = servers.load();
            servers.get(&server.name).filter(|known| known.is(server)).cloned()
        };
        of(&self.in_force).or_else(|| of(&self.before))
    }

    /// The server of this name, as it is now. Endpoints of one that has changed or gone answer with
    /// [`UpstreamError::Gone`] where the change took them away.
    pub fn get(&self, server: &ObjectName) -> Option<Arc<Upstream>> {
        self.in_force.load().get(server).cloned()
    }

    /// By what addresses callers may know servers that have names: those where they are found, and, for
    /// [`HOST_GRACE`](limits::HOST_GRACE), those where they were.
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
