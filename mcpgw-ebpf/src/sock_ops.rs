//! `sock_ops`: hands the original destination over to the agent, under the tuple that `accept` will see.
//!
//! The hand-over is made when the handshake's answer has arrived and before it is acknowledged, so before
//! the agent can accept the connection. Only there is the connection's own initial sequence number known
//! to both ends (the agent reads it from the SYN that the listener saved), which tells this connection
//! from an earlier one under the same tuple. A connect that is refused never makes an entry.

use aya_ebpf::{
    EbpfContext,
    bindings::{
        BPF_EXIST, BPF_NOEXIST, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_TCP_CLOSE, bpf_sock_ops,
    },
    helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_sk_storage_get},
    macros::sock_ops,
    programs::SockOpsContext,
};
use aya_log_ebpf::debug;
use mcpgw_common::{
    Address, Endpoint, Reason,
    layout::{Flow, Origin, QUOTA_CEILING},
};

use crate::maps::{HANDOFFS, NETNS, ORIGINS, SETTINGS, add_committed, count_refusal, waiting};

const AF_INET: u32 = 2;

/// The return value of `sock_ops` programs means nothing to these callbacks.
const DONE: u32 = 0;

#[sock_ops]
pub fn sock_ops(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(&ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => closed(&ctx),
        _ => {}
    }
    DONE
}

#[inline(always)]
fn established(ctx: &SockOpsContext) {
    let Some(settings) = SETTINGS.get(0) else {
        return;
    };
    if remote_port(ctx) != settings.listener_port {
        return;
    }
    let flow = flow(ctx);
    if !flow.listener.address.is_loopback() {
        return;
    }
    let Some(mut origin) = stored_origin(ctx) else {
        // Not redirected by us: nothing may lie under its tuple that could lend it an identity.
        remove(&flow);
        // On the loopback of a namespace that is not governed the port is anybody's.
        // SAFETY: only whether there is an entry is read.
        if unsafe { NETNS.get(flow.netns_cookie) }.is_some() {
            count_refusal(Reason::NotCommitted, None);
        }
        return;
    };
    if waiting(origin.slot) >= QUOTA_CEILING {
        count_refusal(Reason::NotCommitted, Some(origin.slot));
        return;
    }
    // SAFETY: the helper takes the hook's own context; the verifier checks the field access.
    unsafe {
        origin.socket_cookie = bpf_get_socket_cookie(ctx.as_ptr());
        // The first unacknowledged byte is the one behind the SYN.
        origin.initial_sequence = (*ctx.ops).snd_una.wrapping_sub(1);
    }
    if commit(&flow, &origin) {
        // Without the callback the entry would outlive the connection: better none.
        if ctx
            .set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32)
            .is_err()
        {
            remove(&flow);
            count_refusal(Reason::NotCommitted, Some(origin.slot));
        }
    } else {
        count_refusal(Reason::NotCommitted, Some(origin.slot));
    }
    debug!(ctx, "handed over source port {}", flow.source.port);
}

#[inline(always)]
fn closed(ctx: &SockOpsContext) {
    let flow = flow(ctx);
    // SAFETY: only the cookie is read. Where the entry is replaced meanwhile, the old or the new is read.
    let Some(entry) = (unsafe { HANDOFFS.get(flow) }) else {
        return;
    };
    // SAFETY: the helper takes the hook's own context.
    if entry.socket_cookie == unsafe { bpf_get_socket_cookie(ctx.as_ptr()) } {
        remove(&flow);
    }
}

/// Inserts or replaces the entry; the number of commits rises only where there was none.
#[inline(always)]
fn commit(flow: &Flow, origin: &Origin) -> bool {
    if HANDOFFS.insert(flow, origin, u64::from(BPF_NOEXIST)).is_ok() {
        add_committed(origin.slot, 1);
        return true;
    }
    HANDOFFS.insert(flow, origin, u64::from(BPF_EXIST)).is_ok()
}

/// Removes the entry, and takes it off the count if it was there: whoever removes an entry counts it,
/// the agent (in `ACCEPTED`) or one of us, never both.
#[inline(always)]
fn remove(flow: &Flow) {
    // SAFETY: only the slot is read.
    let Some(slot) = (unsafe { HANDOFFS.get(flow) }).map(|entry| entry.slot) else {
        return;
    };
    if HANDOFFS.remove(flow).is_ok() {
        add_committed(slot, -1);
    }
}

#[inline(always)]
fn stored_origin(ctx: &SockOpsContext) -> Option<Origin> {
    // SAFETY: the verifier checks the field access.
    let socket = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if socket.is_null() {
        return None;
    }
    // `SkStorage` offers this only to sock_addr programs.
    // SAFETY: the static is the map, the socket is not null, no value is created.
    let origin = unsafe {
        bpf_sk_storage_get(
            core::ptr::from_ref(&ORIGINS).cast_mut().cast(),
            socket.cast(),
            core::ptr::null_mut(),
            0,
        )
    }
    .cast::<Origin>();
    // SAFETY: of the map's value type; null is no reference.
    unsafe { origin.as_ref() }.copied()
}

/// The connection as `accept` sees it on the wire: an IPv4-mapped socket is IPv4 there.
#[inline(always)]
fn flow(ctx: &SockOpsContext) -> Flow {
    let ops: *mut bpf_sock_ops = ctx.ops;
    let (source, listener) = if ctx.family() == AF_INET {
        (
            Address::from_v4_be(ctx.local_ip4()),
            Address::from_v4_be(ctx.remote_ip4()),
        )
    } else {
        // Word by word: the verifier refuses wider reads.
        // SAFETY: the verifier checks every access to the context.
        unsafe {
            (
                Address::from_v6_be([
                    core::ptr::addr_of!((*ops).local_ip6[0]).read_volatile(),
                    core::ptr::addr_of!((*ops).local_ip6[1]).read_volatile(),
                    core::ptr::addr_of!((*ops).local_ip6[2]).read_volatile(),
                    core::ptr::addr_of!((*ops).local_ip6[3]).read_volatile(),
                ]),
                Address::from_v6_be([
                    core::ptr::addr_of!((*ops).remote_ip6[0]).read_volatile(),
                    core::ptr::addr_of!((*ops).remote_ip6[1]).read_volatile(),
                    core::ptr::addr_of!((*ops).remote_ip6[2]).read_volatile(),
                    core::ptr::addr_of!((*ops).remote_ip6[3]).read_volatile(),
                ]),
            )
        }
    };
    Flow {
        // SAFETY: the helper takes the hook's own context.
        netns_cookie: unsafe { bpf_get_netns_cookie(ctx.as_ptr()) },
        source: Endpoint {
            address: source,
            port: ctx.local_port(),
        },
        listener: Endpoint {
            address: listener,
            port: remote_port(ctx),
        },
    }
}

/// The remote port in host order: the context has it in network order, in the upper half.
#[inline(always)]
fn remote_port(ctx: &SockOpsContext) -> u32 {
    u32::from_be(ctx.remote_port())
}
