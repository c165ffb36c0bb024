//! What becomes of a connection to a server's address that begins with TLS.

use std::sync::Arc;

use crate::{
    policy::Server,
    resources::{Capture, Certificate, ClientTls},
};

/// What becomes of it.
pub(super) enum Secured<'a> {
    /// It ends here, with this certificate of this server.
    Here(&'a Arc<Server>, &'a Certificate),
    /// It goes on unread, meant for this server.
    Through(&'a Arc<Server>),
    /// It goes on unread, and not to this server, but to what else has its address, by this name.
    Elsewhere(&'a Arc<Server>, &'a str),
    /// It is refused, for this reason.
    Refused(&'static str),
}

/// Whether it takes the name that the client asks for to tell what becomes of it.
pub(super) fn takes_name(servers: &[Arc<Server>]) -> bool {
    // Servers that were given one address agree in this.
    servers.first().is_some_and(|server| server.wanted.host().is_some())
}

/// What becomes of TLS to the address that these servers share; `name` is the one that the client asks for, where
/// that was looked at.
pub(super) fn secured<'a>(servers: &'a [Arc<Server>], name: Option<&'a str>) -> Secured<'a> {
    let Some(mut server) = servers.first() else {
        return Secured::Refused("tls");
    };
    // The kernel refuses such dials; this connection is older than that.
    if servers.iter().any(|other| other.wanted.capture == Capture::GatewayOnly) {
        return Secured::Refused("gateway_only");
    }
    // The name in TLS is the client's word, as `Host` is: it tells several hosts of ours at one address apart.
    // Whether another name may pass, to what else is behind the address, the servers there say.
    if takes_name(servers) {
        let several = servers.iter().any(|other| other.wanted.host() != server.wanted.host());
        match name {
            Some(name) => match servers.iter().find(|server| server.wanted.is_host(name)) {
                Some(named) => server = named,
                None if servers.iter().all(|server| server.wanted.passes_other_names) => {
                    return Secured::Elsewhere(server, name);
                }
                None if several => return Secured::Refused("tls_other_name"),
                // One host alone is meant, by whatever name.
                None => {}
            },
            None if several => return Secured::Refused("tls_no_name"),
            None => {}
        }
    }
    match &server.wanted.client_tls {
        ClientTls::Refuse => Secured::Refused("tls"),
        ClientTls::Passthrough => Secured::Through(server),
        ClientTls::Terminate(files) => Secured::Here(server, files),
    }
}
