//! `getpeername4` and `getpeername6`: the application sees the address that it dialled, not the listener's.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};

use crate::{
    maps::ORIGINS,
    sock_addr::{Family, set_endpoint},
};

/// These hooks may change the answer, not refuse it.
const PROCEED: i32 = 1;

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    restore(&ctx, Family::V4)
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    restore(&ctx, Family::V6)
}

#[inline(always)]
fn restore(ctx: &SockAddrContext, family: Family) -> i32 {
    // SAFETY: the socket is the context's own; the pointer is to the map's value type or null.
    if let Some(origin) = unsafe { ORIGINS.get_ptr_mut(ctx).as_ref() } {
        set_endpoint(ctx, family, &origin.destination);
    }
    PROCEED
}
