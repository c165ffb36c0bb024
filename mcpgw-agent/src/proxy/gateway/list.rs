//! One list, as a kind of caller sees it: its items by their names at the gateway, and its pages, ready to be sent.

use std::{collections::HashMap, ops::Range, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};

use super::{kind::Kind, template::Template, view::Seen};
use crate::{
    discovery::{Item, names},
    mcp::splice::json_string,
};

/// Items of one page of a list.
const MAX_PAGE_ITEMS: usize = 256;
/// Bytes of one page of a list, unless a single item is larger.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

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

/// One that is there, and not for this caller.
#[derive(Debug)]
pub(super) struct Hidden {
    /// Which of the view's servers has it.
    pub(super) seen: usize,
    /// Its name at its server.
    pub(super) own: Arc<str>,
    /// Because the catalog leaves it out.
    pub(super) left_out: bool,
}

/// One item of a list, shown or not.
pub(super) struct Offered<'a> {
    /// Its name at the gateway.
    pub(super) name: &'a Arc<str>,
    /// … and at its server.
    pub(super) own: &'a Arc<str>,
    /// Which of the view's servers has it.
    pub(super) seen: usize,
    is_shown: bool,
}

impl Offered<'_> {
    /// By which the owner of a URI is sought.
    pub(super) fn template(self) -> Template {
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
pub(super) enum Shown {
    Yes,
    /// A rule hides it, or it is not approved.
    No,
    /// The catalog leaves it out.
    LeftOut,
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

impl List {
    /// Of what these servers offer, as far as each item is shown.
    pub(super) fn new<'s>(kind: Kind, servers: &'s [Seen], shows: impl Fn(usize, &Item) -> Shown) -> Self {
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

    /// What it takes in memory, at least.
    pub(super) fn bytes(&self) -> usize {
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
    pub(super) fn all(&self) -> impl Iterator<Item = Offered<'_>> {
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

    /// What is hidden under this name at the gateway.
    pub(super) fn hidden(&self, name: &str) -> Option<&Hidden> {
        self.hidden.get(name)
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
