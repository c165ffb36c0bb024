//! What one kind of caller sees at the gateway: its servers, and the names by which it reaches what they offer.
//!
//! A view is made once for a plan, a state of the catalogues and a kind of caller, and shared by all its calls.
//! What it does not list cannot be called through it.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
};

pub(super) use super::kind::Kind;
use super::{
    list::{Entry, Hidden, List, Offered, Shown},
    personal::is_personal,
    reach::{Reach, reach},
    tell::Prints,
    template::Template,
};
use crate::{
    discovery::{Catalogue, Own, Snapshot},
    identity::Caller,
    mcp::{annotations::Annotations, governed},
    pins,
    policy::{Lacks, Plan, Server},
    resources::{Catalog, CatalogServer, DenialStatus, ObjectName, Pin},
};

/// A server as a caller sees it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) server: Arc<Server>,
    pub(super) catalogue: Arc<Catalogue>,
    /// It is this caller's own.
    pub(super) is_personal: bool,
}

/// What a kind of caller sees.
#[derive(Debug)]
pub(super) struct View {
    /// Servers whose catalogue is known, ordered by namespace and name.
    pub(super) servers: Vec<Seen>,
    pub(super) tools: List,
    pub(super) prompts: List,
    pub(super) resources: List,
    pub(super) templates: List,
    /// By which the owner of a URI is sought that nobody lists.
    pub(super) matched: Vec<Template>,
    /// Servers that it sees and of which it is not known what they offer.
    unknown: Vec<Arc<Server>>,
    /// Servers that it would see, but for what it lacks.
    barred: Vec<(Arc<Server>, Lacks)>,
    /// The servers with URIs that are others here.
    pub(super) renamed: HashSet<ObjectName>,
    /// Which HTTP status denials get: one for all of them, lest it tell which server has what is hidden.
    pub(super) denial_status: DenialStatus,
    prints: OnceLock<Prints>,
    /// Of each server that it sees, since when that offers what it does.
    made_of: Vec<(Arc<Server>, Option<u64>)>,
}

/// What a name stands for.
pub(super) enum Named<'a> {
    /// Something that the caller sees.
    Shown(&'a Entry),
    /// Something that it does not see.
    Hidden {
        seen: &'a Seen,
        own: &'a Arc<str>,
        /// Because the catalog leaves it out.
        left_out: bool,
    },
    /// Nothing.
    Unknown,
}

impl View {
    /// What `caller` sees through `catalog`, or without one. Of a server that offers something else to each principal it
    /// sees its own, and nothing where that is not known.
    pub(super) fn new(
        plan: &Plan,
        snapshot: &Snapshot,
        own: &Own,
        pins: &pins::Table,
        caller: &Caller,
        catalog: Option<&Catalog>,
    ) -> Self {
        let mut view = Self {
            servers: Vec::new(),
            tools: List::default(),
            prompts: List::default(),
            resources: List::default(),
            templates: List::default(),
            matched: Vec::new(),
            unknown: Vec::new(),
            barred: Vec::new(),
            renamed: HashSet::new(),
            denial_status: DenialStatus::default(),
            prints: OnceLock::new(),
            made_of: Vec::new(),
        };
        let mut choices = Vec::new();
        for server in plan.servers() {
            let choice = match reach(plan, caller, catalog, server) {
                Reach::Seen(choice) => choice,
                Reach::Barred(lacks) => {
                    view.barred.push((Arc::clone(server), lacks));
                    continue;
                }
                Reach::Hidden => continue,
            };
            view.denial_status = view.denial_status.max(server.denial_status);
            view.made_of.push((Arc::clone(server), snapshot.changed(server.name())));
            let shared = || snapshot.get(server.name()).filter(|_| !is_personal(server, snapshot));
            let own = own.of(server.name());
            let Some(catalogue) = own.unwrap_or_else(shared) else {
                view.unknown.push(Arc::clone(server));
                continue;
            };
            view.servers.push(Seen {
                server: Arc::clone(server),
                catalogue: Arc::clone(catalogue),
                is_personal: own.is_some(),
            });
            choices.push(choice);
        }
        for kind in [Kind::Tools, Kind::Prompts, Kind::Resources, Kind::Templates] {
            let list = List::new(kind, &view.servers, |index, item| {
                let left_out = choices[index].is_some_and(|choice: &CatalogServer| !choice.offers(&item.name));
                if kind == Kind::Tools && (left_out || !item.is_callable()) {
                    return Shown::LeftOut;
                }
                let Seen {
                    server, is_personal, ..
                } = &view.servers[index];
                let annotations = match kind == Kind::Tools && server.reads_annotations() {
                    true => item.annotations(),
                    false => Annotations::default(),
                };
                let pinned = kind == Kind::Tools && server.wanted.pin == Pin::Enforce && !caller.observed;
                let as_shown = || !is_personal || pins.approves_as(server.name(), &item.name, &item.json);
                let approved = !pinned || pins.approves(server.name(), &item.name) && as_shown();
                match approved && plan.shows(server, caller, kind.governed(), &item.name, annotations) {
                    true => Shown::Yes,
                    false => Shown::No,
                }
            });
            *view.list_mut(kind) = list;
        }
        let uris = view.resources.all().chain(view.templates.all());
        let renamed = uris.filter(|offered| offered.name != offered.own);
        view.renamed = renamed
            .map(|offered| view.servers[offered.seen].server.name().clone())
            .collect();
        view.matched = view.templates.all().map(Offered::template).collect();
        view
    }

