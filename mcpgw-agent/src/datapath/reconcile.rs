//! The loop's body: `Desired` and what is there → kernel. Level-triggered, idempotent, read back.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mcpgw_common::{
    Endpoint,
    layout::{self, GOVERNED_GATEWAY, GOVERNED_REDIRECT, GOVERNED_REFUSE, MAX_WORKLOADS, Settings, name},
};

use super::{
    DatapathError, NodeOptions, Serve, cgroup,
    enrol::{Enrolment, NodeFacts, below},
    fill::Fill,
    kernel::{self, Kernel},
    maps::Maps,
    netns::NetNsId,
    refused::{self, Counted},
    status::DatapathStatus,
};
use crate::resources::{Backend, Capture, Desired, HostAddresses, Mode, ObjectName, UnknownWorkloads, captured};

/// How often the maps are compared with what they should hold although nothing has changed: somebody else
/// may have written to them.
const READ_BACK: Duration = Duration::from_secs(30);

/// How long, after a start, addresses stay governed that nobody asks for, while it is not known where all hosts are:
/// they may be theirs.
const HOSTS_AWAITED: Duration = Duration::from_secs(600);

/// Everything that the datapath has open.
pub struct Reconciler {
    kernel: Kernel,
    maps: Maps,
    node: NodeFacts,
    serve: Arc<dyn Serve>,
    enrolments: BTreeMap<ObjectName, Enrolment>,
    /// Slots that a workload has had since the maps were made, by cgroup id: kept over a restart.
    slots: HashMap<u64, u32>,
    next_slot: u32,
    missing: Arc<AtomicU64>,
    destroyed: u64,
    written: Option<(Instant, Content)>,
    /// Whether it was told what was refused while no agent ran.
    began: bool,
    /// Until when addresses may be those of hosts that are not found yet; `None` once all were found.
    hosts_awaited: Option<Instant>,
}

/// What the maps that the agent writes should hold.
#[derive(Clone, PartialEq)]
struct Content {
    settings: Settings,
    workloads: HashMap<u64, layout::Workload>,
    netns: HashMap<u64, u64>,
    governed: HashMap<Endpoint, u32>,
}

/// The addresses whose dials are captured, and how: those of servers, and the gateway's own, so that enrolled
/// workloads are attested there as well. What is on loopback is another place in a workload's namespace.
fn governed(desired: &Desired, hosts: &HostAddresses) -> HashMap<SocketAddr, u32> {
    let captured = captured(desired.servers.iter().map(Arc::as_ref), hosts);
    let kind = |capture| match capture {
        Capture::Off => None,
        Capture::Redirect => Some(GOVERNED_REDIRECT),
        Capture::GatewayOnly => Some(GOVERNED_REFUSE),
    };
    let mut governed: HashMap<SocketAddr, u32> = captured
        .iter()
        .filter_map(|(address, found)| kind(found.capture).map(|kind| (*address, kind)))
        .collect();
    // Last, so that no name in DNS can make it another's.
    let gateway = desired.settings.gateway.iter().flat_map(|gateway| &gateway.listen);
    let dialled = gateway.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
    governed.extend(
        dialled
            .filter(|address| !address.ip().is_loopback())
            .map(|address| (address, GOVERNED_GATEWAY)),
    );
    governed
}

