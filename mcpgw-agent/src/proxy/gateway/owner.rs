//! Whose a URI is at the gateway, and which one it is there.

use std::borrow::Cow;

use super::{
    template::{self, Steps, Template},
    view::{Kind, Named, Seen, View},
};
use crate::{discovery::names, resources::ObjectName};

/// The owner of a URI.
#[derive(Debug)]
pub(super) struct Owner<'a> {
    pub(super) seen: &'a Seen,
    /// The URI, as the server has it.
    pub(super) own: String,
}

impl View {
    /// The server that owns a URI: the one that has it, else the one with the template that fits it most closely,
    /// else the only server that there is, also among those of which it is not known now what they offer and those that are
    /// kept from the caller for what it lacks: no URI of one goes to another that did not offer it. What is hidden counts as well, where nothing is shown that could have it: rules
    /// decide about the URI, at its server.
    pub(super) fn owner_of(&self, uri: &str) -> Option<Owner<'_>> {
        self.owner_within(uri, &mut Steps::default())
    }

    /// The same; `steps` has been taken so far.
    fn owner_within(&self, uri: &str, steps: &mut Steps) -> Option<Owner<'_>> {
        let only = || {
            let own = uri.to_owned();
            // What the gateway called one server's is no other's.
            let may_be_anothers = names::is_reserved(uri) || self.has_barred();
            let only = self.only().filter(|_| !may_be_anothers)?;
            Some(Owner { seen: only, own })
        };
        self.lister_within(uri, steps).or_else(only)
    }

    /// Whether a server has this URI, or a template that fits it.
    pub(super) fn is_listed(&self, uri: &str) -> bool {
        self.lister_within(uri, &mut Steps::default()).is_some()
    }

    /// The server that has this URI, or a template that fits it.
    fn lister_within(&self, uri: &str, steps: &mut Steps) -> Option<Owner<'_>> {
        let at = |seen, own: &str| Owner {
            seen,
            own: own.to_owned(),
        };
        let hidden = match self.named(Kind::Resources, uri) {
            Named::Shown(entry) => return Some(at(self.server(entry), &entry.own)),
            Named::Hidden { seen, own, .. } => Some(at(seen, own)),
            Named::Unknown => None,
        };
        // What the gateway called one server's fits no template of another.
        let is_renamed = names::is_reserved(uri);
        let could_fit = self
            .matched
            .iter()
            .filter(|template| names::is_reserved(&template.name) == is_renamed);
        let fitting = template::closest(could_fit, uri, steps);
        // What was put before the template is before the URI, too.
        let of = |template: &Template| {
            let own = uri.get(template.name.len() - template.own.len()..)?;
            Some(at(&self.servers[template.seen], own))
        };
        let shown = fitting.filter(|template| template.is_shown).and_then(of);
        shown.or(hidden).or_else(|| fitting.and_then(of))
    }

    /// Whether a server has URIs that are others at the gateway.
    pub(super) fn renames(&self, server: &ObjectName) -> bool {
        self.renamed.contains(server)
    }

    /// The URI at the gateway of what a server has by this one.
    pub(super) fn shown<'u>(&self, server: &ObjectName, own: &'u str) -> Cow<'u, str> {
        self.shown_within(server, own, &mut Steps::default())
    }

    /// The same; `steps` has been taken so far.
    pub(super) fn shown_within<'u>(&self, server: &ObjectName, own: &'u str, steps: &mut Steps) -> Cow<'u, str> {
        let renamed = self.renames(server).then(|| names::exposed_uri(server, own)).flatten();
        let is_its = |owner: Owner<'_>| owner.seen.server.name() == server && owner.own == own;
        let mut is_known_by = |uri: &str| self.owner_within(uri, steps).is_some_and(is_its);
        match renamed {
            // Where the plain one is its own as well, that is the one.
            Some(renamed) if !is_known_by(own) && is_known_by(&renamed) => Cow::Owned(renamed.to_string()),
            _ => Cow::Borrowed(own),
        }
    }
}
