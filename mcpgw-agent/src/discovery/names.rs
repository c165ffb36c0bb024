//! The names that the gateway gives to what servers offer.
//!
//! A name is the server's prefix and the server's own name, put together literally. Two servers can so come to
//! the same name: then it is the older one's, and the other's is reported, never shown under another name.
//!
//! URIs of resources have no prefix. Where two servers have the same one, it is the older one's, and the other's gets a
//! prefix that names its server: nobody but that server reads anything into a URI, except for those that clients fetch
//! or show themselves.

use std::{collections::HashMap, sync::Arc};

use super::Item;
use crate::resources::{ObjectName, Server};

/// Longest name that the specification advises; a longer one is shown and reported.
const LONG: usize = 128;

/// The name of a server's item at the gateway.
pub fn exposed(prefix: &str, own: &str) -> Arc<str> {
    match prefix {
        "" => own.into(),
        _ => [prefix, own].concat().into(),
    }
}

/// Schemes of URIs that mean something to clients: these are never changed.
const KNOWN_SCHEMES: [&str; 2] = ["ui:", "https:"];

/// What URIs begin with that the gateway makes.
const OWN_SCHEME: &str = "mcpgw+";

/// Whether a server has no business with a URI, or a template: it would be another's at the gateway.
pub fn is_reserved(uri: &str) -> bool {
    let scheme = uri.get(..OWN_SCHEME.len());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(OWN_SCHEME))
}

/// The URI, or the template of URIs, of a server's resource at the gateway, where an older server has the same; `None`
/// where it cannot be another: then it is the older one's alone.
pub fn exposed_uri(server: &ObjectName, own: &str) -> Option<Arc<str>> {
    let starts_with = |scheme: &str| {
        own.get(..scheme.len())
            .is_some_and(|own| own.eq_ignore_ascii_case(scheme))
    };
    let is_known = KNOWN_SCHEMES.iter().any(|scheme| starts_with(scheme));
    // A scheme of its own; neither a namespace nor a name has a plus in it.
    (!is_known).then(|| format!("{OWN_SCHEME}{}+{}+{own}", server.namespace, server.name).into())
}

/// What is wrong with a name that a server gets at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// An older server has this name already: calls of it go there.
    Taken {
        /// The name at the gateway.
        name: Arc<str>,
        /// Whose it is.
        by: ObjectName,
    },
    /// An older server has this URI, or this template, already.
    Uri {
        /// The URI at the server.
        own: Arc<str>,
        /// Whose it is at the gateway.
        by: ObjectName,
        /// The URI at the gateway; `None`: it cannot be had there.
        shown: Option<Arc<str>>,
    },
    /// It would be what the gateway calls another's: it is not offered.
    Reserved {
        /// The URI at the server.
        own: Arc<str>,
    },
    /// It is shown, but clients may cut or refuse it.
    Unusual {
        /// The name at the gateway.
        name: Arc<str>,
    },
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken { name, by } => write!(
                f,
                "PrefixConflict: {name} is a name of {by} already; give one of them another prefix"
            ),
            Self::Uri {
                own,
                by,
                shown: Some(shown),
            } => write!(
                f,
                "UriConflict: {own} is a resource of {by} already; at the gateway it is {shown}"
            ),
            Self::Uri { own, by, shown: None } => {
                write!(
                    f,
                    "UriConflict: {own} is a resource of {by} already, and goes there at the gateway"
                )
            }
            Self::Reserved { own } => write!(
                f,
                "ReservedUri: {own} begins as only URIs of the gateway do, and is not offered there"
            ),
            Self::Unusual { name } => write!(
                f,
                "UnusualName: {name} is longer than {LONG} bytes or has characters that some clients refuse"
            ),
        }
    }
}

/// What is wrong with the names of these servers' items, by server; `servers` come in the order of their age. Servers
/// of which no caller sees both, as far as `meet` knows, are not in each other's way.
pub fn conflicts<'a>(
    servers: impl Iterator<Item = (&'a Server, &'a [Item])>,
    meet: impl Fn(&Server, &Server) -> bool,
) -> HashMap<ObjectName, Vec<Conflict>> {
    let mut owners: HashMap<Arc<str>, Vec<&Server>> = HashMap::new();
    let mut found: HashMap<ObjectName, Vec<Conflict>> = HashMap::new();
    for (server, items) in servers {
        for item in items {
            let name = exposed(&server.prefix, &item.name);
            let mut report = |conflict| found.entry(server.name.clone()).or_default().push(conflict);
            let known = owners.entry(Arc::clone(&name)).or_default();
            match known.iter().find(|owner| meet(owner, server)) {
                Some(owner) => report(Conflict::Taken {
                    name,
                    by: owner.name.clone(),
                }),
                None if !is_usual(&name) => report(Conflict::Unusual { name }),
                None => {}
            }
            known.push(server);
        }
    }
    found
}

/// The URIs, or templates, of these servers' resources that an older one has already, by server.
pub fn uri_conflicts<'a>(
    servers: impl Iterator<Item = (&'a ObjectName, &'a [Item])>,
) -> HashMap<ObjectName, Vec<Conflict>> {
    let mut owners: HashMap<&str, &ObjectName> = HashMap::new();
    let mut found: HashMap<ObjectName, Vec<Conflict>> = HashMap::new();
    for (server, items) in servers {
        for item in items {
            if is_reserved(&item.name) {
                let own = Arc::clone(&item.name);
                found
                    .entry(server.clone())
                    .or_default()
                    .push(Conflict::Reserved { own });
                continue;
            }
            let owner = *owners.entry(&item.name).or_insert(server);
            if owner != server {
                found.entry(server.clone()).or_default().push(Conflict::Uri {
                    own: Arc::clone(&item.name),
                    by: owner.clone(),
                    shown: exposed_uri(server, &item.name),
                });
            }
        }
    }
    found
}

/// Whether a name is of the form that the specification advises.
fn is_usual(name: &str) -> bool {
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !name.is_empty() && name.len() <= LONG && name.chars().all(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_that_means_something_to_clients_is_never_another() {
        let server = ObjectName {
            namespace: "tools".into(),
            name: "b".into(),
        };
        let of = |own: &str| exposed_uri(&server, own).map(|uri| uri.to_string());
        assert_eq!(of("demo://1").as_deref(), Some("mcpgw+tools+b+demo://1"));
        assert_eq!(of("https+x://1").as_deref(), Some("mcpgw+tools+b+https+x://1"));
        for own in ["https://a.example/1", "HTTPS://a.example", "ui://form", "Ui:x"] {
            assert_eq!(of(own), None, "{own}");
        }
    }
}
