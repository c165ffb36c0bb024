//! One workload: what it takes to govern it, and where it stands.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use mcpgw_common::layout::{self, MAX_CGROUP_DEPTH, MODE_ENFORCE, MODE_OBSERVE, MODE_OFF};

use super::{
    Handoffs, PodListeners, Serve, ServeGuard, cgroup, destroy, listener,
    maps::HandoffMaps,
    netns::{NetNs, NetNsId, Place, Process},
    refused::Counted,
    status::{State, WorkloadStatus},
};
use crate::{
    identity::WorkloadIdentity,
    resources::{Mode, NetworkNamespace, Workload},
};

/// What enrolment needs to know of the node.
pub struct NodeFacts {
    /// Mount of cgroup v2.
    pub cgroup_mount: PathBuf,
    /// The cgroup where the programs are attached, below the mount.
    pub attached_at: PathBuf,
    /// The agent's own cgroup, below the mount.
    pub agent_cgroup: PathBuf,
    /// The agent's own network namespace.
    pub node_netns: NetNsId,
    /// Port of the listeners.
    pub listener_port: u16,
    /// The directory of pins.
    pub pins: PathBuf,
}

/// A workload that is to be governed (or was named with mode `off`).
pub struct Enrolment {
    spec: Arc<Workload>,
    slot: u32,
    cgroup_id: Option<u64>,
    served: Option<Served>,
    state: State,
}

/// A workload's open namespace and listeners. Dropping it closes the listeners, then the namespace.
struct Served {
    _guard: ServeGuard,
    netns: NetNs,
    netns_cookie: u64,
    addresses: Vec<String>,
    v6: bool,
    /// How often each governed address was looked for among the open connections.
    passes: HashMap<SocketAddr, u8>,
}

/// Connections are ended twice for each address: the second pass finds those that were on their way through
/// `connect` while the first one looked.
const PASSES: u8 = 2;

impl Enrolment {
    /// Nothing is open yet.
    pub fn new(spec: Arc<Workload>, slot: u32) -> Self {
        Self {
            spec,
            slot,
            cgroup_id: None,
            served: None,
            state: State::Pending("new".into()),
        }
    }

    /// The resource.
    pub fn spec(&self) -> &Arc<Workload> {
        &self.spec
    }

    /// Whose refusals its place counts.
    pub(super) fn counted(&self) -> Counted {
        Counted {
            slot: self.slot,
            identity: Some(self.identity()),
        }
    }

    fn identity(&self) -> Arc<WorkloadIdentity> {
        Arc::new(WorkloadIdentity::new(
            self.spec.name.clone(),
            self.spec.service_account.clone(),
        ))
    }

    /// Its place in the maps of counters.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Its cgroup's id, while the cgroup exists.
    pub fn cgroup_id(&self) -> Option<u64> {
        self.cgroup_id
    }

    /// Cookie of its network namespace, while a listener is open there.
    pub fn netns_cookie(&self) -> Option<u64> {
        self.served.as_ref().map(|served| served.netns_cookie)
    }

    /// Looks for its cgroup, and for nothing that the workload could make slow: the kernel shall know it, and
    /// refuse, before anything else is done.
    pub fn find_cgroup(&mut self, node: &NodeFacts) {
        let id = cgroup::id(&below(&node.cgroup_mount, &self.spec.cgroup));
        if id != self.cgroup_id {
            // Another cgroup under the same name is another pod.
            self.served = None;
            self.cgroup_id = id;
        }
    }

    /// Looks at the machine and opens or closes what the workload needs. Idempotent. `taken` are the network
    /// namespaces of other workloads: one that two share would not tell them apart.
    ///
    /// Whatever keeps it from being governed goes into its state, and touches no other workload.
    pub fn refresh(&mut self, node: &NodeFacts, taken: &HashSet<NetNsId>, serve: &dyn Serve, missing: &Arc<AtomicU64>) {
        let path = below(&node.cgroup_mount, &self.spec.cgroup);
        self.state = match self.obstacle(node) {
            Some(state) => {
                self.served = None;
                state
            }
            None => match self.find_netns(node, &path) {
                Ok(Found::Held) => self.in_place(),
                Ok(Found::New(netns)) if taken.contains(&netns.id()) => {
                    self.served = None;
                    State::Refused("shared-network-namespace".into())
                }
                Ok(Found::New(netns)) => self.open(netns, node, serve, missing),
                Err(state) => {
                    self.served = None;
                    state
                }
            },
        };
    }