impl Reconciler {
    /// Loads the programs and finds what the kernel still has from an earlier agent.
    pub fn new(options: &NodeOptions, serve: Arc<dyn Serve>) -> Result<Self, DatapathError> {
        let io = |action: &'static str, path: &str| {
            let path = path.into();
            move |source| DatapathError::Io { action, path, source }
        };
        let cgroup_mount = cgroup::mount().map_err(io("find cgroup v2", "/proc/self/mounts"))?;
        let attached_at = options
            .cgroup
            .canonicalize()
            .map_err(io("open the cgroup", &options.cgroup.to_string_lossy()))?
            .strip_prefix(&cgroup_mount)
            .map(|path| Path::new("/").join(path))
            .map_err(|_| {
                DatapathError::Preflight(vec![format!(
                    "{} is not below the cgroup v2 mount {}: give --cgroup a directory of that hierarchy",
                    options.cgroup.display(),
                    cgroup_mount.display()
                )])
            })?;
        let node = NodeFacts {
            cgroup_mount,
            attached_at,
            agent_cgroup: cgroup::own().map_err(io("find the agent's cgroup", "/proc/self/cgroup"))?,
            node_netns: NetNsId::own().map_err(io("find the node's network namespace", "/proc/self/ns/net"))?,
            listener_port: options.listener_port,
            pins: options.pins(),
        };
        let kernel = Kernel::load(options)?;
        let maps = Maps::open(&options.pins())?;
        let slots: HashMap<u64, u32> = maps.workloads.iter().flatten().map(|(id, w)| (id, w.slot)).collect();
        let next_slot = slots.values().max().map_or(0, |slot| slot + 1);
        Ok(Self {
            kernel,
            maps,
            node,
            serve,
            enrolments: BTreeMap::new(),
            slots,
            next_slot,
            missing: Arc::default(),
            destroyed: 0,
            written: None,
            began: false,
            hosts_awaited: Some(Instant::now() + HOSTS_AWAITED),
        })
    }

    /// The loaded object, for its log.
    pub fn kernel_mut(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// The cgroups of all workloads, whether they exist or not.
    pub fn cgroups(&self) -> impl Iterator<Item = PathBuf> {
        self.enrolments
            .values()
            .map(|enrolment| below(&self.node.cgroup_mount, &enrolment.spec().cgroup))
    }

    /// Makes the kernel match `desired`, whose hosts are at these addresses, and reports what the kernel has then.
    pub fn reconcile(&mut self, desired: &Desired, hosts: &HostAddresses) -> DatapathStatus {
        // Of those that are about to go as well; a first time there are none yet.
        let told = self.tell_refusals();
        let applied = self.apply(desired, hosts);
        if !self.began {
            self.began = true;
            self.missed_refusals();
        }
        let error = applied.and(told).err().map(|error| error.to_string());
        self.report(desired.generation, error)
    }

    fn apply(&mut self, desired: &Desired, hosts: &HostAddresses) -> Result<(), DatapathError> {
        self.match_workloads(desired)?;
        self.enrolments
            .values_mut()
            .for_each(|enrolment| enrolment.find_cgroup(&self.node));
        self.announce()?;
        let mut taken: HashSet<NetNsId> = self.enrolments.values().filter_map(Enrolment::netns).collect();
        for enrolment in self.enrolments.values_mut() {
            let held = enrolment.netns();
            enrolment.refresh(&self.node, &taken, &*self.serve, &self.missing);
            if enrolment.netns() != held {
                held.map(|id| taken.remove(&id));
                taken.extend(enrolment.netns());
            }
        }
        let governed = Arc::new(governed(desired, hosts));
        if self.hosts_awaited.is_some_and(|until| until <= Instant::now()) || all_found(desired, hosts) {
            self.hosts_awaited = None;
        }
        // Where not everything could be written, the rest is governed all the same.
        let written = self.write_maps(desired, &governed);
        if desired.workloads.iter().any(|workload| workload.mode != Mode::Off) {
            let root = below(&self.node.cgroup_mount, &self.node.attached_at);
            let id = cgroup::id(&root).unwrap_or(0);
            self.kernel.attach(&root, id)?;
            self.end_direct_connections(&governed);
        } else {
            self.kernel.detach()?;
        }
        written
    }

    /// Tells of what was refused since the last time.
    fn tell_refusals(&mut self) -> Result<(), DatapathError> {
        if !self.began {
            return Ok(());
        }
        self.tell(false)
    }

    /// Tells of what was refused while no agent ran.
    fn missed_refusals(&mut self) {
        if let Err(error) = self.tell(true) {
            tracing::error!(%error, "what was refused while no agent ran is not known");
        }
    }

    fn tell(&mut self, approximate: bool) -> Result<(), DatapathError> {
        let counted = self.enrolments.values().map(Enrolment::counted);
        let serve = &self.serve;
        counted.chain([Counted::NOBODY]).try_for_each(|counted| {
            refused::tell(&mut self.maps, &counted, approximate, |refusals| {
                refusals.into_iter().for_each(|refusals| serve.refused(refusals));
            })
        })
    }

    /// Makes cgroups known that the kernel has not seen yet: it refuses them until their listeners are open,
    /// however long that takes. Entries that are there stay as they are.
    fn announce(&mut self) -> Result<(), DatapathError> {
        let wanted: HashMap<u64, layout::Workload> = self.enrolments.values().filter_map(Enrolment::entry).collect();
        let known = &self.maps.workloads;
        let unseen = wanted.iter().filter(|(id, _)| known.get(id, 0).is_err());
        let unseen = unseen.map(|(id, entry)| (*id, *entry)).collect();
        Fill::new(&mut self.maps.workloads, name::WORKLOADS).add(&unseen, &wanted)
    }

    /// Connections that are older than their governance would go on past it.
    fn end_direct_connections(&mut self, governed: &Arc<HashMap<SocketAddr, u32>>) {
        let ended: u64 = self
            .enrolments
            .values_mut()
            .map(|e| e.end_direct_connections(governed))
            .sum();
        if ended > 0 {
            tracing::info!(ended, "ended connections that were open before they were governed");
        }
        self.destroyed += ended;
    }

    /// One enrolment for each workload; those that changed or went are closed first.
    fn match_workloads(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        self.enrolments
            .retain(|_, enrolment| desired.workloads.iter().any(|spec| spec == enrolment.spec()));
        for spec in &desired.workloads {
            if !self.enrolments.contains_key(&spec.name) {
                let known = cgroup::id(&below(&self.node.cgroup_mount, &spec.cgroup));
                let slot = self.slot_for(known)?;
                self.enrolments
                    .insert(spec.name.clone(), Enrolment::new(spec.clone(), slot));
            }
        }
        Ok(())
    }

    /// The slot that the cgroup had before, or the next that nobody has.
    fn slot_for(&mut self, cgroup_id: Option<u64>) -> Result<u32, DatapathError> {
        let taken = |this: &Self, slot: u32| this.enrolments.values().any(|enrolment| enrolment.slot() == slot);
        if let Some(slot) = cgroup_id.and_then(|id| self.slots.get(&id).copied())
            && !taken(self, slot)
        {
            return Ok(slot);
        }
        for _ in 0..MAX_WORKLOADS {
            let slot = self.next_slot % MAX_WORKLOADS;
            self.next_slot = slot + 1;
            if !taken(self, slot) && !self.slots.values().any(|used| *used == slot) {
                self.clear_slot(slot)?;
                return Ok(slot);
            }
        }
        Err(DatapathError::TooManyWorkloads(MAX_WORKLOADS))
    }

    /// A slot's new owner starts with nothing waiting, whatever the last one left.
    fn clear_slot(&mut self, slot: u32) -> Result<(), DatapathError> {
        let committed = self
            .maps
            .committed
            .get(&slot, 0)
            .map_err(DatapathError::map("read", name::COMMITTED))?;
        self.maps
            .accepted
            .set(slot, committed, 0)
            .map_err(DatapathError::map("write", name::ACCEPTED))?;
        refused::forget(&mut self.maps, slot)
    }

    fn content(&self, desired: &Desired, governed: &HashMap<SocketAddr, u32>) -> Content {
        let agent_cgroup = below(&self.node.cgroup_mount, &self.node.agent_cgroup);
        Content {
            settings: Settings {
                agent_cgroup: cgroup::id(&agent_cgroup).unwrap_or(0),
                listener_port: u32::from(self.node.listener_port),
                refuse_unknown: u32::from(desired.settings.unknown_workloads == UnknownWorkloads::Refuse),
            },
            workloads: self.enrolments.values().filter_map(Enrolment::entry).collect(),
            netns: self
                .enrolments
                .values()
                .filter_map(|e| Some((e.netns_cookie()?, e.cgroup_id()?)))
                .collect(),
            governed: governed
                .iter()
                .map(|(address, kind)| (Endpoint::from(*address), *kind))
                .collect(),
        }
    }

    /// Additions go before removals, and workloads before addresses: at every moment a dial is decided by
    /// the old state or by the new, or refused.
    fn write_maps(&mut self, desired: &Desired, governed: &HashMap<SocketAddr, u32>) -> Result<(), DatapathError> {
        let content = self.content(desired, governed);
        if self
            .written
            .as_ref()
            .is_some_and(|(at, written)| *written == content && at.elapsed() < READ_BACK)
        {
            return Ok(());
        }
        self.written = None;
        if self.maps.settings.get(&0, 0).ok() != Some(content.settings) {
            self.maps
                .settings
                .set(0, content.settings, 0)
                .map_err(DatapathError::map("write", name::SETTINGS))?;
        }
        let mut workloads = Fill::new(&mut self.maps.workloads, name::WORKLOADS);
        let mut netns = Fill::new(&mut self.maps.netns, name::NETNS);
        let mut governed = Fill::new(&mut self.maps.governed, name::GOVERNED);
        workloads.add(&content.workloads, &content.workloads)?;
        netns.add(&content.netns, &content.netns)?;
        governed.add(&content.governed, &content.governed)?;
        if self.hosts_awaited.is_none() {
            governed.prune(&content.governed)?;
        }
        netns.prune(&content.netns)?;
        workloads.prune(&content.workloads)?;
        self.slots = content
            .workloads
            .iter()
            .map(|(id, workload)| (*id, workload.slot))
            .collect();
        self.written = Some((Instant::now(), content));
        Ok(())
    }

    fn report(&self, generation: u64, error: Option<String>) -> DatapathStatus {
        let programs = kernel::attached(&self.node.pins);
        let root = cgroup::id(&below(&self.node.cgroup_mount, &self.node.attached_at));
        let attached = programs.iter().filter(|p| Some(p.cgroup_id) == root).count() == kernel::program_count();
        let workloads = self
            .enrolments
            .values()
            .map(|enrolment| {
                let entry = enrolment.entry();
                let in_force = attached
                    && entry.is_some_and(|(id, entry)| self.maps.workloads.get(&id, 0).is_ok_and(|e| e == entry));
                enrolment.status(in_force)
            })
            .collect();
        DatapathStatus {
            generation,
            workloads,
            programs,
            maps: self.maps.fill(),
            connects: self.maps.connects().unwrap_or_default(),
            original_dst_missing: self.missing.load(Ordering::Relaxed),
            sockets_destroyed: self.destroyed,
            error,
        }
    }
}

/// Whether it is known where every host is whose dials are captured.
fn all_found(desired: &Desired, hosts: &HostAddresses) -> bool {
    desired.servers.iter().all(|server| match &server.backend {
        Backend::Host { name, port, .. } if server.capture != Capture::Off => {
            hosts.contains_key(&(Arc::clone(name), *port))
        }
        _ => true,
    })
}
