//! What one kind of caller sees at the gateway: its servers, and the names by which it reaches what they offer.
//!
//! A view is made once for a plan, a state of the catalogues and a kind of caller, and shared by all its calls.
//! What it does not list cannot be called through it.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::{BufMut, Bytes, BytesMut};

pub(super) use super::kind::Kind;
use super::{
    personal::is_personal,
    reach::{Reach, reach},
    tell::Prints,
    template::Template,
};
use crate::{
    discovery::{Catalogue, Item, Own, Snapshot, names},
    identity::Caller,
    mcp::{annotations::Annotations, governed, splice::json_string},
    pins,
    policy::{Lacks, Plan, Server},
    resources::{Catalog, CatalogServer, DenialStatus, ObjectName, Pin},
};

/// Items of one page of a list.
const MAX_PAGE_ITEMS: usize = 256;
/// Bytes of one page of a list, unless a single item is larger.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

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

/// One list, in the order of the names at the gateway.
#[derive(Debug, Default)]
pub(super) struct List {
    entries: Vec<Entry>,
    by_name: HashMap<Arc<str>, usize>,
    /// Those that are there, and not for this caller.
    hidden: HashMap<Arc<str>, Hidden>,
    /// How many of these a rule hides, or are not approved.
    pub(super) denied: usize,
    pages: Vec<Page>,
}

#[derive(Debug)]
struct Hidden {
    seen: usize,
    own: Arc<str>,
    left_out: bool,
}

/// One item of a list, shown or not.
struct Offered<'a> {
    name: &'a Arc<str>,
    own: &'a Arc<str>,
    seen: usize,
    is_shown: bool,
}

impl Offered<'_> {
    fn template(self) -> Template {
        Template {
            name: Arc::clone(self.name),
            own: Arc::clone(self.own),
            seen: self.seen,
            is_shown: self.is_shown,
        }
    }
}

/// Whether an item is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Yes,
    /// A rule hides it, or it is not approved.
    No,
    /// The catalog leaves it out.
    LeftOut,
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

/// One item of a list.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its name at the gateway.
    pub(super) name: Arc<str>,
    /// Its name at its server.
    pub(super) own: Arc<str>,
    /// Which of the view's servers has it.
    pub(super) seen: usize,
    /// Which of the server's items it is.
    pub(super) item: usize,
}

/// What one answer has of a list.
#[derive(Debug, Default)]
pub(super) struct Part<'a> {
    /// The items, separated by commas.
    pub(super) items: Bytes,
    /// How many they are.
    pub(super) count: usize,
    /// The name to go on behind, where there is more.
    pub(super) next: Option<&'a str>,
}

