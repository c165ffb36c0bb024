//! A network namespace: a handle, and a way to run something in it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::statfs::{NSFS_MAGIC, fstatfs},
};

use super::overdue::Overdue;

/// How long work in a workload's namespace may take. A workload can make it take long, with as many sockets as its
/// memory holds, for example; others must not wait for that.
const DEADLINE: Duration = Duration::from_secs(5);

static OVERDUE: Overdue<NetNsId> = Overdue::new();

/// Which namespace it is: device and inode of its file. Valid while a handle or a process keeps it alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetNsId {
    device: u64,
    inode: u64,
}

impl NetNsId {
    /// The namespace of this process: the node's.
    pub fn own() -> io::Result<Self> {
        Place::find(Path::new("/proc/self/ns/net")).map(|place| place.id)
    }
}

/// A file that is found to be a namespace, and is not opened yet.
pub struct Place {
    found: File,
    id: NetNsId,
}

impl Place {
    /// Finds the namespace that a file names (`/run/netns/NAME`, `/proc/PID/ns/net`).
    ///
    /// A pod may have put something else there, which blocks when it is opened, or does something. So it is looked at
    /// first, without opening it, and what is opened then is what was looked at.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is no namespace.
    pub fn find(path: &Path) -> io::Result<Self> {
        let found = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
        if fstatfs(&found)?.filesystem_type() != NSFS_MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a namespace"));
        }
        let metadata = found.metadata()?;
        let id = NetNsId {
            device: metadata.dev(),
            inode: metadata.ino(),
        };
        Ok(Self { found, id })
    }

    /// Which one it is.
    pub fn id(&self) -> NetNsId {
        self.id
    }

    /// Opens it.
    pub fn open(&self) -> io::Result<NetNs> {
        let file = File::open(format!("/proc/self/fd/{}", self.found.as_raw_fd()))?;
        Ok(NetNs { file, id: self.id })
    }
}

/// A process, and no other that gets its number later.
pub struct Process(File);

impl Process {
    /// The process with this number now.
    pub fn find(pid: u32) -> io::Result<Self> {
        let directory = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
            .open(format!("/proc/{pid}"));
        directory.map(Self)
    }

    /// Its network namespace.
    pub fn netns(&self) -> io::Result<Place> {
        Place::find(&self.path("ns/net"))
    }

    /// Whether it is still there.
    pub fn is_alive(&self) -> bool {
        std::fs::read_link(self.path("ns/net")).is_ok()
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()))
    }
}

/// An open network namespace. The handle keeps the namespace alive: it is dropped as soon as the pod is gone.
#[derive(Debug)]
pub struct NetNs {
    file: File,
    id: NetNsId,
}

impl NetNs {
    /// Which one it is.
    pub fn id(&self) -> NetNsId {
        self.id
    }

    /// Runs `f` in the namespace, on a thread of its own that ends with it: no other thread of this process
    /// is ever seen there.
    ///
    /// # Errors
    ///
    /// `TimedOut` after [`DEADLINE`]; what is late goes on, and nothing else is begun there until it has ended.
    pub fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let file = self.file.try_clone()?;
        OVERDUE.run(self.id, DEADLINE, move || {
            setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
            Ok(f())
        })?
    }
}

#[cfg(test)]
mod tests {
    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    #[test]
    fn what_is_no_namespace_is_told_at_once_and_never_opened() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("netns");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        // Opening it would wait for a writer.
        for path in [&fifo, Path::new("/dev/null"), directory.path()] {
            let error = Place::find(path).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}", path.display());
        }
        let missing = Place::find(&directory.path().join("missing")).err().unwrap();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_process_has_its_namespace_and_when_it_has_ended_none() {
        let own = Process::find(std::process::id()).unwrap();
        assert_eq!(own.netns().unwrap().id(), NetNsId::own().unwrap());
        assert_eq!(own.netns().unwrap().open().unwrap().id(), NetNsId::own().unwrap());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::find(child.id()).unwrap();
        assert!(process.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_alive() && process.netns().is_err());
    }
}
