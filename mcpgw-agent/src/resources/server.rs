//! `MCPServer`: where an MCP server is.

use std::collections::HashSet;

use super::{
    ObjectName, Server, address,
    bounds::MAX_ADDRESSES,
    document::Spot,
    fields::{Field, Schema, Sink},
    path,
};

const DEFAULT_PATH: &str = "/mcp";

const SPEC: Schema = Schema {
    known: &["backend", "path"],
    later: &[
        "transport",
        "prefix",
        "tls",
        "clientTLS",
        "credential",
        "timeouts",
        "pin",
        "trustAnnotations",
        "otherPaths",
        "exposeTo",
        "capture",
    ],
};
const BACKEND: Schema = Schema {
    known: &["addresses"],
    later: &["service", "host"],
};

/// A server, and where its addresses stand (in their order).
pub(super) struct Parsed {
    pub server: Server,
    pub spots: Vec<Spot>,
}

pub(super) fn read(name: ObjectName, spec: &Field, sink: &mut Sink) -> Option<Parsed> {
    let spec = spec.fields(&SPEC, sink)?;
    let path = match spec.optional("path") {
        Some(field) => path::http(&field, sink),
        None => Some(DEFAULT_PATH.to_owned()),
    };
    let backend = spec.required("backend", sink)?.fields(&BACKEND, sink)?;
    let list = backend
        .required("addresses", sink)?
        .list(MAX_ADDRESSES, "a server needs one address at least", sink)?;
    let mut seen = HashSet::new();
    let (mut addresses, mut spots) = (Vec::new(), Vec::new());
    for field in &list {
        let Some(address) = address::address(field, sink) else {
            continue;
        };
        if seen.insert(address) {
            addresses.push(address);
            spots.push(Spot::from(field));
        } else {
            field.report(sink, format!("{address} is listed twice"));
        }
    }
    Some(Parsed {
        server: Server {
            path: path?.into(),
            ..Server::at(name, addresses)
        },
        spots,
    })
}