/// One page of a list, ready to be sent: the items, separated by commas.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Bytes,
    entries: Range<usize>,
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
        match list.hidden.get(name) {
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

impl List {
    fn new<'s>(kind: Kind, servers: &'s [Seen], shows: impl Fn(usize, &Item) -> Shown) -> Self {
        let mut list = Self::default();
        let of = |(seen, server): (usize, &'s Seen)| {
            let items = kind.items(&server.catalogue).iter().enumerate();
            items.map(move |(item, offered)| (seen, item, offered))
        };
        let offered = servers.iter().enumerate().flat_map(of);
        let mut offered: Vec<_> = offered.map(|of| (shows(of.0, of.2), of)).collect();
        if !kind.is_prefixed() {
            offered.retain(|(_, (_, _, offered))| !names::is_reserved(&offered.name));
            // What is hidden from this caller changes no URI of what is not: it would tell what is there. No rule is
            // got round by this: each server is asked for its own.
            offered.sort_by_key(|(shown, _)| *shown != Shown::Yes);
        }
        for (shown, (seen, item, offered)) in offered {
            let server = &servers[seen].server;
            let prefix = if kind.is_prefixed() { &*server.wanted.prefix } else { "" };
            let name = names::exposed(prefix, &offered.name);
            // The older server keeps a name, also where a rule hides it from this caller: a name never means one
            // tool to one caller and another tool to the next.
            let taken = list.by_name.contains_key(&name);
            let other = || names::exposed_uri(server.name(), &offered.name);
            let name = match taken {
                false => Some(name),
                true if kind.is_prefixed() || list.hidden.contains_key(&name) => None,
                // A URI can be another.
                true => other().filter(|other| !list.by_name.contains_key(other)),
            };
            let Some(name) = name else { continue };
            list.by_name.insert(Arc::clone(&name), usize::MAX);
            let own = Arc::clone(&offered.name);
            if shown == Shown::Yes {
                list.entries.push(Entry { name, own, seen, item });
            } else {
                let left_out = shown == Shown::LeftOut;
                list.denied += usize::from(!left_out);
                let hidden = Hidden { seen, own, left_out };
                list.hidden.insert(name, hidden);
            }
        }
        list.entries.sort_by(|a, b| a.name.cmp(&b.name));
        let places = list.entries.iter().enumerate();
        list.by_name = places.map(|(place, entry)| (Arc::clone(&entry.name), place)).collect();
        list.render(kind, servers);
        list
    }

    fn bytes(&self) -> usize {
        let pages: usize = self.pages.iter().map(|page| page.items.len()).sum();
        pages + self.entries.len() * size_of::<Entry>() + self.hidden.len() * size_of::<Hidden>()
    }

    fn render(&mut self, kind: Kind, servers: &[Seen]) {
        let mut items = BytesMut::new();
        let mut first = 0;
        for (place, entry) in self.entries.iter().enumerate() {
            let item = &kind.items(&servers[entry.seen].catalogue)[entry.item];
            let full = place - first == MAX_PAGE_ITEMS || items.len() + item.json.len() > MAX_PAGE_BYTES;
            if place > first && full {
                self.pages.push(Page {
                    items: items.split().freeze(),
                    entries: first..place,
                });
                first = place;
            }
            if place > first {
                items.put_u8(b',');
            }
            if entry.name == entry.own {
                items.put_slice(&item.json);
            } else {
                items.put_slice(&item.json[..item.name_span.start]);
                items.put_slice(&json_string(&entry.name));
                items.put_slice(&item.json[item.name_span.end..]);
            }
        }
        self.pages.push(Page {
            items: items.freeze(),
            entries: first..self.entries.len(),
        });
    }

    /// Each item, shown or not.
    fn all(&self) -> impl Iterator<Item = Offered<'_>> {
        let shown = self.entries.iter().map(|entry| Offered {
            name: &entry.name,
            own: &entry.own,
            seen: entry.seen,
            is_shown: true,
        });
        let hidden = self.hidden.iter().map(|(name, hidden)| Offered {
            name,
            own: &hidden.own,
            seen: hidden.seen,
            is_shown: false,
        });
        shown.chain(hidden)
    }

    /// Its pages, each as it is sent.
    pub(super) fn pages(&self) -> impl Iterator<Item = &Bytes> {
        self.pages.iter().map(|page| &page.items)
    }

    /// The item with this name at the gateway.
    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).map(|place| &self.entries[*place])
    }

    /// The page with the items behind `last`.
    pub(super) fn page(&self, last: Option<&str>) -> Part<'_> {
        let from = last.map_or(0, |last| self.entries.partition_point(|entry| *entry.name <= *last));
        // A page begins where the one before it ended, unless the list has changed in between: then the rest of
        // the page that holds the place would be a page of its own, so the items before it are sent again.
        let index = self.pages.partition_point(|page| page.entries.end <= from);
        let Some(page) = self.pages.get(index) else {
            return Part::default();
        };
        let more = index + 1 < self.pages.len();
        Part {
            items: page.items.clone(),
            count: page.entries.len(),
            next: more.then(|| &*self.entries[page.entries.end - 1].name),
        }
    }
}