    /// The network namespace whose listeners are open.
    pub fn netns(&self) -> Option<NetNsId> {
        self.served.as_ref().map(|served| served.netns.id())
    }

    /// What keeps it from being governed, before its namespace is looked at.
    fn obstacle(&self, node: &NodeFacts) -> Option<State> {
        let cgroup = &self.spec.cgroup;
        if self.spec.mode == Mode::Off {
            return Some(State::Off);
        }
        if !cgroup.starts_with(&node.attached_at) {
            return Some(State::NotGoverned("outside-node-cgroup".into()));
        }
        if cgroup.components().count() > MAX_CGROUP_DEPTH as usize {
            return Some(State::Refused("cgroup-too-deep".into()));
        }
        if node.agent_cgroup.starts_with(cgroup) {
            return Some(State::Refused("holds-the-agent".into()));
        }
        if self.cgroup_id.is_none() {
            return Some(State::Pending("cgroup-missing".into()));
        }
        None
    }

    fn find_netns(&self, node: &NodeFacts, cgroup: &Path) -> Result<Found, State> {
        let held = self.served.as_ref().map(|served| served.netns.id());
        let netns = match &self.spec.network_namespace {
            NetworkNamespace::Path(path) => match Place::find(path) {
                Ok(place) if Some(place.id()) == held => return Ok(Found::Held),
                Ok(place) => place
                    .open()
                    .map_err(|e| State::Pending(format!("network-namespace ({e})")))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(State::Pending("network-namespace-missing".into()));
                }
                Err(error) => return Err(State::Refused(format!("network-namespace ({error})"))),
            },
            NetworkNamespace::OfCgroup => match of_processes(cgroup, held)? {
                None => return Ok(Found::Held),
                Some(netns) => netns,
            },
        };
        if netns.id() == node.node_netns {
            return Err(State::Refused("host-network".into()));
        }
        Ok(Found::New(netns))
    }

    fn open(&mut self, netns: NetNs, node: &NodeFacts, serve: &dyn Serve, missing: &Arc<AtomicU64>) -> State {
        // The old listeners go first: they may hold the port in the same namespace.
        self.served = None;
        let opened = match listener::open(&netns, node.listener_port) {
            Ok(opened) => opened,
            Err(error @ listener::ListenError::LoopbackDown) => return State::Pending(error.to_string()),
            Err(error) => return State::Refused(error.to_string()),
        };
        let maps = match HandoffMaps::open(&node.pins, self.slot) {
            Ok(maps) => maps,
            Err(error) => return State::Pending(format!("maps ({error})")),
        };
        let handoffs = Handoffs::new(maps, opened.netns_cookie, self.slot, self.spec.mode, missing.clone());
        let v6 = opened.v6.is_some();
        let listeners: Vec<_> = std::iter::once(opened.v4).chain(opened.v6).collect();
        let addresses = listeners
            .iter()
            .filter_map(|l| l.local_addr().ok())
            .map(|a| a.to_string())
            .collect();
        let guard = serve.serve(PodListeners {
            identity: self.identity(),
            listeners,
            handoffs: Arc::new(handoffs),
        });
        self.served = Some(Served {
            _guard: guard,
            netns,
            netns_cookie: opened.netns_cookie,
            addresses,
            v6,
            passes: HashMap::new(),
        });
        self.in_place()
    }

    /// Its state when all is as it should be.
    fn in_place(&self) -> State {
        match self.spec.mode {
            Mode::Observe => State::Observed,
            Mode::Off | Mode::Enforce => State::Enforced,
        }
    }

    /// Ends the connections to governed addresses that were open before those were governed, and tells how
    /// many. To be called when the kernel has the entries, so that no new ones come up.
    pub fn end_direct_connections(&mut self, governed: &Arc<HashMap<SocketAddr, u32>>) -> u64 {
        // What is only observed keeps what it has.
        let enforced = self.spec.mode == Mode::Enforce;
        let Some(served) = self.served.as_mut().filter(|_| enforced) else {
            return 0;
        };
        served.passes.retain(|address, _| governed.contains_key(address));
        let due = |address: &SocketAddr| served.passes.get(address).is_none_or(|passes| *passes < PASSES);
        if !governed.keys().any(due) {
            return 0;
        }
        let direct = Arc::clone(governed);
        match destroy::connections(&served.netns, move |remote| direct.contains_key(&remote)) {
            Ok(ended) => {
                for address in governed.keys() {
                    let passes = served.passes.entry(*address).or_default();
                    *passes = passes.saturating_add(1);
                }
                ended
            }
            Err(error) => {
                self.state = State::Pending(format!("open-connections ({error})"));
                0
            }
        }
    }

    /// Its entry in the kernel, while its cgroup exists. Until its listeners are open, and whenever they
    /// cannot be, the entry makes the kernel refuse.
    pub fn entry(&self) -> Option<(u64, layout::Workload)> {
        let (mode, slot) = match self.spec.mode {
            Mode::Off => (MODE_OFF, self.slot),
            Mode::Observe => (MODE_OBSERVE, self.slot),
            Mode::Enforce => (MODE_ENFORCE, self.slot),
        };
        let entry = layout::Workload {
            netns_cookie: self.netns_cookie().unwrap_or(0),
            mode,
            slot,
            listener_v4: u32::from(self.served.is_some()),
            listener_v6: u32::from(self.served.as_ref().is_some_and(|served| served.v6)),
        };
        self.cgroup_id.map(|id| (id, entry))
    }

    /// For `mcpgw status`. `in_force` tells whether the kernel was read back and has its entry.
    pub fn status(&self, in_force: bool) -> WorkloadStatus {
        let state = match &self.state {
            State::Enforced | State::Observed if !in_force => State::Pending("kernel-out-of-step".into()),
            state => state.clone(),
        };
        WorkloadStatus {
            name: self.spec.name.to_string(),
            service_account: self.spec.service_account.to_string(),
            mode: self.spec.mode.as_str().into(),
            state,
            cgroup: self.spec.cgroup.display().to_string(),
            cgroup_id: self.cgroup_id,
            netns_cookie: self.netns_cookie(),
            listeners: self
                .served
                .as_ref()
                .map(|served| served.addresses.clone())
                .unwrap_or_default(),
        }
    }
}

