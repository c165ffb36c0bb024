//! Who calls: the workload whose cgroup holds the calling task, and the socket's network namespace.

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_cgroup_id,
        generated::{bpf_get_current_ancestor_cgroup_id, bpf_get_netns_cookie},
    },
    programs::SockAddrContext,
};
use mcpgw_common::layout::{MAX_CGROUP_DEPTH, Workload};

use crate::maps::{NETNS, WORKLOADS};

/// What the kernel says about the caller.
pub struct Caller {
    /// Id of the task's own cgroup.
    pub task_cgroup: u64,
    /// The enrolled workload that the task belongs to, with the id of its cgroup.
    pub workload: Option<(u64, Workload)>,
    /// Cookie of the *socket's* network namespace.
    pub netns_cookie: u64,
    /// Whether that namespace is a workload's that is enforced.
    pub netns_enforced: bool,
}

impl Caller {
    #[inline(always)]
    pub fn of(ctx: &SockAddrContext) -> Self {
        // SAFETY: helpers without preconditions, given the hook's own context.
        let (task_cgroup, netns_cookie) = unsafe { (bpf_get_current_cgroup_id(), bpf_get_netns_cookie(ctx.as_ptr())) };
        Self {
            task_cgroup,
            workload: workload_of_task(),
            netns_cookie,
            netns_enforced: is_enforced(netns_cookie),
        }
    }
}

/// Walks the task's cgroups from the root down: what a workload makes below its own cgroup stays its own.
#[inline(always)]
fn workload_of_task() -> Option<(u64, Workload)> {
    for level in 0..MAX_CGROUP_DEPTH {
        // SAFETY: a helper without preconditions; 0 past the task's own level.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if id == 0 {
            return None;
        }
        // SAFETY: entries are replaced as a whole by the agent; a torn read is impossible for a hash map,
        // whose update swaps elements.
        if let Some(workload) = unsafe { WORKLOADS.get(id) } {
            return Some((id, *workload));
        }
    }
    None
}

#[inline(always)]
fn is_enforced(netns_cookie: u64) -> bool {
    // SAFETY: as above.
    unsafe { NETNS.get(netns_cookie).and_then(|cgroup| WORKLOADS.get(cgroup)) }.is_some_and(Workload::is_enforced)
}
