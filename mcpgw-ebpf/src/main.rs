//! The eBPF programs of mcpgw: what happens in the kernel when a workload connects.
//!
//! ```text
//! connect     connect4, connect6: decide, remember the destination, redirect to the listener
//! sock_ops    hand the destination over to the agent under the connection's tuple; clean up at close
//! bind        bind4, bind6: the listener's port is the agent's
//! peername    getpeername4, getpeername6: the application sees the address that it dialled
//! served      whether the agent would take a connection now
//! caller      who calls: cgroup → workload, network namespace
//! sock_addr   reading and writing the hooks' context, as the verifier wants it
//! maps        the maps
//! ```
//!
//! No policy lives here beyond "governed or not", and that verdict is `mcpgw_common::decide`.
//! On other targets than BPF this crate is an empty program, so that the whole workspace can be checked.
#![cfg_attr(
    target_arch = "bpf",
    no_std,
    no_main,
    feature(core_intrinsics),
    allow(internal_features)
)]

#[cfg(target_arch = "bpf")]
mod bind;
#[cfg(target_arch = "bpf")]
mod caller;
#[cfg(target_arch = "bpf")]
mod connect;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod peername;
#[cfg(target_arch = "bpf")]
mod served;
#[cfg(target_arch = "bpf")]
mod sock_addr;
#[cfg(target_arch = "bpf")]
mod sock_ops;

/// The kernel grants some helpers to GPL-compatible programs only, and knows them by this string; these
/// programs are under Apache-2.0 and GPL-2.0-only.
#[cfg(target_arch = "bpf")]
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
