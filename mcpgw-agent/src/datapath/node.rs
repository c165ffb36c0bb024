//! What a node's datapath is given, its directories, and the lock that keeps a second agent away.

use std::{
    fs, io,
    io::{Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use mcpgw_common::layout::SCHEMA;
use nix::fcntl::{Flock, FlockArg};

use super::DatapathError;

/// What one node's datapath is given.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The node's name: several nodes can live on one machine (tests do), each with pins of its own.
    pub node: String,
    /// The cgroup below which every workload lies; the programs are attached there.
    pub cgroup: PathBuf,
    /// Where bpffs is mounted.
    pub bpffs: PathBuf,
    /// Where lock and socket go, in a directory of the node's own.
    pub state_dir: PathBuf,
    /// The port of the listeners, on loopback in every workload's network namespace.
    pub listener_port: u16,
    /// Level of the programs' log, as `log::Level` counts (1 = error … 5 = trace). `None`: off.
    pub bpf_log: Option<u8>,
}

impl NodeOptions {
    /// The node's directory in bpffs.
    pub fn node_pins(&self) -> PathBuf {
        self.bpffs.join("mcpgw").join(directory_name(&self.node))
    }

    /// Where maps and links of this version's layouts are pinned.
    pub fn pins(&self) -> PathBuf {
        self.node_pins().join(format!("v{SCHEMA}"))
    }

    /// The node's directory for lock and socket.
    pub fn state(&self) -> PathBuf {
        self.state_dir.join(directory_name(&self.node))
    }
}

/// A directory name for a node: bpffs refuses dots, so everything unusual is replaced, and a hash of the
/// whole name keeps apart what looks the same then.
fn directory_name(node: &str) -> String {
    let stem: String = node
        .chars()
        .take(40)
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .collect();
    // FNV-1a: stable between versions, as the directory must be.
    let hash = node.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{stem}-{:08x}", hash as u32)
}

/// Held while an agent (or an uninstall) works on the node. The kernel releases it when the process ends.
#[derive(Debug)]
pub struct NodeLock {
    file: Flock<fs::File>,
    path: PathBuf,
}

impl NodeLock {
    /// Takes the lock, or names the process that holds it.
    pub fn take(state: &Path) -> Result<Self, DatapathError> {
        let path = state.join("lock");
        let io = |source: io::Error| DatapathError::Io {
            action: "open the lock",
            path: path.clone(),
            source,
        };
        fs::create_dir_all(state).map_err(io)?;
        loop {
            let mut lock = Self::lock(&path)?;
            // An uninstall may have removed the file between our opening and our locking it: nobody else would see
            // this lock.
            if lock.is_in_place() {
                lock.sign().map_err(io)?;
                return Ok(lock);
            }
        }
    }

    fn lock(path: &Path) -> Result<Self, DatapathError> {
        let io = |source: io::Error| DatapathError::Io {
            action: "open the lock",
            path: path.to_owned(),
            source,
        };
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        let mut holder = String::new();
        file.read_to_string(&mut holder).map_err(io)?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| DatapathError::Locked {
            path: path.to_owned(),
            holder: holder.trim().to_owned(),
        })?;
        let path = path.to_owned();
        Ok(Self { file, path })
    }

    /// Whether the file that is locked is the one that others would lock.
    fn is_in_place(&self) -> bool {
        let file = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let (ours, there) = (self.file.metadata().map(file), fs::metadata(&self.path).map(file));
        matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
    }

    /// Says whose it is.
    fn sign(&mut self) -> io::Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        write!(&mut *self.file, "{}", std::process::id())
    }

    /// Removes the file, while it is locked.
    pub fn remove(self) {
        // It says no more than that nobody works on the node.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_directories_have_no_dot_and_stay_apart() {
        assert_ne!(directory_name("a.b"), directory_name("a_b"));
        assert!(!directory_name("node.example.com").contains('.'));
        assert_eq!(directory_name("n1"), directory_name("n1"));
    }

    #[test]
    fn a_second_lock_names_the_holder() {
        let state = tempfile::tempdir().unwrap();
        let held = NodeLock::take(state.path()).unwrap();
        let error = NodeLock::take(state.path()).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(held);
        NodeLock::take(state.path()).unwrap();
    }

    #[test]
    fn a_lock_that_an_uninstall_removes_is_no_lock_for_who_had_opened_it_before() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("lock");
        NodeLock::take(state.path()).unwrap().remove();
        assert!(!path.exists());
        let stale = NodeLock::lock(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!stale.is_in_place());
        let taken = NodeLock::take(state.path()).unwrap();
        assert!(taken.is_in_place());
        assert!(NodeLock::take(state.path()).is_err(), "one at a time");
    }
}
