//! A network namespace: a handle, and a way to run something in it.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    thread,
};

use nix::sched::{CloneFlags, setns};

/// Which namespace it is: device and inode of its file. Valid while a handle or a process keeps it alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetNsId {
    device: u64,
    inode: u64,
}

impl NetNsId {
    /// The namespace that a file names.
    pub fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|m| Self {
            device: m.dev(),
            inode: m.ino(),
        })
    }

    /// The namespace of this process: the node's.
    pub fn own() -> io::Result<Self> {
        Self::of(Path::new("/proc/self/ns/net"))
    }
}

/// An open network namespace. The handle keeps the namespace alive: it is dropped as soon as the pod is gone.
#[derive(Debug)]
pub struct NetNs {
    file: File,
    id: NetNsId,
}

impl NetNs {
    /// Opens the namespace that a file names (`/run/netns/NAME`, `/proc/PID/ns/net`).
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Self {
            file,
            id: NetNsId {
                device: metadata.dev(),
                inode: metadata.ino(),
            },
        })
    }

    /// Which one it is.
    pub fn id(&self) -> NetNsId {
        self.id
    }

    /// Runs `f` in the namespace, on a thread of its own that ends with it: no other thread of this process
    /// is ever seen there.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)?;
                Ok(f())
            });
            thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
        })
    }
}
