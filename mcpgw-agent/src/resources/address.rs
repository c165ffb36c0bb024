//! Addresses that a server may have, and that the gateway may listen on. The agent dials servers from the
//! node's own network, so an address that means something else there than in the workload would be hijacking,
//! or a way into the node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    fields::{Field, Sink},
    problem::quote,
};

/// The `ip:port` at `field`; IPv4-mapped IPv6 becomes the IPv4 address that it is on the wire.
pub(super) fn address(field: &Field, sink: &mut Sink) -> Option<SocketAddr> {
    let text = field.text(sink)?;
    match parse(text) {
        Ok(address) => Some(address),
        Err(reason) => {
            field.report(sink, reason);
            None
        }
    }
}

fn parse(text: &str) -> Result<SocketAddr, String> {
    let Ok(address) = text.parse::<SocketAddr>() else {
        return Err(format!("{} {}", quote(text), why_not(text)));
    };
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    if address.port() == 0 {
        return Err(format!("{} has port 0; a server listens on 1 to 65535", quote(text)));
    }
    match not_allowed(address.ip()) {
        Some(what) => Err(format!(
            "AddressNotAllowed: {} is {what} and can never be a server's",
            address.ip()
        )),
        None => Ok(address),
    }
}

fn why_not(text: &str) -> String {
    if text.parse::<Ipv4Addr>().is_ok() {
        return format!("has no port; write it as \"{text}:8080\"");
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return format!("has no port; write it as \"[{bare}]:8080\"");
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            "is not an IP address and a port; a server with a name has backend.host".to_owned()
        }
        _ => "is not of the form ip:port, for example \"10.0.0.5:8080\" or \"[fd00::5]:8080\"".to_owned(),
    }
}

/// What an address is that no server may have: where a name resolves to one, it is not dialled. `None` for
/// every other address.
pub fn not_allowed(ip: IpAddr) -> Option<&'static str> {
    let ip = leads_to(ip);
    if ip.is_loopback() {
        return Some("a loopback address");
    }
    if METADATA.contains(&ip) {
        return Some("the address of a cloud's metadata service");
    }
    match ip {
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        _ => no_host(ip),
    }
}

/// The IPv4 address that an IPv6 address leads to: one that is mapped, or by NAT64 (RFC 6052, RFC 8215) or 6to4; every
/// other address as it is.
pub fn leads_to(ip: IpAddr) -> IpAddr {
    let ip = ip.to_canonical();
    let IpAddr::V6(v6) = ip else { return ip };
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => ip,
    }
}

/// The `ip:port` at `field`, where the gateway is to listen.
pub(super) fn listen(field: &Field, sink: &mut Sink) -> Option<SocketAddr> {
    let text = field.text(sink)?;
    let reason = match text.parse::<SocketAddr>() {
        Err(_) => format!("{} {}", quote(text), why_not(text)),
        Ok(address) if address.port() == 0 => {
            format!("{} has port 0; callers need one that stays: 1 to 65535", quote(text))
        }
        // Callers dial a concrete address, and that is what the kernel governs.
        Ok(address) if address.ip().is_unspecified() => {
            format!(
                "{} is every address of the node; list those that callers dial",
                quote(text)
            )
        }
        Ok(address) => {
            let ip = address.ip().to_canonical();
            match (no_host(ip), ip) {
                (Some(what), _) => format!("{ip} is {what}: nothing can listen there"),
                (None, IpAddr::V6(v6)) if v6.is_unicast_link_local() => {
                    format!("{ip} is a link-local address: it means something else on every link")
                }
                (None, _) => return Some(SocketAddr::new(ip, address.port())),
            }
        }
    };
    field.report(sink, reason);
    None
}

/// Where clouds answer who asks with the node's own credentials, beside the link-local 169.254.169.254:
/// Azure, Alibaba Cloud, AWS and Google Cloud.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// What an address is that no single host has.
fn no_host(ip: IpAddr) -> Option<&'static str> {
    if ip.is_unspecified() {
        return Some("the unspecified address");
    }
    if ip.is_multicast() {
        return Some("a multicast address");
    }
    match ip {
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("an address of \"this network\""),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_an_address_leads_into_the_node() {
        for refused in [
            "127.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2002:7f00:1::",
            "::1",
            "0.0.0.0",
            "fe80::1",
            "fd00:ec2::254",
        ] {
            assert!(not_allowed(refused.parse().unwrap()).is_some(), "{refused}");
        }
        for allowed in [
            "10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "64:ff9b:2::7f00:1",
            "fd00::5",
        ] {
            assert_eq!(not_allowed(allowed.parse().unwrap()), None, "{allowed}");
        }
    }
}
