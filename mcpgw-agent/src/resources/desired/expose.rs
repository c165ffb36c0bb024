//! Who sees a server at the gateway.

use std::{collections::HashSet, sync::Arc};

use super::{LabelSelector, NamespaceLabels, Namespaces, Server};

/// What no namespace is called, and no selector can name: it stands for all namespaces that nobody names.
const NOBODY_NAMES: &str = "*";

/// Namespaces whose callers see a server at the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expose {
    /// Its own namespace only.
    #[default]
    Own,
    /// These as well.
    Namespaces(Vec<Arc<str>>),
    /// Those with such labels as well.
    Selected {
        /// What their labels must be.
        by: LabelSelector,
        /// Of which of them: those that the settings grant.
        within: Namespaces,
    },
    /// Everyone (`namespaces: ["*"]`), callers that are in no namespace among them.
    Everyone,
}

impl Server {
    /// Whether those of a namespace see it at `/mcp`, where namespaces have these labels.
    pub fn is_shown_to(&self, namespace: &str, known: &NamespaceLabels) -> bool {
        let more = match &self.expose_to {
            Expose::Everyone => true,
            Expose::Own => false,
            Expose::Namespaces(more) => more.iter().any(|shown| **shown == *namespace),
            Expose::Selected { by, within } => within.has(namespace) && by.selects_namespace(namespace, known),
        };
        more || *self.name.namespace == *namespace
    }

    /// Whether there can be callers of a namespace that see both servers at the gateway, where namespaces have these
    /// labels.
    pub fn meets(&self, other: &Self, known: &NamespaceLabels) -> bool {
        let both = |namespace: &str| self.is_shown_to(namespace, known) && other.is_shown_to(namespace, known);
        if self.name.namespace == other.name.namespace || both(NOBODY_NAMES) {
            return true;
        }
        let mut named: HashSet<&str> = HashSet::new();
        let mut by_labels = false;
        for server in [self, other] {
            named.insert(&server.name.namespace);
            match &server.expose_to {
                Expose::Own | Expose::Everyone => {}
                Expose::Namespaces(more) => named.extend(more.iter().map(|name| &**name)),
                Expose::Selected { by, within } => {
                    by_labels = true;
                    named.extend(by.names().map(|name| &**name));
                    if let Namespaces::These(list) = within {
                        named.extend(list.iter().map(|name| &**name));
                    }
                }
            }
        }
        named.into_iter().any(both) || by_labels && known.keys().any(|namespace| both(namespace))
    }
}

#[cfg(test)]
#[path = "expose_tests.rs"]
mod tests;
