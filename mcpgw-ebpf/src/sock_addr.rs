//! The context of the `sock_addr` hooks. Fields are read and written with volatile accesses of their own
//! width: the compiler otherwise merges neighbouring ones, which the verifier refuses.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::{bindings::bpf_sock, programs::SockAddrContext};
use mcpgw_common::{Address, Endpoint};

const LOOPBACK_V4: u32 = 0x7f00_0001_u32.to_be();

const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_MPTCP: u32 = 262;

/// Which hook's context it is: `user_ip4` or `user_ip6` holds the address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// The address and port in the context: what is dialled or bound, or, for getpeername, the peer.
#[inline(always)]
pub fn endpoint(ctx: &SockAddrContext, family: Family) -> Endpoint {
    let addr = ctx.sock_addr;
    // SAFETY: the verifier checks every access to the context.
    let (address, port) = unsafe {
        let address = match family {
            Family::V4 => Address::from_v4_be(addr_of!((*addr).user_ip4).read_volatile()),
            Family::V6 => Address::from_v6_be([
                addr_of!((*addr).user_ip6[0]).read_volatile(),
                addr_of!((*addr).user_ip6[1]).read_volatile(),
                addr_of!((*addr).user_ip6[2]).read_volatile(),
                addr_of!((*addr).user_ip6[3]).read_volatile(),
            ]),
        };
        (address, addr_of!((*addr).user_port).read_volatile())
    };
    Endpoint {
        address,
        port: u32::from(u16::from_be(port as u16)),
    }
}

/// Puts `endpoint` into the context. An IPv4 hook takes IPv4 endpoints only.
#[inline(always)]
pub fn set_endpoint(ctx: &SockAddrContext, family: Family, endpoint: &Endpoint) {
    let addr = ctx.sock_addr;
    let words = endpoint.address.0;
    // SAFETY: as above.
    unsafe {
        match family {
            Family::V4 => addr_of_mut!((*addr).user_ip4).write_volatile(words[3]),
            Family::V6 => {
                addr_of_mut!((*addr).user_ip6[0]).write_volatile(words[0]);
                addr_of_mut!((*addr).user_ip6[1]).write_volatile(words[1]);
                addr_of_mut!((*addr).user_ip6[2]).write_volatile(words[2]);
                addr_of_mut!((*addr).user_ip6[3]).write_volatile(words[3]);
            }
        }
        addr_of_mut!((*addr).user_port).write_volatile(u32::from((endpoint.port as u16).to_be()));
    }
}

/// The listener that a connection to `destination` is sent to.
#[inline(always)]
pub fn listener_for(destination: &Address, port: u32) -> Endpoint {
    let address = if destination.is_v4() {
        Address::from_v4_be(LOOPBACK_V4)
    } else {
        Address::from_v6_be([0, 0, 0, 1_u32.to_be()])
    };
    Endpoint { address, port }
}

/// Whether the socket speaks TCP; MPTCP counts, its first subflow is a TCP connection.
#[inline(always)]
pub fn is_tcp(ctx: &SockAddrContext) -> bool {
    // SAFETY: as above.
    let (kind, protocol) = unsafe {
        (
            addr_of!((*ctx.sock_addr).type_).read_volatile(),
            addr_of!((*ctx.sock_addr).protocol).read_volatile(),
        )
    };
    kind == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
}

/// The socket.
#[inline(always)]
pub fn socket(ctx: &SockAddrContext) -> *mut bpf_sock {
    // SAFETY: as above.
    unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk }
}
