//! Counts the packets that arrive in a namespace, by source address. It looks at the wire (`AF_PACKET`), so
//! what it has not seen has not come.

use std::{
    collections::HashMap,
    io::IoSliceMut,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        socket::{
            AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt, socket, sockopt,
        },
    },
};

use crate::netns::NetNs;

/// Room for packets that were not read yet.
const BUFFER: usize = 64 << 20;
/// IPv6 header and a TCP header without options.
const SNAP: usize = 60;

/// Packets that arrived in a namespace since the counter was made. Loopback traffic counts as well.
pub struct PacketCounter {
    shared: Arc<Shared>,
    stop: Arc<EventFd>,
    reader: Option<JoinHandle<()>>,
}

struct Shared {
    socket: OwnedFd,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    packets: HashMap<IpAddr, u64>,
    syns: HashMap<IpAddr, u64>,
    lost: u64,
}

impl PacketCounter {
    /// Starts to count in `netns`.
    pub fn new(netns: &NetNs) -> Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = netns
            .run(|| socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll))
            .context("open an AF_PACKET socket")?;
        // Beyond the system's limit where that is permitted; else as much as there is.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER).context("enlarge the AF_PACKET socket's buffer")?;
        }
        let shared = Arc::new(Shared {
            socket,
            seen: Mutex::default(),
        });
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC).context("make an eventfd")?);
        let reader = thread::spawn({
            let (shared, stop) = (shared.clone(), stop.clone());
            move || {
                loop {
                    let mut ready = [
                        PollFd::new(shared.socket.as_fd(), PollFlags::POLLIN),
                        PollFd::new(stop.as_fd(), PollFlags::POLLIN),
                    ];
                    match poll(&mut ready, PollTimeout::NONE) {
                        Err(Errno::EINTR) => continue,
                        Err(_) => return,
                        Ok(_) if ready[1].any() == Some(true) => return,
                        Ok(_) => drop(shared.drain()),
                    }
                }
            }
        });
        Ok(Self {
            shared,
            stop,
            reader: Some(reader),
        })
    }

    /// TCP SYNs (without ACK) that came from `source`: connections that it tried to open.
    pub fn syns_from(&self, source: impl Into<IpAddr>) -> u64 {
        self.shared.drain().syns.get(&source.into()).copied().unwrap_or(0)
    }

    /// IP packets of any kind that came from `source`.
    pub fn packets_from(&self, source: impl Into<IpAddr>) -> u64 {
        self.shared.drain().packets.get(&source.into()).copied().unwrap_or(0)
    }

    /// TCP SYNs by source.
    pub fn syns(&self) -> HashMap<IpAddr, u64> {
        self.shared.drain().syns.clone()
    }

    /// Packets that the kernel had no room for: while this is not 0, the other numbers are lower bounds.
    pub fn lost(&self) -> u64 {
        self.shared.drain().lost
    }
}

impl Drop for PacketCounter {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Shared {
    /// Counts all that has arrived by now: a packet is queued here before TCP sees it, so whoever has had an
    /// answer finds its packets counted.
    fn drain(&self) -> std::sync::MutexGuard<'_, Seen> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = [0_u8; SNAP];
        loop {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let Ok(message) = recvmsg::<LinkAddr>(self.socket.as_raw_fd(), &mut slices, None, flags) else {
                break;
            };
            let outgoing = message
                .address
                .is_some_and(|address| address.pkttype() == libc::PACKET_OUTGOING);
            let length = message.bytes;
            if !outgoing && let Some((source, syn)) = parse(&buffer[..length.min(SNAP)]) {
                *seen.packets.entry(source).or_default() += 1;
                if syn {
                    *seen.syns.entry(source).or_default() += 1;
                }
            }
        }
        seen.lost += self.dropped();
        seen
    }

    /// Packets dropped since the last call.
    fn dropped(&self) -> u64 {
        let mut statistics = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: `statistics` and `length` are valid for the size that `length` tells.
        let status = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        if status == 0 { u64::from(statistics.tp_drops) } else { 0 }
    }
}

/// Source of an IP packet, and whether it is a TCP SYN. `None` for what is not IP.
fn parse(packet: &[u8]) -> Option<(IpAddr, bool)> {
    const TCP: u8 = 6;
    let (source, protocol, transport) = match packet.first()? >> 4 {
        4 => {
            let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            (
                IpAddr::V4(Ipv4Addr::from(source)),
                *packet.get(9)?,
                usize::from(packet[0] & 0xf) * 4,
            )
        }
        6 => {
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            (IpAddr::V6(Ipv6Addr::from(source)), *packet.get(6)?, 40)
        }
        _ => return None,
    };
    // SYN set, ACK not.
    let syn = protocol == TCP && packet.get(transport + 13).is_some_and(|flags| flags & 0x12 == 0x02);
    Some((source, syn))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_syn_is_told_from_its_answer_and_from_udp() {
        let mut packet = [0_u8; 40];
        packet[0] = 0x45;
        packet[9] = 6;
        packet[12..16].copy_from_slice(&[10, 66, 1, 2]);
        packet[33] = 0x02;
        let source = "10.66.1.2".parse().unwrap();
        assert_eq!(parse(&packet), Some((source, true)));
        packet[33] = 0x12;
        assert_eq!(parse(&packet), Some((source, false)));
        packet[33] = 0x02;
        packet[9] = 17;
        assert_eq!(parse(&packet), Some((source, false)));
    }

    #[test]
    fn what_is_not_ip_or_cut_short_is_not_counted() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0x45, 0, 0]), None);
        assert_eq!(parse(&[0x10; 60]), None);
    }
}
