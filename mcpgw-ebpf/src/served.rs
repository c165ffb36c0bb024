//! Whether the agent would take a connection now: what an observed workload is redirected on.
//!
//! An agent that is killed takes its listeners with it, which is seen at once; one that hangs lets its lease run out.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_F_CURRENT_NETNS, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1},
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_sk_lookup_tcp, bpf_sk_release},
    programs::SockAddrContext,
};
use mcpgw_common::Address;

use crate::{maps::LEASE, sock_addr::listener_for};

/// Length of a tuple by family.
const TUPLE_V4: u32 = 12;
const TUPLE_V6: u32 = 36;

/// Whether the agent's lease holds, and somebody listens where connections to `destination` would be sent.
#[inline(always)]
pub fn is_served(ctx: &SockAddrContext, destination: &Address, port: u32) -> bool {
    // SAFETY: a helper without preconditions.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    LEASE.get(0).is_some_and(|until| now < *until) && listens(ctx, destination, port)
}

/// Whether somebody listens where connections to `destination` would be sent.
#[inline(always)]
pub fn listens(ctx: &SockAddrContext, destination: &Address, port: u32) -> bool {
    let listener = listener_for(destination, port);
    let port = (port as u16).to_be();
    // From nowhere: only a listener is found, never a connection.
    let mut tuple = bpf_sock_tuple {
        __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 {
            ipv6: aya_ebpf::bindings::bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
                saddr: [0; 4],
                daddr: [0; 4],
                sport: 0,
                dport: 0,
            },
        },
    };
    let length = if destination.is_v4() {
        tuple.__bindgen_anon_1.ipv4 = aya_ebpf::bindings::bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: 0,
            daddr: listener.address.v4_be(),
            sport: 0,
            dport: port,
        };
        TUPLE_V4
    } else {
        tuple.__bindgen_anon_1.ipv6 = aya_ebpf::bindings::bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: [0; 4],
            daddr: listener.address.0,
            sport: 0,
            dport: port,
        };
        TUPLE_V6
    };
    // SAFETY: the tuple is on the stack and as long as the helper is told; the network namespace is the socket's own.
    let found = unsafe { bpf_sk_lookup_tcp(ctx.as_ptr(), &raw mut tuple, length, BPF_F_CURRENT_NETNS as u64, 0) };
    if found.is_null() {
        return false;
    }
    // SAFETY: it was found just now, and is not used after this.
    unsafe { bpf_sk_release(found.cast()) };
    true
}
