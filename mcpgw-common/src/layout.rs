//! The maps: their names, sizes, keys and values. No type here has padding, so that any bytes are a value
//! and keys compare as bytes.
//!
//! A change of a layout is a new [`SCHEMA`]: pins of another schema are never opened.

use crate::{Address, Endpoint, Reason};

/// The version of these layouts: part of the pin path.
pub const SCHEMA: u32 = 3;

/// Names of the pinned maps, as the programs declare them.
pub mod name {
    /// Governed endpoints: [`Endpoint`](crate::Endpoint) → [`GOVERNED_REDIRECT`](super::GOVERNED_REDIRECT) or
    /// another of its kind.
    pub const GOVERNED: &str = "GOVERNED";
    /// Workloads by pod cgroup id: `u64` → [`Workload`](super::Workload).
    pub const WORKLOADS: &str = "WORKLOADS";
    /// Network namespace cookie of each workload → its cgroup id, both `u64`.
    pub const NETNS: &str = "NETNS";
    /// One [`Settings`](super::Settings) at index 0.
    pub const SETTINGS: &str = "SETTINGS";
    /// Connections that were established and not yet accepted: [`Flow`](super::Flow) → [`Origin`](super::Origin).
    pub const HANDOFFS: &str = "HANDOFFS";
    /// Per workload slot, handoffs that the kernel added minus those that it removed: `u64`.
    pub const COMMITTED: &str = "COMMITTED";
    /// Per workload slot, handoffs that the agent took: `u64`, written by the agent alone.
    pub const ACCEPTED: &str = "ACCEPTED";
    /// Per-CPU counters by [`Reason`](crate::Reason).
    pub const COUNTERS: &str = "COUNTERS";
    /// Original destination of each redirected socket, in socket storage.
    pub const ORIGINS: &str = "ORIGINS";
    /// Until when the agent is taken to be alive, at index 0: nanoseconds since boot, suspended time included.
    pub const LEASE: &str = "LEASE";
    /// Per workload slot, what was refused: [`Refusals`](super::Refusals). At [`NOBODY`](super::NOBODY) that of callers
    /// who are no workload.
    pub const REFUSED: &str = "REFUSED";
    /// As much of [`REFUSED`] as the agent has told of: written by the agent alone, and there for the next one.
    pub const REPORTED: &str = "REPORTED";
    /// The maps that are pinned (all of them).
    pub const ALL: [&str; 12] = [
        GOVERNED, WORKLOADS, NETNS, SETTINGS, HANDOFFS, COMMITTED, ACCEPTED, COUNTERS, ORIGINS, LEASE, REFUSED,
        REPORTED,
    ];
}

/// What a governed endpoint maps to: dials go to the workload's listener.
pub const GOVERNED_REDIRECT: u32 = 1;
/// Dials are refused: the server is reached through the gateway only. Any other value means this, too.
pub const GOVERNED_REFUSE: u32 = 2;
/// The gateway's own address: dials of enrolled workloads go to their listeners, where they are attested; everybody
/// else may dial it, and has to prove who it is.
pub const GOVERNED_GATEWAY: u32 = 3;

/// Governed endpoints per node.
pub const MAX_GOVERNED: u32 = 65_536;
/// Enrolled workloads per node, and so the number of slots.
pub const MAX_WORKLOADS: u32 = 4_096;
/// Connections of one workload that may wait to be accepted; the next connect is refused.
pub const QUOTA: u64 = 1_024;
/// Where the kernel stops to commit, whatever the connect hook let through while CPUs raced.
pub const QUOTA_CEILING: u64 = QUOTA + 256;
/// Connections of all workloads that may wait to be accepted. Entries are allocated on demand, and the
/// per-workload ceiling keeps one workload from filling it.
pub const MAX_HANDOFFS: u32 = 262_144;
/// Cgroup levels that are searched for a workload, from the root down.
pub const MAX_CGROUP_DEPTH: i32 = 16;

