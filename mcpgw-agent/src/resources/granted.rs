//! Whether a server asks for more than its namespace may have.

use std::{net::IpAddr, sync::Arc};

use super::{
    Backend, Credential, Expose, NotGranted, Server, Settings,
    desired::{BackendGrant, ExposureGrant, Namespaces},
    url,
};

/// Holds a server to what the settings grant its namespace: it is shown to nobody else. `false` where it is at a place
/// that its namespace may not have. What was not granted is told.
pub(super) fn hold(server: &mut Server, settings: &Settings, told: &mut Vec<NotGranted>) -> bool {
    let place = settings
        .external_backends
        .as_deref()
        .and_then(|grants| place_refused(server, grants));
    if let Some(reason) = place {
        told.push(NotGranted {
            server: server.name.clone(),
            reason,
        });
        return false;
    }
    if let Some(grants) = &settings.exposure {
        let (shown, refused) = exposed(server, grants);
        if !refused.is_empty() {
            let (namespace, refused) = (&server.name.namespace, refused.join(", "));
            told.push(NotGranted {
                server: server.name.clone(),
                reason: format!(
                    "exposure of ClusterMCPSettings does not let servers of namespace {namespace} be shown to \
                     {refused}: exposeTo holds no further than exposure does"
                ),
            });
        }
        server.expose_to = shown;
    }
    true
}

/// The first place that the server's namespace may not have.
fn place_refused(server: &Server, grants: &[BackendGrant]) -> Option<String> {
    let namespace = &*server.name.namespace;
    let has_address = |ip: IpAddr| grants.iter().any(|grant| grant.has_address(namespace, ip));
    let has_host = |name: &str| grants.iter().any(|grant| grant.has_host(namespace, name));
    let at = match &server.backend {
        Backend::Addresses { addresses, .. } => addresses
            .iter()
            .find(|address| !has_address(address.ip()))
            .map(|address| address.ip().to_string()),
        Backend::Host { name, .. } => (!has_host(name)).then(|| name.to_string()),
    };
    let asks = || {
        let (Credential::OAuth2(endpoint) | Credential::TokenExchange(endpoint)) = server.credential.as_deref()? else {
            return None;
        };
        // The agent asks it from the node's network, as it dials a server.
        let uri = url::check(&endpoint.url).ok();
        let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let granted = match bare.parse::<IpAddr>() {
            Ok(ip) => has_address(ip),
            Err(_) => has_host(&bare.to_ascii_lowercase()),
        };
        (!granted).then(|| format!("{bare} (its credential's tokenUrl)"))
    };
    let place = at.or_else(asks)?;
    Some(format!(
        "externalBackends of ClusterMCPSettings does not grant {place} to namespace {namespace}: \
         nothing is done for this server, and nothing is governed there for it"
    ))
}

/// To whom it is shown, and to whom not though it asks for it.
fn exposed(server: &Server, grants: &[ExposureGrant]) -> (Expose, Vec<String>) {
    let ours = || {
        grants
            .iter()
            .filter(|grant| grant.namespaces.has(&server.name.namespace))
    };
    let everyone = ours().any(|grant| grant.to == Namespaces::All);
    let granted = || {
        let mut granted: Vec<Arc<str>> = Vec::new();
        for grant in ours() {
            if let Namespaces::These(list) = &grant.to {
                let more: Vec<Arc<str>> = list.iter().filter(|to| !granted.contains(to)).cloned().collect();
                granted.extend(more);
            }
        }
        granted
    };
    let only = |who: &str, granted: &[Arc<str>]| match granted {
        [] => vec![who.to_owned()],
        some => vec![format!("{who} (only to {})", some.join(", "))],
    };
    match &server.expose_to {
        Expose::Own => (Expose::Own, Vec::new()),
        wanted if everyone => (wanted.clone(), Vec::new()),
        Expose::Namespaces(wanted) => {
            let (shown, refused): (Vec<Arc<str>>, Vec<Arc<str>>) = wanted
                .iter()
                .cloned()
                .partition(|wanted| *wanted == server.name.namespace || ours().any(|grant| grant.to.has(wanted)));
            (some(shown), refused.iter().map(ToString::to_string).collect())
        }
        Expose::Everyone => {
            let granted = granted();
            let refused = only("everyone", &granted);
            (some(granted), refused)
        }
        Expose::Selected { by, .. } => {
            let granted = granted();
            let refused = only("every namespace that its selector selects", &granted);
            let shown = match granted.is_empty() {
                true => Expose::Own,
                false => Expose::Selected {
                    by: by.clone(),
                    within: Namespaces::These(granted),
                },
            };
            (shown, refused)
        }
    }
}

fn some(namespaces: Vec<Arc<str>>) -> Expose {
    match namespaces.is_empty() {
        true => Expose::Own,
        false => Expose::Namespaces(namespaces),
    }
}
