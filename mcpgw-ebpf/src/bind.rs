//! `bind4` and `bind6`: in an enrolled workload the listener's port is the agent's.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use mcpgw_common::decide::{self, Verdict};

use crate::{
    caller::Caller,
    maps::{SETTINGS, count_refusal},
    sock_addr::{Family, endpoint, is_tcp},
};

/// The application gets EPERM.
const STOP: i32 = 0;
const PROCEED: i32 = 1;

#[cgroup_sock_addr(bind4)]
pub fn bind4(ctx: SockAddrContext) -> i32 {
    bind(&ctx, Family::V4)
}

#[cgroup_sock_addr(bind6)]
pub fn bind6(ctx: SockAddrContext) -> i32 {
    bind(&ctx, Family::V6)
}

#[inline(always)]
fn bind(ctx: &SockAddrContext, family: Family) -> i32 {
    let Some(settings) = SETTINGS.get(0) else {
        return STOP;
    };
    let port = endpoint(ctx, family).port;
    if port != settings.listener_port {
        return PROCEED;
    }
    let caller = Caller::of(ctx);
    let workload = match caller.workload {
        Some((_, workload)) => Some(workload),
        None => None,
    };
    match decide::bind(
        settings,
        port,
        is_tcp(ctx),
        caller.task_cgroup,
        workload,
        caller.netns_enforced,
    ) {
        Verdict::Refuse(reason) => {
            count_refusal(
                reason,
                match workload {
                    Some(workload) => Some(workload.slot),
                    None => None,
                },
            );
            STOP
        }
        _ => PROCEED,
    }
}
