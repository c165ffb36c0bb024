//! `MCPServer.spec.backend`: where a server is.

use std::collections::HashSet;

use super::{
    Backend, address,
    bounds::MAX_ADDRESSES,
    document::Spot,
    fields::{Field, Schema, Sink},
    host,
};

const BACKEND: Schema = Schema {
    known: &["addresses", "host", "appProtocol"],
    later: &["service"],
};
const HOST: Schema = Schema {
    known: &["name", "port"],
    later: &[],
};

/// The backend, and where its addresses (in their order) or its host stand.
pub(super) struct Parsed {
    pub backend: Backend,
    pub spots: Vec<Spot>,
    /// Where `appProtocol` stands, if it is there.
    pub protocol: Option<Spot>,
}

pub(super) fn read(field: &Field, sink: &mut Sink) -> Option<Parsed> {
    let before = sink.problems.len();
    let fields = field.fields(&BACKEND, sink)?;
    let protocol = fields.optional("appProtocol");
    let h2c = match &protocol {
        Some(field) => field.choice(&[("kubernetes.io/h2c", true)], &[], sink),
        None => Some(false),
    };
    let protocol = protocol.as_ref().map(Spot::from);
    match (fields.optional("addresses"), fields.optional("host")) {
        (Some(list), None) => {
            let (addresses, spots) = addresses(&list, sink)?;
            Some(Parsed {
                backend: Backend::Addresses { addresses, h2c: h2c? },
                spots,
                protocol,
            })
        }
        (None, Some(field)) => {
            let fields = field.fields(&HOST, sink)?;
            let name = fields.required("name", sink).and_then(|name| host::name(&name, sink));
            let port = fields.required("port", sink).and_then(|port| port.port(sink));
            Some(Parsed {
                backend: Backend::Host {
                    name: name?.into(),
                    port: port?,
                    h2c: h2c?,
                },
                spots: vec![Spot::from(&field)],
                protocol,
            })
        }
        // What is there was refused already, and that is what is wrong.
        (None, None) if sink.problems.len() > before => None,
        _ => {
            fields.report(sink, "must have one of: addresses, host");
            None
        }
    }
}

fn addresses(field: &Field, sink: &mut Sink) -> Option<(Vec<std::net::SocketAddr>, Vec<Spot>)> {
    let list = field.list(MAX_ADDRESSES, "a server needs one address at least", sink)?;
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
    Some((addresses, spots))
}
