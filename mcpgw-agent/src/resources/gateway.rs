//! `ClusterMCPSettings.spec.gateway`: the gateway's own listeners.

use std::{net::SocketAddr, sync::Arc};

use super::{
    Authentication, Gateway, address, authentication,
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

/// The gateway at `field`; `with_issuers`: there are some.
pub(super) fn read(field: &Field, with_issuers: bool, sink: &mut Sink) -> Option<Gateway> {
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
        Some(field) => mode(&field, listen.as_deref().unwrap_or_default(), with_issuers, sink),
        None => listen.as_deref().map(|listen| by_default(listen, with_issuers)),
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

/// Where there are issuers, callers have tokens; else the kernel must know them, or they are on this machine.
fn by_default(listen: &[SocketAddr], with_issuers: bool) -> Authentication {
    match (with_issuers, off_loopback(listen)) {
        (true, _) => Authentication::Token,
        (false, Some(_)) => Authentication::Attested,
        (false, None) => Authentication::None,
    }
}

fn mode(field: &Field, listen: &[SocketAddr], with_issuers: bool, sink: &mut Sink) -> Option<Authentication> {
    let field = field.fields(&AUTHENTICATION, sink)?.required("mode", sink)?;
    let mode = authentication::mode(&field, sink)?;
    let reason = match (mode, off_loopback(listen)) {
        (Authentication::None, Some(address)) => format!(
            "None lets everyone in who reaches {address}, which is not on loopback; write Attested, or listen on loopback only"
        ),
        (Authentication::Token | Authentication::AttestedAndToken | Authentication::Any, _) if !with_issuers => {
            format!(
                "{} needs spec.issuers: without any, no token is believed",
                mode.as_str()
            )
        }
        _ => return Some(mode),
    };
    field.report(sink, reason);
    None
}

fn off_loopback(listen: &[SocketAddr]) -> Option<&SocketAddr> {
    listen.iter().find(|address| !address.ip().is_loopback())
}
