//! What two servers, or a server and the gateway, cannot both have.
//!
//! One (address, port, path) belongs to one server. Servers that share an address are told apart by the path
//! of a request; what is decided before there is a request must be the same for all of them.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::SocketAddr,
    sync::Arc,
};

use super::{
    Backend, Gateway, Server,
    assemble::place,
    bounds::{MAX_GOVERNED, MAX_HOSTS, MAX_SHARERS},
    document::{Origin, Spot},
    problem::Problem,
    server,
};

/// Where a server can be dialled.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Address(SocketAddr),
    Host(Arc<str>, u16),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// A server at a place.
struct Owner<'a> {
    origin: &'a Origin,
    server: &'a Server,
    spot: &'a Spot,
}

pub(super) fn check(servers: &[(Origin, server::Parsed)], gateway: Option<&Gateway>, problems: &mut Vec<Problem>) {
    let listen: HashSet<SocketAddr> = gateway
        .iter()
        .flat_map(|gateway| gateway.listen.iter().copied())
        .collect();
    let mut owners: HashMap<Place, Vec<Owner>> = HashMap::new();
    let (mut addresses, mut hosts) = (0, 0);
    for (origin, server::Parsed { server, spots, .. }) in servers {
        for (place, spot) in places(server).zip(spots) {
            if let Place::Address(address) = place
                && listen.contains(&address)
            {
                let reason = format!(
                    "AddressNotAllowed: {address} is where the gateway listens (spec.gateway.listen of ClusterMCPSettings)"
                );
                origin.report(spot, reason, problems);
            }
            let (count, max, what) = match place {
                Place::Address(_) => (&mut addresses, MAX_GOVERNED, "address"),
                Place::Host(..) => (&mut hosts, MAX_HOSTS, "host"),
            };
            let there = owners.entry(place.clone()).or_default();
            if there.is_empty() {
                *count += 1;
                if *count > max {
                    let reason = format!("one {what} too many: all servers together may have {max}");
                    origin.report(spot, reason, problems);
                    return;
                }
            }
            let owner = Owner { origin, server, spot };
            match there.iter().find_map(|other| conflict(&place, &owner, other)) {
                Some(reason) => origin.report(spot, reason, problems),
                None if there.len() == MAX_SHARERS => {
                    let reason = format!("one server too many at {place}: at most {MAX_SHARERS} may share an address");
                    origin.report(spot, reason, problems);
                }
                None => there.push(owner),
            }
        }
    }
}

fn places(server: &Server) -> impl Iterator<Item = Place> {
    let host = match &server.backend {
        Backend::Host { name, port, .. } => Some(Place::Host(name.clone(), *port)),
        Backend::Addresses { .. } => None,
    };
    server.addresses().iter().copied().map(Place::Address).chain(host)
}

/// Why the two cannot both be there.
fn conflict(at: &Place, one: &Owner, other: &Owner) -> Option<String> {
    let whose = format!("{} ({})", other.origin.object, place(other.origin, other.spot.at.line));
    let (server, owner) = (one.server, other.server);
    if server.path == owner.path {
        return Some(format!(
            "AddressConflict: {at} already belongs to {whose}; two servers may share an address if their paths differ, and both have {}",
            server.path
        ));
    }
    if let Some(path) = shared(server, owner).or_else(|| shared(owner, server)) {
        return Some(format!(
            "AddressConflict: {at} is shared with {whose}, and {path} is the MCP endpoint of one and in otherPaths of the other"
        ));
    }
    (server.client_tls != owner.client_tls).then(|| {
        format!(
            "AddressConflict: {at} is shared with {whose}, which has another clientTLS: that is decided before the path is known, so both need the same"
        )
    })
}

/// The endpoint of `one` where `other` lists it among the paths that callers may read.
fn shared<'a>(one: &'a Server, other: &Server) -> Option<&'a str> {
    other.other_paths.contains(&one.path).then_some(&one.path)
}
