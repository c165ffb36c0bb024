//! The names that the gateway gives to what servers offer.
//!
//! A name is the server's prefix and the server's own name, put together literally. Two servers can so come to
//! the same name: then it is the older one's, and the other's is reported, never shown under another name.

use std::{collections::HashMap, sync::Arc};

use super::Item;
use crate::resources::ObjectName;

/// Longest name that the specification advises; a longer one is shown and reported.
const LONG: usize = 128;

/// The name of a server's item at the gateway.
pub fn exposed(prefix: &str, own: &str) -> Arc<str> {
    match prefix {
        "" => own.into(),
        _ => [prefix, own].concat().into(),
    }
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
            Self::Unusual { name } => write!(
                f,
                "UnusualName: {name} is longer than {LONG} bytes or has characters that some clients refuse"
            ),
        }
    }
}

/// What is wrong with the names of these servers' items, by server; `servers` come in the order of their age.
/// Each comes with its prefix.
pub fn conflicts<'a>(
    servers: impl Iterator<Item = (&'a ObjectName, &'a str, &'a [Item])>,
) -> HashMap<ObjectName, Vec<Conflict>> {
    let mut owners: HashMap<Arc<str>, &ObjectName> = HashMap::new();
    let mut found: HashMap<ObjectName, Vec<Conflict>> = HashMap::new();
    for (server, prefix, items) in servers {
        for item in items {
            let name = exposed(prefix, &item.name);
            let mut report = |conflict| found.entry(server.clone()).or_default().push(conflict);
            match owners.get(&name) {
                Some(owner) => report(Conflict::Taken {
                    name,
                    by: (*owner).clone(),
                }),
                None => {
                    if !is_usual(&name) {
                        report(Conflict::Unusual {
                            name: Arc::clone(&name),
                        });
                    }
                    owners.insert(name, server);
                }
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
