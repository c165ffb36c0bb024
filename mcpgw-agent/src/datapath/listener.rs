//! The listeners in a workload's network namespace.

use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};
use socket2::{Domain, Protocol, Socket, Type};

use super::{netns::NetNs, sockopt};

/// Connections that may wait for accept; the kernel caps it at the namespace's `somaxconn`.
const BACKLOG: i32 = 4_096;

/// Listeners that are open in a namespace.
#[derive(Debug)]
pub struct Listeners {
    /// Cookie of the namespace, as the programs see it.
    pub netns_cookie: u64,
    /// On 127.0.0.1.
    pub v4: TcpListener,
    /// On ::1, where the namespace has that address.
    pub v6: Option<TcpListener>,
}

/// Why listeners could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// `lo` is down, as in a sandbox that is still being made.
    #[error("loopback-down")]
    LoopbackDown,
    /// Another process listens on the port.
    #[error("port-in-use")]
    PortInUse,
    /// A process could get the port without asking for it, and past the bind hook: by listen() without bind().
    #[error("port-in-local-range")]
    PortInLocalRange,
    /// Anything else.
    #[error("listen-failed ({0})")]
    Other(#[from] io::Error),
}

/// Opens the listeners on `port` in the namespace.
pub fn open(netns: &NetNs, port: u16) -> Result<Listeners, ListenError> {
    netns.run(|| open_here(port))?
}

fn open_here(port: u16) -> Result<Listeners, ListenError> {
    let has_v6 = loopback()?;
    if in_local_range(port)? {
        return Err(ListenError::PortInLocalRange);
    }
    let v4 = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let v6 = if has_v6 {
        Some(listen(SocketAddr::from((Ipv6Addr::LOCALHOST, port)))?)
    } else {
        None
    };
    let netns_cookie = sockopt::netns_cookie(&v4)?;
    Ok(Listeners { netns_cookie, v4, v6 })
}

/// Whether `lo` has ::1; an error if it is down.
fn loopback() -> Result<bool, ListenError> {
    let mut up = false;
    let mut has_v6 = false;
    for address in getifaddrs().map_err(io::Error::from)? {
        if !address.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            continue;
        }
        up |= address.flags.contains(InterfaceFlags::IFF_UP);
        let v6 = address
            .address
            .as_ref()
            .and_then(|a| a.as_sockaddr_in6())
            .map(nix::sys::socket::SockaddrIn6::ip);
        has_v6 |= v6 == Some(Ipv6Addr::LOCALHOST);
    }
    if up { Ok(has_v6) } else { Err(ListenError::LoopbackDown) }
}

/// Whether the kernel may choose `port` by itself. `/proc/sys/net` shows the calling thread's namespace.
fn in_local_range(port: u16) -> io::Result<bool> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let mut bounds = range.split_whitespace().filter_map(|bound| bound.parse::<u16>().ok());
    Ok(matches!((bounds.next(), bounds.next()), (Some(low), Some(high)) if (low..=high).contains(&port)))
}

fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier agent may linger on the port. Two listeners are impossible all the same.
    socket.set_reuse_address(true)?;
    let in_use = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::PortInUse,
        _ => ListenError::Other(error),
    };
    socket.bind(&address.into()).map_err(in_use)?;
    sockopt::save_syn(&socket)?;
    socket.listen(BACKLOG).map_err(in_use)?;
    // A pod may have Fast Open switched on for every listener of its namespace. A connection would then
    // exist before its destination is handed over.
    sockopt::no_fast_open(&socket)?;
    Ok(socket.into())
}