    /// Whether all the servers that it sees offer now what they did when it was made; others are none of its matter.
    pub(super) fn is_of(&self, snapshot: &Snapshot) -> bool {
        let mut made_of = self.made_of.iter();
        made_of.all(|(server, changed)| snapshot.changed(server.name()) == *changed)
    }

    /// What tells its lists apart from those of another view.
    pub(super) fn prints(&self) -> Prints {
        *self.prints.get_or_init(|| Prints::of(self))
    }

    /// What its lists take in memory, at least.
    pub(super) fn bytes(&self) -> usize {
        let lists = [&self.tools, &self.prompts, &self.resources, &self.templates];
        lists.into_iter().map(List::bytes).sum()
    }

    pub(super) fn list(&self, kind: Kind) -> &List {
        match kind {
            Kind::Tools => &self.tools,
            Kind::Prompts => &self.prompts,
            Kind::Resources => &self.resources,
            Kind::Templates => &self.templates,
        }
    }

    fn list_mut(&mut self, kind: Kind) -> &mut List {
        match kind {
            Kind::Tools => &mut self.tools,
            Kind::Prompts => &mut self.prompts,
            Kind::Resources => &mut self.resources,
            Kind::Templates => &mut self.templates,
        }
    }

    /// A server, where its catalogue is known.
    pub(super) fn seen(&self, server: &ObjectName) -> Option<&Seen> {
        self.servers.iter().find(|seen| seen.server.name() == server)
    }

    /// The server of an entry.
    pub(super) fn server(&self, entry: &Entry) -> &Seen {
        &self.servers[entry.seen]
    }

    /// What a name stands for.
    pub(super) fn named(&self, kind: Kind, name: &str) -> Named<'_> {
        let list = self.list(kind);
        if let Some(entry) = list.get(name) {
            return Named::Shown(entry);
        }
        match list.hidden(name) {
            Some(Hidden {
                seen, own, left_out, ..
            }) => Named::Hidden {
                seen: &self.servers[*seen],
                own,
                left_out: *left_out,
            },
            None => Named::Unknown,
        }
    }

    /// What the caller lacks to ask for something that it does not see, and of which server. Of one that is kept from it
    /// for that, all that could be its own has this one answer, whether it is there or not.
    pub(super) fn lacks(&self, kind: governed::Kind, name: &str) -> Option<(&Server, Lacks)> {
        let could_be = |server: &Server| match kind {
            governed::Kind::Tool | governed::Kind::Prompt => name.starts_with(&*server.wanted.prefix),
            governed::Kind::Resource => true,
            governed::Kind::Task | governed::Kind::Other => false,
        };
        let mut barred = self.barred.iter();
        barred.find_map(|(server, lacks)| could_be(server).then_some((&**server, *lacks)))
    }

    /// Whether the caller's token is another pod's, and a server is kept from it for that.
    pub(super) fn is_of_a_thief(&self) -> bool {
        self.barred.iter().any(|(_, lacks)| *lacks == Lacks::OwnToken)
    }

    /// The server, where there is one only: what the gateway does not understand can go there. Another of which it is
    /// not known now what it offers counts as well.
    pub(super) fn only(&self) -> Option<&Seen> {
        match self.servers.as_slice() {
            [only] if self.unknown.is_empty() => Some(only),
            _ => None,
        }
    }

    /// Whether a server is kept from the caller for what it lacks.
    pub(super) fn has_barred(&self) -> bool {
        !self.barred.is_empty()
    }

    /// A server that could have what nobody is known to have: it is not known now what it offers.
    pub(super) fn could_have(&self) -> Option<&ObjectName> {
        self.unknown.first().map(|server| server.name())
    }
}
