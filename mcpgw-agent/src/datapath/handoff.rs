//! From an accepted connection to its caller: takes what `sock_ops` handed over for it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use aya::maps::MapError;
use mcpgw_common::layout::{Flow, Origin};
use tokio::net::TcpStream;

use super::{maps::HandoffMaps, sockopt};
use crate::{
    identity::{Caller, Process, Seen, WorkloadIdentity, seen},
    resources::Mode,
};

/// The handoffs of one workload's connections.
pub struct Handoffs {
    netns_cookie: u64,
    slot: u32,
    observed: bool,
    maps: Mutex<HandoffMaps>,
    missing: Arc<AtomicU64>,
}

/// Why an accepted connection has no caller. It is closed then, and counted.
#[derive(Debug, thiserror::Error)]
pub enum NoOrigin {
    /// Nothing was handed over: it was not redirected by us, or it was closed before it was accepted.
    #[error("no original destination was handed over for the connection from {0}")]
    Missing(SocketAddr),
    /// What was handed over under its tuple belongs to another connection.
    #[error("the original destination under the tuple of {0} belongs to a later connection")]
    OtherConnection(SocketAddr),
    /// The kernel did not keep the connection's SYN, or it is of an unknown shape.
    #[error("the SYN of the connection from {0} was not saved")]
    NoSyn(SocketAddr),
    /// A system call failed, as it does on a connection that was reset.
    #[error("cannot read the accepted socket: {0}")]
    Socket(#[from] io::Error),
    /// The map could not be read or written.
    #[error("cannot take the handoff: {0}")]
    Map(#[from] MapError),
}

impl NoOrigin {
    /// A short name for metrics and audit.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::OtherConnection(_) => "other_connection",
            Self::NoSyn(_) => "no_syn",
            Self::Socket(_) => "socket",
            Self::Map(_) => "map",
        }
    }
}

impl Handoffs {
    pub(super) fn new(maps: HandoffMaps, netns_cookie: u64, slot: u32, mode: Mode, missing: Arc<AtomicU64>) -> Self {
        Self {
            netns_cookie,
            slot,
            observed: mode == Mode::Observe,
            maps: Mutex::new(maps),
            missing,
        }
    }

    /// Who is at the other end of `stream`, and where it meant to go. Each handoff is taken once.
    pub fn take(&self, stream: &TcpStream, identity: &Arc<WorkloadIdentity>) -> Result<Caller, NoOrigin> {
        let origin = self.take_origin(stream).inspect_err(|_| {
            self.missing.fetch_add(1, Ordering::Relaxed);
        })?;
        let Seen { executable, container } = seen(origin.pid, origin.connected_at);
        Ok(Caller {
            workload: Some(identity.clone()),
            destination: unmapped(origin.destination.into()),
            client: stream.peer_addr().ok(),
            process: Some(Process {
                pid: origin.pid,
                executable,
                container,
                command: command(&origin.comm),
            }),
            token: None,
            observed: self.observed,
        })
    }

    fn take_origin(&self, stream: &TcpStream) -> Result<Origin, NoOrigin> {
        let peer = stream.peer_addr()?;
        let flow = Flow {
            netns_cookie: self.netns_cookie,
            source: peer.into(),
            listener: stream.local_addr()?.into(),
        };
        let mut syn = [0; SYN_BYTES];
        let sequence = initial_sequence(sockopt::saved_syn(stream, &mut syn)?).ok_or(NoOrigin::NoSyn(peer))?;

        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = match maps.handoffs.get(&flow, 0) {
            Ok(origin) => origin,
            Err(MapError::KeyNotFound) => return Err(NoOrigin::Missing(peer)),
            Err(error) => return Err(error.into()),
        };
        if origin.initial_sequence != sequence || origin.slot != self.slot {
            return Err(NoOrigin::OtherConnection(peer));
        }
        match maps.handoffs.remove(&flow) {
            Ok(()) => {}
            // The kernel removed it since: the connection is closed.
            Err(MapError::KeyNotFound) => return Err(NoOrigin::Missing(peer)),
            Err(error) => return Err(error.into()),
        }
        maps.count_accepted(self.slot)?;
        Ok(origin)
    }
}

/// IP and TCP headers with all options.
const SYN_BYTES: usize = 192;

/// The initial sequence number in a SYN's headers: IPv4 with options, or IPv6 without extension headers.
fn initial_sequence(headers: &[u8]) -> Option<u32> {
    let tcp = match headers.first()? >> 4 {
        4 => usize::from(headers[0] & 0x0f) * 4,
        6 if *headers.get(6)? == libc::IPPROTO_TCP as u8 => 40,
        _ => return None,
    };
    let bytes = headers.get(tcp + 4..tcp + 8)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// An application may dial `::ffff:a.b.c.d`; the server's address is `a.b.c.d`.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A thread's name: NUL-padded, and of any bytes.
fn command(comm: &[u8; 16]) -> String {
    let name = comm.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_sequence_number_behind_ip_options() {
        let mut v4 = [0_u8; 60];
        v4[0] = 0x46;
        v4[24 + 4..24 + 8].copy_from_slice(&7_u32.to_be_bytes());
        assert_eq!(initial_sequence(&v4), Some(7));
    }

    #[test]
    fn finds_the_sequence_number_in_ipv6_and_refuses_extension_headers() {
        let mut v6 = [0_u8; 80];
        v6[0] = 0x60;
        v6[6] = 6;
        v6[44..48].copy_from_slice(&9_u32.to_be_bytes());
        assert_eq!(initial_sequence(&v6), Some(9));
        v6[6] = 0;
        assert_eq!(initial_sequence(&v6), None);
    }

    #[test]
    fn refuses_what_is_cut_off() {
        assert_eq!(initial_sequence(&[]), None);
        assert_eq!(initial_sequence(&[0x45; 22]), None);
        assert_eq!(initial_sequence(&[0x60; 5]), None);
    }

    #[test]
    fn a_thread_name_of_any_bytes_is_text() {
        assert_eq!(command(b"agent\0\0\0\0\0\0\0\0\0\0\0"), "agent");
        assert_eq!(command(&[0xff; 16]).chars().count(), 16);
    }
}
