//! `ClusterMCPSettings.spec.gateway`: the gateway's own listeners.

use std::{net::SocketAddr, sync::Arc};

use super::{
    Authentication, Gateway, address,
    bounds::{MAX_LISTEN, MAX_ORIGINS},
    fields::{Field, Schema, Sink},
    host,
    problem::quote,
    tls,
};

const GATEWAY: Schema = Schema {
    known: &["listen", "tls", "allowedOrigins", "authentication"],
    later: &[],
};
const AUTHENTICATION: Schema = Schema {
    known: &["mode"],
    later: &[],
};

pub(super) fn read(field: &Field, sink: &mut Sink) -> Option<Gateway> {
    let fields = field.fields(&GATEWAY, sink)?;
    let listen = fields.required("listen", sink).and_then(|field| listen(&field, sink));
    let tls = match fields.optional("tls") {
        Some(field) => tls::gateway(&field, sink).map(Some),
        None => Some(None),
    };
    let allowed_origins = match fields.optional("allowedOrigins") {
        Some(field) => origins(&field, sink),
        None => Some(Vec::new()),
    };
    let authentication = match fields.optional("authentication") {
        Some(field) => authentication(&field, listen.as_deref().unwrap_or_default(), sink),
        None => listen.as_deref().map(by_default),
    };
    Some(Gateway {
        listen: listen?,
        tls: tls?,
        allowed_origins: allowed_origins?,
        authentication: authentication?,
    })
}

fn listen(field: &Field, sink: &mut Sink) -> Option<Vec<SocketAddr>> {
    let list = field.list(MAX_LISTEN, "leave gateway out to have no gateway", sink)?;
    let mut addresses = Vec::new();
    for field in &list {
        let Some(address) = address::listen(field, sink) else {
            continue;
        };
        if addresses.contains(&address) {
            field.report(sink, format!("{address} is listed twice"));
        } else {
            addresses.push(address);
        }
    }
    (addresses.len() == list.len()).then_some(addresses)
}

fn origins(field: &Field, sink: &mut Sink) -> Option<Vec<Arc<str>>> {
    let list = field.list(MAX_ORIGINS, "leave it out to let no browser call", sink)?;
    let mut origins: Vec<Arc<str>> = Vec::new();
    for field in &list {
        let Some(origin) = host::origin(field, sink) else {
            continue;
        };
        if origins.iter().any(|known| **known == *origin) {
            field.report(sink, format!("{} is listed twice", quote(&origin)));
        } else {
            origins.push(origin.into());
        }
    }
    Some(origins)
}

fn by_default(listen: &[SocketAddr]) -> Authentication {
    match off_loopback(listen) {
        Some(_) => Authentication::Attested,
        None => Authentication::None,
    }
}

fn authentication(field: &Field, listen: &[SocketAddr], sink: &mut Sink) -> Option<Authentication> {
    let field = field.fields(&AUTHENTICATION, sink)?.required("mode", sink)?;
    let choices = [("Attested", Authentication::Attested), ("None", Authentication::None)];
    let mode = field.choice(&choices, &["Token", "AttestedAndToken", "Any"], sink)?;
    match (mode, off_loopback(listen)) {
        (Authentication::None, Some(address)) => {
            let reason = format!(
                "None lets everyone in who reaches {address}, which is not on loopback; write Attested, or listen on loopback only"
            );
            field.report(sink, reason);
            None
        }
        _ => Some(mode),
    }
}

fn off_loopback(listen: &[SocketAddr]) -> Option<&SocketAddr> {
    listen.iter().find(|address| !address.ip().is_loopback())
}
