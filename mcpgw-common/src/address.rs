//! Addresses as the maps hold them: always 16 bytes, IPv4 in its IPv4-mapped form.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An IP address in network order; IPv4 is held as `::ffff:a.b.c.d`.
///
/// An IPv4-mapped IPv6 address *is* that IPv4 address on the wire, so both have one form here.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Address(pub [u32; 4]);

impl Address {
    /// The word that marks an IPv4-mapped address, in network order.
    const MAPPED: u32 = 0xffff_u32.to_be();

    /// From the kernel's `user_ip4`: one word in network order.
    #[inline(always)]
    pub const fn from_v4_be(word: u32) -> Self {
        Self([0, 0, Self::MAPPED, word])
    }

    /// From the kernel's `user_ip6`: four words in network order.
    #[inline(always)]
    pub const fn from_v6_be(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// Whether this is IPv4 on the wire.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == Self::MAPPED
    }

    /// The IPv4 word in network order; meaningful only if [`Self::is_v4`].
    #[inline(always)]
    pub const fn v4_be(&self) -> u32 {
        self.0[3]
    }

    /// Whether a connection to this address stays in the socket's own network namespace: loopback, or
    /// the unspecified address, which Linux treats as loopback in `connect`.
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        if self.is_v4() {
            let first_octet = self.0[3].to_ne_bytes()[0];
            first_octet == 127 || self.0[3] == 0
        } else {
            self.0[0] == 0 && self.0[1] == 0 && self.0[2] == 0 && (self.0[3] == 1_u32.to_be() || self.0[3] == 0)
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        let v6 = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let o = v6.octets();
        let word = |i: usize| u32::from_ne_bytes([o[i], o[i + 1], o[i + 2], o[i + 3]]);
        Self([word(0), word(4), word(8), word(12)])
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if address.is_v4() {
            return IpAddr::V4(Ipv4Addr::from(u32::from_be(address.v4_be())));
        }
        let mut octets = [0; 16];
        for (chunk, word) in octets.chunks_exact_mut(4).zip(address.0) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        IpAddr::V6(Ipv6Addr::from(octets))
    }
}

/// An address and a TCP port (host order): the key of the map of governed addresses.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// The port, in host order; 32 bits wide so that the key has no padding.
    pub port: u32,
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Self {
            address: addr.ip().into(),
            port: u32::from(addr.port()),
        }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        SocketAddr::new(endpoint.address.into(), endpoint.port as u16)
    }
}
