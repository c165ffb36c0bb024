//! A BPF file system for the demo alone, where the machine has none mounted.

use anyhow::{Context, Result};
use mcpgw_tests::privileges::mount_of;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// The place where everybody looks for it.
const PLACE: &str = "/sys/fs/bpf";

/// Mounts bpffs in a mount namespace of this process' own, unless there is one already. The machine's own mounts
/// stay as they are, and the kernel removes ours with the last process in the namespace.
///
/// Must be called before the process has a second thread.
pub fn ensure() -> Result<()> {
    if mount_of("bpf")?.is_some() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    // Else the mount would spread to the namespace that we came from.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_SLAVE | MsFlags::MS_REC,
        None::<&str>,
    )
    .context("keep mounts to this namespace")?;
    mount(Some("bpf"), PLACE, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .with_context(|| format!("mount bpffs at {PLACE}"))
}
