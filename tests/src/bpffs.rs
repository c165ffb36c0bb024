//! The BPF file system, in which programs and maps are pinned.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
};

/// Its usual place.
const PLACE: &str = "/sys/fs/bpf";

/// Where bpffs is mounted. If it is nowhere, it is mounted at its usual place, as init systems do, and stays:
/// other tests may already use it. A lock keeps two processes from mounting over one another.
pub fn ensure() -> Result<PathBuf> {
    if let Some(mounted) = crate::privileges::mount_of("bpf")? {
        return Ok(mounted);
    }
    let lock = std::env::temp_dir().join("mcpgw-tests-bpffs.lock");
    let file = File::create(&lock).with_context(|| format!("open {}", lock.display()))?;
    let _held = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("lock {}", lock.display()))?;
    if let Some(mounted) = crate::privileges::mount_of("bpf")? {
        return Ok(mounted);
    }
    mount(Some("bpf"), PLACE, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .with_context(|| format!("mount bpffs at {PLACE}"))?;
    Ok(PathBuf::from(PLACE))
}

/// Removes a directory, of pins or other. Links and maps that nothing else holds go with their pins.
pub fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove the pins in {}", directory.display()))
        }
        _ => Ok(()),
    }
}
