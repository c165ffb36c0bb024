//! What the servers offer: asked of them in the background, and kept as it was last seen.
//!
//! ```text
//! catalogue  what one server offers
//! ask        one question to a server, in either era
//! fetch      asks a server for all that it offers
//! watch      one server's task: asks, listens for changes, asks again
//! personal   what servers offer to single principals
//! names      the names that the gateway gives to what servers offer
//! offers     how well each server is known, for the operator
//! limits     every bound, by name
//! ```
//!
//! A server that is slow, dead or talks nonsense delays nobody and empties nothing: its last good catalogue stays,
//! and its status says since when, and why.

mod ask;
mod catalogue;
mod fetch;
mod limits;
pub mod names;
mod offers;
mod personal;
mod watch;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use tokio::{
    runtime::Handle,
    sync::{Notify, broadcast},
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use catalogue::{Capabilities, Catalogue, Extensions, Item, Snapshot, Speaks, TaskCapabilities, Tools};
pub use limits::{MAX_INSTRUCTIONS, MAX_TEMPLATE, MAX_TEMPLATES};
pub use offers::Offers;
pub use personal::{Own, Principal};

use crate::{
    mcp::annotations::Annotations,
    pins::Pins,
    resources::{ObjectName, Server},
    upstream::{Behalf, Upstreams},
};
use personal::Personal;

/// A list of a server that is another than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose it is.
    pub server: ObjectName,
    /// Which it is.
    pub kind: ChangeKind,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Its tools.
    Tools,
    /// Its prompts.
    Prompts,
    /// Its resources, or their templates.
    Resources,
}

/// How well a server is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// What is known of it is current.
    Ready,
    /// Some of its lists cannot be had; of these what was last seen is still offered. The others are current.
    Partial {
        /// Which, and why.
        reason: String,
        /// Since when.
        since: SystemTime,
    },
    /// It cannot be asked; what was last seen is still offered.
    LastGood {
        /// Why it cannot.
        reason: String,
        /// Since when.
        since: SystemTime,
    },
    /// It cannot be asked, and never could.
    Unreachable {
        /// Why it cannot.
        reason: String,
        /// Since when.
        since: SystemTime,
    },
}

/// Knows what the servers offer.
pub struct Discovery {
    upstreams: Arc<Upstreams>,
    runtime: Handle,
    known: Arc<Known>,
    watches: Mutex<HashMap<ObjectName, Watched>>,
}

struct Watched {
    server: Arc<Server>,
    refresh: Arc<Notify>,
    _stop: DropGuard,
}

/// What is known, shared with the tasks that find it out.
pub(crate) struct Known {
    snapshot: ArcSwap<Snapshot>,
    states: Mutex<HashMap<ObjectName, State>>,
    changes: broadcast::Sender<Change>,
    pins: Arc<Pins>,
    personal: Personal,
}

impl Discovery {
    /// Knows nothing yet. The servers are asked on `runtime`; what they offer is held against `pins`.
    pub fn new(upstreams: Arc<Upstreams>, runtime: Handle, pins: Arc<Pins>) -> Arc<Self> {
        Arc::new(Self {
            upstreams,
            known: Arc::new(Known {
                snapshot: ArcSwap::default(),
                states: Mutex::default(),
                changes: broadcast::Sender::new(limits::CHANGES),
                pins,
                personal: Personal::new(runtime.clone()),
            }),
            runtime,
            watches: Mutex::default(),
        })
    }

