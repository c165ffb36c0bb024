//! What the privileged tests need of the machine. A missing one is a failure with its reason, never a skip.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};

/// Says what is missing to run the fixtures, if anything is.
pub fn check() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "not root: network namespaces, cgroups and eBPF need it"
    );
    let mount = crate::cgroup::mount()?;
    ensure!(
        mount.join("cgroup.procs").exists(),
        "{} is no cgroup v2 root: cgroup.procs is missing",
        mount.display()
    );
    crate::netns::NetNs::new().context("CAP_SYS_ADMIN seems to be missing")?;
    crate::bpffs::ensure()?;
    Ok(())
}

/// The first mount of a file system type in this mount namespace.
pub fn mount_of(kind: &str) -> Result<Option<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    Ok(mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let target = fields.next()?;
        (fields.next()? == kind).then(|| PathBuf::from(target))
    }))
}
