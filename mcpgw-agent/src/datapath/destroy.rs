//! Ends connections that were open before their address was governed: the connect hook has no say in them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, SockDiagDestroy, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

use super::netns::NetNs;

/// One datagram of the kernel's answer: it fills pages of at most 32 KiB.
const DATAGRAM: usize = 32 * 1024;

/// Resets every TCP connection in the namespace whose remote address `is_direct`, and tells how many there
/// were. The application sees ECONNABORTED, its peer a reset.
///
/// # Errors
///
/// EOPNOTSUPP from a kernel without `CONFIG_INET_DIAG_DESTROY`; what netlink says else.
pub fn connections(netns: &NetNs, is_direct: impl Fn(SocketAddr) -> bool + Send + 'static) -> io::Result<u64> {
    netns.run(move || {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        let mut destroyed = 0;
        for family in [AF_INET, AF_INET6] {
            for id in connected(&socket, family)? {
                let remote = SocketAddr::new(canonical(id.destination_address), id.destination_port);
                if is_direct(remote) && destroy(&socket, family, id)? {
                    destroyed += 1;
                }
            }
        }
        Ok(destroyed)
    })?
}

/// An IPv6 socket may hold an IPv4 connection.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// All TCP sockets of a family that have, or are about to have, a peer.
fn connected(socket: &Socket, family: u8) -> io::Result<Vec<SocketId>> {
    let request = request(
        family,
        if family == AF_INET {
            SocketId::new_v4()
        } else {
            SocketId::new_v6()
        },
    );
    send(
        socket,
        NLM_F_REQUEST | NLM_F_DUMP,
        SockDiagMessage::InetRequest(request),
    )?;
    let mut found = Vec::new();
    loop {
        for payload in receive(socket)? {
            match payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    found.push(response.header.socket_id);
                }
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::Done(_) => return Ok(found),
                _ => {}
            }
        }
    }
}

/// Destroys one socket; `false` if it had ended meanwhile.
fn destroy(socket: &Socket, family: u8, id: SocketId) -> io::Result<bool> {
    let message = SockDiagDestroy::new(SockDiagMessage::InetRequest(request(family, id)));
    send(socket, NLM_F_REQUEST | NLM_F_ACK, message)?;
    for payload in receive(socket)? {
        if let NetlinkPayload::Error(error) = payload {
            return match error.to_io() {
                _ if error.code.is_none() => Ok(true),
                gone if gone.kind() == io::ErrorKind::NotFound => Ok(false),
                failed => Err(failed),
            };
        }
    }
    Ok(true)
}

fn request(family: u8, socket_id: SocketId) -> InetRequest {
    InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all() - StateFlags::LISTEN - StateFlags::CLOSE - StateFlags::TIME_WAIT,
        socket_id,
    }
}

fn send<T>(socket: &Socket, flags: u16, message: T) -> io::Result<()>
where
    T: NetlinkSerializable + NetlinkDeserializable,
{
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0).map(drop)
}

/// The messages of the next datagram.
fn receive(socket: &Socket) -> io::Result<Vec<NetlinkPayload<SockDiagMessage>>> {
    let mut bytes = Vec::with_capacity(DATAGRAM);
    socket.recv(&mut bytes, 0)?;
    let mut rest = &bytes[..];
    let mut payloads = Vec::new();
    while !rest.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
        // Messages begin at multiples of four.
        let length = (message.header.length as usize).next_multiple_of(4).min(rest.len());
        rest = &rest[length.max(1)..];
        payloads.push(message.payload);
    }
    Ok(payloads)
}