    /// Asks these servers from now on, and no others. Nothing happens to those that did not change.
    pub fn put_in_force(&self, servers: &[Arc<Server>]) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|name, watched| {
            let kept = servers
                .iter()
                .any(|server| server.name == *name && *server == watched.server);
            let gone = !servers.iter().any(|server| server.name == *name);
            if gone {
                self.known.forget(name);
            }
            kept
        });
        self.known.personal.retain(servers);
        for server in servers {
            if watches.contains_key(&server.name) {
                continue;
            }
            let (stop, refresh) = (CancellationToken::new(), Arc::new(Notify::new()));
            let task = watch::run(
                server.name.clone(),
                Arc::clone(&self.upstreams),
                Arc::clone(&self.known),
                Arc::clone(&refresh),
            );
            let stopped = stop.clone();
            self.runtime
                .spawn(async move { stopped.run_until_cancelled(task).await });
            let watched = Watched {
                server: Arc::clone(server),
                refresh,
                _stop: stop.drop_guard(),
            };
            watches.insert(server.name.clone(), watched);
        }
    }

    /// What is known now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.known.snapshot.load_full()
    }

    /// What servers offer to one principal: those of them that offer something else to each. Each is asked on its
    /// behalf where that is not known, or not current. Waits a moment for those that are not known, and for `current`
    /// ones also where what is known of it is old; a server that takes longer is as it was, or not there.
    pub async fn offered_to(
        &self,
        who: &Principal,
        servers: &[Arc<Server>],
        snapshot: &Snapshot,
        current: bool,
    ) -> Own {
        let offered = || self.offered_now(who, servers, snapshot, current);
        let (own, waiting) = offered();
        if waiting.is_empty() {
            return own;
        }
        personal::wait(waiting).await;
        offered().0
    }

    /// As [`offered_to`](Self::offered_to), without waiting: with that, for which it would.
    pub(crate) fn offered_now(
        &self,
        who: &Principal,
        servers: &[Arc<Server>],
        snapshot: &Snapshot,
        current: bool,
    ) -> (Own, Vec<personal::Waiting>) {
        let mut waiting = Vec::new();
        let mut of = |server: &Arc<Server>| {
            let asked = personal::Asked {
                server,
                upstream: self.upstreams.of(server)?,
                behalf: match server.exchanges_tokens() {
                    true => who.behalf.clone()?,
                    false => Behalf::Agent,
                },
                // Only who asks makes a difference to a server whose tokens are exchanged.
                known: snapshot
                    .get(&server.name)
                    .filter(|_| !server.exchanges_tokens())
                    .cloned(),
                lists: current,
            };
            let (catalogue, wait) = self.known.personal.look(who.owner, asked, &self.known);
            waiting.extend(wait.filter(|_| current || catalogue.is_none()));
            catalogue
        };
        let own = servers.iter().map(|server| (server.name.clone(), of(server))).collect();
        (Own(own), waiting)
    }

    /// What a server says of a tool; nothing, where the tool is not known.
    pub fn annotations(&self, server: &ObjectName, tool: &str) -> Annotations {
        let snapshot = self.known.snapshot.load();
        let item = snapshot.get(server).and_then(|catalogue| catalogue.tool(tool));
        item.map_or_else(Annotations::default, Item::annotations)
    }

    /// Which lists change from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.known.changes.subscribe()
    }

    /// Tells that the tools of a server are others to its clients, though it offers the same.
    pub fn tools_changed(&self, server: &ObjectName) {
        self.known.changed(server, ChangeKind::Tools);
    }

    /// Has a server asked soon.
    pub fn refresh(&self, server: &ObjectName) {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = watches.get(server) {
            watched.refresh.notify_one();
        }
    }

    /// How well each server is known that was asked.
    pub fn states(&self) -> HashMap<ObjectName, State> {
        self.known.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Known {
    /// Makes a state of the time since which the server has had a failure, if it has.
    fn state(&self, server: &ObjectName, state: impl FnOnce(SystemTime) -> State) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match states.get(server) {
            Some(State::Partial { since, .. } | State::LastGood { since, .. } | State::Unreachable { since, .. }) => {
                *since
            }
            _ => SystemTime::now(),
        };
        states.insert(server.clone(), state(since));
    }

    /// What was last learned of a server.
    fn last(&self, server: &ObjectName) -> Option<Arc<Catalogue>> {
        self.snapshot.load().get(server).cloned()
    }

    /// Notes what a server offers now, apart from what is `missing`, and tells which lists are others than before.
    async fn learned(&self, server: &ObjectName, catalogue: Catalogue, missing: Vec<String>) {
        let catalogue = Arc::new(catalogue);
        if self.pins.wants(server) {
            let (pins, server, catalogue) = (Arc::clone(&self.pins), server.clone(), Arc::clone(&catalogue));
            let hold = move || pins.saw(&server, catalogue.tools.iter().map(|item| (&item.name, &*item.json)));
            let held = tokio::task::spawn_blocking(hold).await;
            if let Err(error) = held {
                // Whatever was known of its definitions stays, and nothing is approved by this.
                tracing::error!(%error, "the tools of a server could not be held against what was approved");
                return;
            }
        }
        let mut before = None;
        self.snapshot.rcu(|snapshot| {
            before = snapshot.catalogues.get(server).cloned();
            snapshot.with(server, &catalogue)
        });
        match missing.is_empty() {
            true => self.state(server, |_| State::Ready),
            false => self.state(server, |since| State::Partial {
                reason: missing.join("; "),
                since,
            }),
        }
        let same = before.map_or([false; 4], |before| before.same_lists(&catalogue));
        let kinds = [
            (!same[0], ChangeKind::Tools),
            (!same[1], ChangeKind::Prompts),
            (!same[2] || !same[3], ChangeKind::Resources),
        ];
        if kinds.iter().any(|(changed, _)| *changed) {
            self.personal.changed(server);
        }
        for (_, kind) in kinds.into_iter().filter(|(changed, _)| *changed) {
            self.changed(server, kind);
        }
    }

    /// Notes that a server says that something changed. What it offers to others than us, it may have changed for them
    /// alone.
    fn told(&self, server: &ObjectName) {
        if self.personal.changed(server) {
            self.all_changed(server);
        }
    }

    fn all_changed(&self, server: &ObjectName) {
        for kind in [ChangeKind::Tools, ChangeKind::Prompts, ChangeKind::Resources] {
            self.changed(server, kind);
        }
    }

    fn changed(&self, server: &ObjectName, kind: ChangeKind) {
        // Nobody may be listening.
        let _ = self.changes.send(Change {
            server: server.clone(),
            kind,
        });
    }

    /// Notes that a server could not be asked.
    fn failed(&self, server: &ObjectName, reason: String) {
        let known = self.last(server).is_some();
        self.state(server, |since| match known {
            true => State::LastGood { reason, since },
            false => State::Unreachable { reason, since },
        });
    }

    fn forget(&self, server: &ObjectName) {
        self.states
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(server);
        self.snapshot.rcu(|snapshot| snapshot.without(server));
        self.all_changed(server);
    }
}
