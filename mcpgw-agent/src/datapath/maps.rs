//! The pinned maps, typed.

use std::path::Path;

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use mcpgw_common::{
    Endpoint, Reason,
    layout::{Flow, MAX_GOVERNED, MAX_HANDOFFS, MAX_WORKLOADS, Origin, Refusals, Settings, Workload, name},
};

use super::{
    DatapathError,
    status::{ConnectCount, MapStatus},
};

/// Up to here waiting connections are counted: each costs a system call at every report.
const COUNTED_HANDOFFS: usize = 16_384;

/// The maps that the agent writes, and those that it reads to report.
pub struct Maps {
    /// Governed endpoints.
    pub governed: HashMap<MapData, Endpoint, u32>,
    /// Workloads by cgroup id.
    pub workloads: HashMap<MapData, u64, Workload>,
    /// Cgroup id by network namespace cookie.
    pub netns: HashMap<MapData, u64, u64>,
    /// Node settings, at index 0.
    pub settings: Array<MapData, Settings>,
    /// Connections that wait to be accepted.
    pub handoffs: HashMap<MapData, Flow, Origin>,
    /// Handoffs that the kernel added, by slot.
    pub committed: Array<MapData, u64>,
    /// Handoffs that the agent took, by slot.
    pub accepted: Array<MapData, u64>,
    /// Until when the agent is alive.
    pub lease: Array<MapData, u64>,
    /// What was refused, by slot.
    pub refused: Array<MapData, Refusals>,
    /// How much of that was told of.
    pub reported: Array<MapData, Refusals>,
    counters: PerCpuArray<MapData, u64>,
}

/// What one workload's listeners need of the maps.
pub struct HandoffMaps {
    pub(super) handoffs: HashMap<MapData, Flow, Origin>,
    accepted: Array<MapData, u64>,
    taken: u64,
}

impl HandoffMaps {
    /// Opens the pins. `ACCEPTED` of `slot` goes on from where it stands.
    pub fn open(pins: &Path, slot: u32) -> Result<Self, DatapathError> {
        let accepted: Array<_, u64> = open(pins, name::ACCEPTED, Map::Array)?;
        let taken = accepted
            .get(&slot, 0)
            .map_err(DatapathError::map("read", name::ACCEPTED))?;
        Ok(Self {
            handoffs: open(pins, name::HANDOFFS, Map::HashMap)?,
            accepted,
            taken,
        })
    }

    /// Counts one more that was taken: the kernel gives the place back to the workload.
    pub(super) fn count_accepted(&mut self, slot: u32) -> Result<(), MapError> {
        self.taken = self.taken.wrapping_add(1);
        self.accepted.set(slot, self.taken, 0)
    }
}

impl Maps {
    /// Opens the pins below `pins` (the node's directory of this schema).
    pub fn open(pins: &Path) -> Result<Self, DatapathError> {
        Ok(Self {
            governed: open(pins, name::GOVERNED, Map::HashMap)?,
            workloads: open(pins, name::WORKLOADS, Map::HashMap)?,
            netns: open(pins, name::NETNS, Map::HashMap)?,
            settings: open(pins, name::SETTINGS, Map::Array)?,
            handoffs: open(pins, name::HANDOFFS, Map::HashMap)?,
            committed: open(pins, name::COMMITTED, Map::Array)?,
            accepted: open(pins, name::ACCEPTED, Map::Array)?,
            lease: lease(pins)?,
            refused: open(pins, name::REFUSED, Map::Array)?,
            reported: open(pins, name::REPORTED, Map::Array)?,
            counters: open(pins, name::COUNTERS, Map::PerCpuArray)?,
        })
    }

    /// Connects by decision; those that never happened are left out.
    pub fn connects(&self) -> Result<Vec<ConnectCount>, DatapathError> {
        let mut counts = Vec::new();
        for reason in Reason::ALL {
            let per_cpu = self
                .counters
                .get(&(reason as u32), 0)
                .map_err(DatapathError::map("read", name::COUNTERS))?;
            let count = per_cpu.iter().sum();
            if count > 0 {
                let (decision, reason) = (reason.decision().to_owned(), reason.name().to_owned());
                counts.push(ConnectCount {
                    decision,
                    reason,
                    count,
                });
            }
        }
        Ok(counts)
    }

    /// How full the maps are.
    pub fn fill(&self) -> Vec<MapStatus> {
        let status = |name: &str, entries: usize, capacity: u32| MapStatus {
            name: name.to_owned(),
            entries: entries as u64,
            capacity: u64::from(capacity),
        };
        vec![
            status(name::GOVERNED, self.governed.keys().flatten().count(), MAX_GOVERNED),
            status(name::WORKLOADS, self.workloads.keys().flatten().count(), MAX_WORKLOADS),
            status(name::NETNS, self.netns.keys().flatten().count(), MAX_WORKLOADS),
            status(
                name::HANDOFFS,
                self.handoffs.keys().flatten().take(COUNTED_HANDOFFS).count(),
                MAX_HANDOFFS,
            ),
        ]
    }
}

/// The agent's lease.
pub fn lease(pins: &Path) -> Result<Array<MapData, u64>, DatapathError> {
    open(pins, name::LEASE, Map::Array)
}

fn open<M: TryFrom<Map, Error = MapError>>(
    pins: &Path,
    name: &'static str,
    kind: fn(MapData) -> Map,
) -> Result<M, DatapathError> {
    MapData::from_pin(pins.join("maps").join(name))
        .and_then(|data| M::try_from(kind(data)))
        .map_err(DatapathError::map("open", name))
}