/// What the programs must know about the node.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// The agent's own cgroup: exempt. 0 = none.
    pub agent_cgroup: u64,
    /// The listener port in every workload's network namespace, host order.
    pub listener_port: u32,
    /// 1: an unknown workload that dials a governed address is refused; 0: it passes.
    pub refuse_unknown: u32,
}

/// [`Workload::mode`]: direct dials are left alone.
pub const MODE_OFF: u32 = 0;
/// [`Workload::mode`]: governed.
pub const MODE_ENFORCE: u32 = 1;

/// [`Workload::mode`]: governed while there is an agent, and never refused.
pub const MODE_OBSERVE: u32 = 2;

/// An enrolled workload, keyed by the id of its pod-level cgroup.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Workload {
    /// Cookie of its network namespace; 0 while it is not known.
    pub netns_cookie: u64,
    /// [`MODE_OFF`], [`MODE_ENFORCE`] or [`MODE_OBSERVE`]; anything else is treated as enforce.
    pub mode: u32,
    /// Index in `COMMITTED` and `ACCEPTED`; below [`MAX_WORKLOADS`].
    pub slot: u32,
    /// 1 while a listener on 127.0.0.1 is up.
    pub listener_v4: u32,
    /// 1 while a listener on ::1 is up.
    pub listener_v6: u32,
}

impl Workload {
    /// Whether its dials of governed addresses reach the proxy or nothing.
    #[inline(always)]
    pub const fn is_enforced(&self) -> bool {
        self.mode != MODE_OFF && self.mode != MODE_OBSERVE
    }
}

/// A connection to the listener as `accept` sees it on the wire.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Flow {
    /// Cookie of the network namespace: tuples repeat between namespaces.
    pub netns_cookie: u64,
    /// Source of the connection.
    pub source: Endpoint,
    /// The listener's address and port.
    pub listener: Endpoint,
}

/// Where a redirected socket meant to go, and who dialled.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// The address that the application dialled.
    pub destination: Endpoint,
    /// Thread group id of the dialling process, in the initial pid namespace.
    pub pid: u32,
    /// The workload's cgroup id, as the task had it.
    pub cgroup: u64,
    /// The workload's slot.
    pub slot: u32,
    /// TCP initial sequence number of the connection: `accept` compares it with the saved SYN, so that an
    /// aborted connection can never take the destination of a later one under the same tuple.
    pub initial_sequence: u32,
    /// Nanoseconds since boot (suspended time included) at the connect.
    pub connected_at: u64,
    /// Socket cookie: an entry is removed at close only by the socket that made it.
    pub socket_cookie: u64,
    /// The dialling thread's name, NUL-padded. The application chooses it: it describes, no more.
    pub comm: [u8; 16],
}

/// Number of counters.
pub const COUNTER_SLOTS: u32 = Reason::ALL.len() as u32;

/// The place of callers who are no workload, behind the slots.
pub const NOBODY: u32 = MAX_WORKLOADS;
/// Entries of `REFUSED` and `REPORTED`.
pub const REFUSAL_SLOTS: u32 = MAX_WORKLOADS + 1;

/// How much of one workload was refused, by [`Reason`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Refusals(pub [u64; COUNTER_SLOTS as usize]);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, `Copy`, integers only, without padding, as asserted below.
    unsafe impl aya::Pod for super::Address {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Endpoint {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Settings {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Workload {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Flow {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Origin {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Refusals {}
}

const _: () = {
    assert!(size_of::<Address>() == 16);
    assert!(size_of::<Endpoint>() == 20);
    assert!(size_of::<Settings>() == 16);
    assert!(size_of::<Workload>() == 24);
    assert!(size_of::<Flow>() == 8 + 20 + 20);
    assert!(size_of::<Origin>() == 20 + 4 + 8 + 4 + 4 + 8 + 8 + 16);
};
