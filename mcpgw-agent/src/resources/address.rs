//! Addresses that a server may have. The agent dials them from the node's own network, so one that means
//! something else there than in the workload would be hijacking, or a way into the node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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
    match forbidden(address.ip()) {
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
            "is not an IP address and a port; names are not resolved here".to_owned()
        }
        _ => "is not of the form ip:port, for example \"10.0.0.5:8080\" or \"[fd00::5]:8080\"".to_owned(),
    }
}

/// What an address is that no server may have.
fn forbidden(ip: IpAddr) -> Option<&'static str> {
    if ip.is_loopback() {
        return Some("a loopback address");
    }
    if ip.is_unspecified() {
        return Some("the unspecified address");
    }
    if ip.is_multicast() {
        return Some("a multicast address");
    }
    match ip {
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("an address of \"this network\""),
        _ => None,
    }
}