/// The network namespace of the processes in a cgroup; `None` if it is the one that is held.
fn of_processes(cgroup: &Path, held: Option<NetNsId>) -> Result<Option<NetNs>, State> {
    let mut found: Option<(u32, Process, Place)> = None;
    let mut several = false;
    for pid in cgroup::processes(cgroup) {
        // Those that have ended since are passed over.
        let Ok(process) = Process::find(pid) else { continue };
        let Ok(place) = process.netns() else { continue };
        // A process may have gone into a namespace of its own: the workload's stays the workload's.
        if Some(place.id()) == held {
            return Ok(None);
        }
        match &found {
            None => found = Some((pid, process, place)),
            Some((_, _, first)) => several |= place.id() != first.id(),
        }
    }
    let pending = || State::Pending("no-process".into());
    let (pid, process, place) = found.ok_or_else(pending)?;
    if several {
        return Err(State::Refused("several-network-namespaces".into()));
    }
    // The process of that number may have been another's by the time it was looked at.
    if !cgroup::processes(cgroup).contains(&pid) || !process.is_alive() {
        return Err(pending());
    }
    place.open().map(Some).map_err(|_| pending())
}

/// What looking for a workload's network namespace found.
enum Found {
    /// The one whose listeners are open.
    Held,
    /// Another one.
    New(NetNs),
}

/// `path` (which begins with `/`) as a path below `mount`.
pub fn below(mount: &Path, path: &Path) -> PathBuf {
    mount.join(path.strip_prefix("/").unwrap_or(path))
}
