//! The listeners in a workload's network namespace.

use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

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
    netns.run(move || open_here(port))?
}

fn open_here(port: u16) -> Result<Listeners, ListenError> {
    if in_local_range(port)? {
        return Err(ListenError::PortInLocalRange);
    }
    // Nothing is listed here: a workload may have filled its namespace with addresses. Loopback addresses
    // can be bound when they are there, and they are there while `lo` is up.
    let v4 = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?.ok_or(ListenError::LoopbackDown)?;
    let v6 = listen(SocketAddr::from((Ipv6Addr::LOCALHOST, port)))?;
    let netns_cookie = sockopt::netns_cookie(&v4)?;
    Ok(Listeners { netns_cookie, v4, v6 })
}

/// Whether the kernel may choose `port` by itself. `/proc/sys/net` shows the calling thread's namespace.
fn in_local_range(port: u16) -> io::Result<bool> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let mut bounds = range.split_whitespace().filter_map(|bound| bound.parse::<u16>().ok());
    Ok(matches!((bounds.next(), bounds.next()), (Some(low), Some(high)) if (low..=high).contains(&port)))
}

/// Listens; `None` where the namespace does not have the address.
fn listen(address: SocketAddr) -> Result<Option<TcpListener>, ListenError> {
    let socket = match Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    ) {
        Ok(socket) => socket,
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier agent may linger on the port. Two listeners are impossible all the same.
    socket.set_reuse_address(true)?;
    let in_use = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::PortInUse,
        _ => ListenError::Other(error),
    };
    match socket.bind(&address.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => return Ok(None),
        bound => bound.map_err(in_use)?,
    }
    sockopt::save_syn(&socket)?;
    socket.listen(BACKLOG).map_err(in_use)?;
    // A pod may have Fast Open switched on for every listener of its namespace. A connection would then
    // exist before its destination is handed over.
    sockopt::no_fast_open(&socket)?;
    Ok(Some(socket.into()))
}
