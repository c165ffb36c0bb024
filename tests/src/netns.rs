//! A network namespace, held by a file descriptor: it needs no name and cannot outlive its users.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    thread,
};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace of the fixtures' own.
#[derive(Debug)]
pub struct NetNs(OwnedFd);

impl NetNs {
    /// Makes a new one. Its `lo` is down and nothing else is in it.
    pub fn new() -> Result<Self> {
        thread::spawn(|| -> Result<Self> {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare a network namespace")?;
            Ok(Self(
                File::open("/proc/thread-self/ns/net")
                    .context("open /proc/thread-self/ns/net")?
                    .into(),
            ))
        })
        .join()
        .map_err(|_| anyhow!("the thread that makes a network namespace panicked"))?
    }

    /// Runs `work` in this namespace, on a thread of its own (and in the caller's cgroup).
    ///
    /// # Panics
    /// When the namespace cannot be entered, or `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&self.0, CloneFlags::CLONE_NEWNET).expect("enter a network namespace");
                    work()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A path that names it, for programs that take one. Good as long as `self` lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }

    /// Writes a `net.*` sysctl of this namespace, given as a path: `net/ipv4/ip_forward`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        // What /proc/sys/net shows depends on the namespace of the thread that opens it.
        self.run(|| fs::write(format!("/proc/sys/{name}"), value))
            .with_context(|| format!("set sysctl {name} to {value}"))
    }

    /// The namespace's cookie: what `bpf_get_netns_cookie` says of it.
    pub fn cookie(&self) -> Result<u64> {
        self.run(|| -> io::Result<u64> {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            let mut cookie = 0_u64;
            let mut length = size_of::<u64>() as libc::socklen_t;
            // SAFETY: `cookie` and `length` are valid for the size that `length` tells.
            let status = unsafe {
                libc::getsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_NETNS_COOKIE,
                    (&raw mut cookie).cast(),
                    &raw mut length,
                )
            };
            if status == 0 {
                Ok(cookie)
            } else {
                Err(io::Error::last_os_error())
            }
        })
        .context("read SO_NETNS_COOKIE")
    }

    /// Another handle on the same namespace.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self(
            self.0
                .try_clone()
                .context("duplicate a network namespace's descriptor")?,
        ))
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
