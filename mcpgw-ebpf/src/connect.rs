//! `connect4` and `connect6`: the moment of decision.

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid,
        generated::{bpf_ktime_get_boot_ns, bpf_set_retval, bpf_setsockopt},
    },
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use aya_log_ebpf::debug;
use mcpgw_common::{
    Endpoint, Reason,
    decide::{self, Connect, Governed, Verdict},
    layout::{MODE_OBSERVE, Origin},
};

use crate::{
    caller::Caller,
    maps::{GOVERNED, ORIGINS, SETTINGS, count, count_refusal, waiting},
    served,
    sock_addr::{Family, endpoint, is_tcp, listener_for, set_endpoint, socket},
};

/// What a hook answers so that the system call goes on, or does not.
const PROCEED: i32 = 1;
const STOP: i32 = 0;

const ECONNREFUSED: i32 = 111;
const SOL_SOCKET: i32 = 1;
const SO_BINDTODEVICE: i32 = 25;

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    connect(&ctx, Family::V4)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connect(&ctx, Family::V6)
}

#[inline(always)]
fn connect(ctx: &SockAddrContext, family: Family) -> i32 {
    let destination = endpoint(ctx, family);
    // SAFETY: the value is read at once; entries are removed by the agent only.
    let governed = Governed::from_value(unsafe { GOVERNED.get(destination) }.copied());
    let Some(settings) = SETTINGS.get(0) else {
        return STOP;
    };
    if !decide::concerns_us(settings, &destination.address, destination.port, governed) {
        return pass(ctx);
    }

    let caller = Caller::of(ctx);
    let verdict = decide::connect(
        settings,
        &Connect {
            destination: destination.address,
            port: destination.port,
            governed,
            tcp: is_tcp(ctx),
            task_cgroup: caller.task_cgroup,
            workload: match caller.workload {
                Some((_, workload)) => Some(workload),
                None => None,
            },
            netns_cookie: caller.netns_cookie,
            netns_enforced: caller.netns_enforced,
            waiting: match caller.workload {
                Some((_, workload)) => waiting(workload.slot),
                None => 0,
            },
            served: match caller.workload {
                Some((_, workload)) if workload.mode == MODE_OBSERVE => {
                    served::is_served(ctx, &destination.address, settings.listener_port)
                }
                _ => false,
            },
        },
    );
    debug!(ctx, "connect to port {}: {}", destination.port, verdict.reason().name());
    match (verdict, caller.workload) {
        (Verdict::Redirect(reason), Some((cgroup, workload))) => {
            // The loopback would refuse it as well; there nobody would count it.
            if workload.mode != MODE_OBSERVE && !served::listens(ctx, &destination.address, settings.listener_port) {
                return refuse(Reason::NoAgent, Some(workload.slot));
            }
            match redirect(ctx, family, destination, settings.listener_port, cgroup, workload.slot) {
                Ok(()) => {
                    count(reason);
                    PROCEED
                }
                Err(_) if workload.mode == MODE_OBSERVE => {
                    count(Reason::Observed);
                    pass(ctx)
                }
                Err(reason) => refuse(reason, Some(workload.slot)),
            }
        }
        (Verdict::Pass(Reason::NotGoverned), _) => pass(ctx),
        (Verdict::Pass(reason), _) => {
            count(reason);
            pass(ctx)
        }
        (verdict, Some((_, workload))) => refuse(verdict.reason(), Some(workload.slot)),
        (verdict, None) => refuse(verdict.reason(), None),
    }
}

/// Lets the connection go where it was meant to go. The socket may have been redirected before and
/// disconnected since: what was remembered then must not colour what it does now.
#[inline(always)]
fn pass(ctx: &SockAddrContext) -> i32 {
    // SAFETY: the socket is the context's own; nothing to delete is no failure.
    let _ = unsafe { ORIGINS.delete(socket(ctx)) };
    PROCEED
}

#[inline(always)]
fn refuse(reason: Reason, slot: Option<u32>) -> i32 {
    count_refusal(reason, slot);
    // SAFETY: a helper without preconditions. Should it fail the application gets EPERM: refused as well.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    STOP
}

/// Remembers where the socket meant to go, then sends it to the listener of its network namespace.
#[inline(always)]
fn redirect(
    ctx: &SockAddrContext,
    family: Family,
    destination: Endpoint,
    listener_port: u32,
    cgroup: u64,
    slot: u32,
) -> Result<(), Reason> {
    let mut origin = Origin {
        destination,
        pid: (bpf_get_current_pid_tgid() >> 32) as u32,
        cgroup,
        slot,
        initial_sequence: 0,
        // SAFETY: a helper without preconditions.
        connected_at: unsafe { bpf_ktime_get_boot_ns() },
        socket_cookie: 0,
        comm: bpf_get_current_comm().unwrap_or_default(),
    };
    // SAFETY: the socket is the context's own.
    let stored = unsafe { ORIGINS.get_or_insert_ptr_mut(ctx, Some(&mut origin)) };
    if stored.is_null() {
        return Err(Reason::NoStorage);
    }
    // An earlier connect of the same socket may have left its own: the insertion does not replace it.
    // SAFETY: not null, and of the map's value type.
    unsafe { *stored = origin };

    let mut device: u32 = 0;
    // A device binding would keep the connection from the loopback, and time out.
    // SAFETY: the value is four bytes on the stack, as long as the helper is told.
    let cleared = unsafe {
        bpf_setsockopt(
            ctx.as_ptr(),
            SOL_SOCKET,
            SO_BINDTODEVICE,
            core::ptr::from_mut(&mut device).cast(),
            4,
        )
    };
    if cleared != 0 {
        return Err(Reason::DeviceBound);
    }

    set_endpoint(ctx, family, &listener_for(&destination.address, listener_port));
    Ok(())
}
