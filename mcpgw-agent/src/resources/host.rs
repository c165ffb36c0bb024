//! Names of hosts, and the origins that browsers send.

use std::net::IpAddr;

use http::uri::Authority;

use super::{
    bounds::MAX_HOST_BYTES,
    fields::{Field, Sink},
    problem::quote,
};

const MAX_LABEL: usize = 63;

/// The name of a host at `field`, for DNS to resolve; in lower case.
pub(super) fn name(field: &Field, sink: &mut Sink) -> Option<String> {
    let text = field.text(sink)?;
    let name = text.to_ascii_lowercase();
    let reason = if text.parse::<IpAddr>().is_ok() {
        format!("{} is an address; write it under backend.addresses", quote(text))
    } else if name == "localhost" || name.ends_with(".localhost") {
        format!(
            "AddressNotAllowed: {} is a loopback address and can never be a server's",
            quote(text)
        )
    } else if let Err(reason) = check(&name) {
        reason
    } else {
        return Some(name);
    };
    field.report(sink, reason);
    None
}

/// The name in a server's certificate at `field`: of a host, or an IP address.
pub(super) fn server_name(field: &Field, sink: &mut Sink) -> Option<String> {
    let text = field.text(sink)?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_string());
    }
    let name = text.to_ascii_lowercase();
    match check(&name) {
        Ok(()) => Some(name),
        Err(reason) => {
            field.report(sink, reason);
            None
        }
    }
}

/// The origin at `field`, in the one spelling that browsers send: `https://console.example`.
pub(super) fn origin(field: &Field, sink: &mut Sink) -> Option<String> {
    let text = field.text(sink)?;
    match check_origin(text) {
        Ok(()) => Some(text.to_owned()),
        Err(reason) => {
            field.report(sink, format!("{} {reason}", quote(text)));
            None
        }
    }
}

/// A name in lower case that DNS could know. Underscores are no part of a host's name by the book, but container
/// engines use them.
pub(super) fn check(name: &str) -> Result<(), String> {
    let label = |label: &str| {
        let within = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(within)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > MAX_HOST_BYTES {
        return Err(format!(
            "is {} bytes long; at most {MAX_HOST_BYTES} are allowed",
            name.len()
        ));
    }
    if let Some(relative) = name.strip_suffix('.')
        && !relative.is_empty()
    {
        return Err(format!("{} ends with a dot; leave it out", quote(name)));
    }
    if !name.split('.').all(label) {
        return Err(format!(
            "{} is not the name of a host: letters, digits, \"-\" and \"_\", in parts of 1 to {MAX_LABEL} between dots",
            quote(name)
        ));
    }
    // Resolvers read `127.1` and `0x7f.1` as addresses.
    let last = name.rsplit('.').next().unwrap_or_default();
    let number = last.strip_prefix("0x").map_or_else(
        || last.bytes().all(|byte| byte.is_ascii_digit()),
        |hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
    );
    if number {
        return Err(format!("{} ends with a number, as no host's name does", quote(name)));
    }
    Ok(())
}

fn check_origin(text: &str) -> Result<(), &'static str> {
    const SHAPE: &str = "is not an origin: scheme, host and, unless it is the scheme's own, port, as in \"https://console.example\" or \"http://localhost:6274\"";
    if text == "*" {
        return Err("would let every web page call with its reader's rights; list the origins");
    }
    let (default_port, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (443, rest),
        (_, Some(rest)) => (80, rest),
        _ => return Err(SHAPE),
    };
    if rest.contains('@') || rest.contains(|c: char| c.is_ascii_uppercase()) {
        return Err(SHAPE);
    }
    let Ok(authority) = rest.parse::<Authority>() else {
        return Err(SHAPE);
    };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // An address has one spelling: the one that it has after it was read.
    let known = match bare {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok_and(|ip| ip.to_string() == v6),
        None => host.parse::<std::net::Ipv4Addr>().is_ok() || check(host).is_ok(),
    };
    let port = authority.port_u16();
    let spelled = match port {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    match known && spelled == rest && port != Some(0) {
        true if port == Some(default_port) => Err("names the scheme's own port, which browsers leave out"),
        true => Ok(()),
        false => Err(SHAPE),
    }
}
