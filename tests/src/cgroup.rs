//! A cgroup v2 directory that kills its processes and removes itself when it is dropped.

use std::{
    fs, io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{netns::NetNs, wait};

/// How long the kernel may take to end killed processes.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// A cgroup, and everything below it.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    mount: PathBuf,
}

impl Cgroup {
    /// Makes the cgroup `path` (below the cgroup v2 mount) and its missing ancestors.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let mount = mount()?;
        let directory = mount.join(path.as_ref().strip_prefix("/").unwrap_or(path.as_ref()));
        fs::create_dir_all(&directory).with_context(|| format!("make the cgroup {}", directory.display()))?;
        Ok(Self { directory, mount })
    }

    /// Its path below the cgroup v2 mount, beginning with `/`.
    pub fn path(&self) -> PathBuf {
        Path::new("/").join(self.directory.strip_prefix(&self.mount).unwrap_or(&self.directory))
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its id, as `bpf_get_current_cgroup_id` tells it.
    pub fn id(&self) -> Result<u64> {
        Ok(fs::metadata(&self.directory)
            .with_context(|| format!("stat {}", self.directory.display()))?
            .ino())
    }

    /// Makes `command`'s child join this cgroup and `netns` between fork and exec, before it has a socket.
    pub fn enter(&self, command: &mut Command, netns: &NetNs) -> Result<()> {
        let path = self.directory.join("cgroup.procs");
        let procs = fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        let netns = netns.try_clone()?;
        // SAFETY: the closure makes two system calls on descriptors that it owns; both are
        // async-signal-safe, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                nix::unistd::write(&procs, b"0")?;
                nix::sched::setns(&netns, nix::sched::CloneFlags::CLONE_NEWNET)?;
                Ok(())
            });
        }
        Ok(())
    }

    /// Kills every process in it and below.
    pub fn kill(&self) -> Result<()> {
        kill(&self.directory)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            eprintln!("fixtures: {error:#}");
        }
    }
}

/// Where cgroup v2 is mounted: `/sys/fs/cgroup`, or below it on hybrid systems.
pub fn mount() -> Result<PathBuf> {
    crate::privileges::mount_of("cgroup2")?.context("cgroup v2 is not mounted: mount it at /sys/fs/cgroup")
}

/// Kills what runs in `directory` and below, then removes it. A directory that is gone is removed.
pub fn remove(directory: &Path) -> Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    kill(directory)?;
    remove_tree(directory).with_context(|| format!("remove the cgroup {}", directory.display()))
}

fn kill(directory: &Path) -> Result<()> {
    let switch = directory.join("cgroup.kill");
    fs::write(&switch, "1").with_context(|| format!("write {}", switch.display()))?;
    wait::until(
        KILL_LIMIT,
        &format!("the processes of {} to end", directory.display()),
        || fs::read_to_string(directory.join("cgroup.events")).is_ok_and(|events| events.contains("populated 0")),
    )
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}
