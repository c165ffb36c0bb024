//! The maps. Layouts and names: `mcpgw_common::layout`.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, PerCpuArray, SkStorage},
    macros::btf_map,
};
use mcpgw_common::{
    Endpoint, Reason,
    layout::{
        COUNTER_SLOTS, Flow, MAX_GOVERNED, MAX_HANDOFFS, MAX_WORKLOADS, NOBODY, Origin, REFUSAL_SLOTS, Refusals,
        Settings, Workload,
    },
};

/// Entries are allocated when they are inserted: the maps are sized for the worst case, not for the usual.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
pub static GOVERNED: HashMap<Endpoint, u32, { MAX_GOVERNED as usize }, ON_DEMAND> = HashMap::new();

#[btf_map]
pub static WORKLOADS: HashMap<u64, Workload, { MAX_WORKLOADS as usize }, ON_DEMAND> = HashMap::new();

#[btf_map]
pub static NETNS: HashMap<u64, u64, { MAX_WORKLOADS as usize }, ON_DEMAND> = HashMap::new();

#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();

#[btf_map]
pub static HANDOFFS: HashMap<Flow, Origin, { MAX_HANDOFFS as usize }, ON_DEMAND> = HashMap::new();

#[btf_map]
pub static COMMITTED: Array<u64, { MAX_WORKLOADS as usize }> = Array::new();

#[btf_map]
pub static ACCEPTED: Array<u64, { MAX_WORKLOADS as usize }> = Array::new();

#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { COUNTER_SLOTS as usize }> = PerCpuArray::new();

#[btf_map]
pub static REFUSED: Array<Refusals, { REFUSAL_SLOTS as usize }> = Array::new();

/// The agent's own: no program looks at it.
#[btf_map]
pub static REPORTED: Array<Refusals, { REFUSAL_SLOTS as usize }> = Array::new();

#[btf_map]
pub static LEASE: Array<u64, 1> = Array::new();

#[btf_map]
pub static ORIGINS: SkStorage<Origin> = SkStorage::new();

/// Counts one decision.
#[inline(always)]
pub fn count(reason: Reason) {
    if let Some(counter) = COUNTERS.get_ptr_mut(reason as u32) {
        // SAFETY: the pointer is to this CPU's own slot, and is not null.
        unsafe { *counter += 1 };
    }
}

/// Counts one refusal, of the workload in `slot` or of nobody that is known.
#[inline(always)]
pub fn count_refusal(reason: Reason, slot: Option<u32>) {
    count(reason);
    let slot = match slot {
        Some(slot) => slot,
        None => NOBODY,
    };
    // The verifier does not know what the compiler does, that every reason has its place: it is to see the comparison.
    let place = core::hint::black_box(reason as u32);
    if place >= COUNTER_SLOTS {
        return;
    }
    if let Some(refusals) = REFUSED.get_ptr_mut(slot) {
        let counter = refusals.cast::<i64>().wrapping_add(place as usize);
        // SAFETY: the pointer is into the array map, within the value: aligned to 8 and valid for this program run. All
        // other writers in the kernel use the same instruction.
        unsafe { atomic_xadd::<_, _, { AtomicOrdering::Relaxed }>(counter, 1_i64) };
    }
}

/// Connections of the workload in `slot` that were handed over and not accepted yet.
#[inline(always)]
pub fn waiting(slot: u32) -> u64 {
    let (Some(committed), Some(accepted)) = (COMMITTED.get(slot), ACCEPTED.get(slot)) else {
        return u64::MAX;
    };
    // The two are not read at one instant: an acceptance seen before its commit must not wrap round.
    committed.saturating_sub(*accepted)
}

/// Adds `by` (or, wrapping, subtracts) to the number of commits of the workload in `slot`.
#[inline(always)]
pub fn add_committed(slot: u32, by: i64) {
    if let Some(counter) = COMMITTED.get_ptr_mut(slot) {
        // `AtomicI64::fetch_add` is not offered for BPF targets; the instruction is there.
        // SAFETY: the pointer is into the array map: aligned to 8 and valid for this program run. All
        // other writers in the kernel use the same instruction.
        unsafe { atomic_xadd::<_, _, { AtomicOrdering::Relaxed }>(counter.cast::<i64>(), by) };
    }
}
