//! What one server offers, as it was last seen.

use std::{
    collections::HashMap,
    ops::{Deref, Range},
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::limits::{MAX_CAPABILITIES, MAX_TEMPLATE, MAX_TEMPLATES};
use crate::{
    mcp::{annotations::Annotations, modern::ParamHeaders, version::Revision},
    resources::ObjectName,
};

/// The catalogues of all servers that were ever seen, at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Another one after every change.
    pub generation: u64,
    /// Whether any of the servers says that its lists are for the one who asked.
    pub has_private: bool,
    pub(super) catalogues: HashMap<ObjectName, Arc<Catalogue>>,
    /// Which generation was the first with what each of them offers.
    changed: HashMap<ObjectName, u64>,
}

impl Snapshot {
    /// The same, where this is what a server offers.
    pub(crate) fn with(&self, server: &ObjectName, catalogue: &Arc<Catalogue>) -> Self {
        let mut next = self.next();
        let before = next.catalogues.insert(server.clone(), Arc::clone(catalogue));
        match before.is_some_and(|before| before.is_like(catalogue)) {
            true => next.generation = self.generation,
            false => drop(next.changed.insert(server.clone(), next.generation)),
        }
        next.counted()
    }

    /// The same, where it is not known what a server offers.
    pub(super) fn without(&self, server: &ObjectName) -> Self {
        let mut next = self.next();
        next.catalogues.remove(server);
        next.changed.remove(server);
        next.counted()
    }

    fn next(&self) -> Self {
        Self {
            generation: self.generation + 1,
            has_private: self.has_private,
            catalogues: self.catalogues.clone(),
            changed: self.changed.clone(),
        }
    }

    fn counted(mut self) -> Self {
        self.has_private = self.catalogues.values().any(|catalogue| catalogue.is_private);
        self
    }

    /// The first generation with what a server offers, as far as anybody could notice; `None` where that is not known.
    pub fn changed(&self, server: &ObjectName) -> Option<u64> {
        self.changed.get(server).copied()
    }

    /// What a server offers; `None` if it was never seen.
    pub fn get(&self, server: &ObjectName) -> Option<&Arc<Catalogue>> {
        self.catalogues.get(server)
    }
}

/// What a server offers.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// Which eras it speaks.
    pub speaks: Speaks,
    /// What it says that it can do.
    pub features: Capabilities,
    /// The protocol extensions that it says it knows, by name, with their settings.
    pub extensions: Extensions,
    /// How it wants to be used.
    pub instructions: Option<String>,
    /// Its tools, in its own order.
    pub tools: Tools,
    /// Its prompts.
    pub prompts: Vec<Item>,
    /// Its resources.
    pub resources: Vec<Item>,
    /// Its resource templates, as far as they are offered on.
    pub templates: Vec<Item>,
    /// How many of its resource templates are not: they are too many, or too long.
    pub templates_left_out: usize,
    /// When this was seen.
    pub fetched: SystemTime,
    /// It says that its lists are for the one who asked, and nobody else.
    pub is_private: bool,
    /// How long it says that its lists hold.
    pub ttl: Option<Duration>,
}

impl Catalogue {
    /// The tool of this name.
    pub fn tool(&self, name: &str) -> Option<&Item> {
        let place = self.tools.places.get(name)?;
        self.tools.items.get(*place)
    }

    /// What it takes in memory, at least.
    pub(super) fn bytes(&self) -> usize {
        let lists: [&[Item]; 4] = [&self.tools, &self.prompts, &self.resources, &self.templates];
        let of = |item: &Item| item.json.len() + item.name.len() + size_of::<Item>();
        lists.into_iter().flatten().map(of).sum()
    }

    /// Whether nothing that anybody could notice is another.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.speaks == other.speaks
            && self.features == other.features
            && self.extensions == other.extensions
            && self.instructions == other.instructions
            && self.is_private == other.is_private
            && self.same_lists(other) == [true; 4]
    }

    pub(super) fn same_lists(&self, other: &Self) -> [bool; 4] {
        let same = |a: &[Item], b: &[Item]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.json == b.json);
        [
            same(&self.tools, &other.tools),
            same(&self.prompts, &other.prompts),
            same(&self.resources, &other.resources),
            same(&self.templates, &other.templates),
        ]
    }
}

/// The resource templates that are offered on of those that a server lists, and how many are not.
pub(super) fn offered_templates(listed: Vec<Item>) -> (Vec<Item>, usize) {
    let all = listed.len();
    let short = listed
        .into_iter()
        .filter(|template| template.name.len() <= MAX_TEMPLATE);
    let offered: Vec<Item> = short.take(MAX_TEMPLATES).collect();
    let left_out = all - offered.len();
    (offered, left_out)
}

/// Tools, found by their names as well: every call of one may look.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    items: Vec<Item>,
    places: HashMap<Arc<str>, usize>,
}

impl From<Vec<Item>> for Tools {
    fn from(items: Vec<Item>) -> Self {
        let places = items.iter().enumerate();
        let places = places.map(|(place, item)| (Arc::clone(&item.name), place)).collect();
        Self { items, places }
    }
}

impl Deref for Tools {
    type Target = [Item];

    fn deref(&self) -> &[Item] {
        &self.items
    }
}

/// Extensions of the protocol, by name, with what a server says of each.
pub type Extensions = Map<String, Value>;

/// The extensions among a server's capabilities; none where they are no object, or these too long.
pub(super) fn extensions(capabilities: &RawValue) -> Extensions {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Written {
        extensions: Extensions,
    }
    if capabilities.get().len() > MAX_CAPABILITIES {
        return Extensions::new();
    }
    let written: Written = serde_json::from_str(capabilities.get()).unwrap_or_default();
    written.extensions
}

/// Which eras a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speaks {
    /// The revision that it agrees on when a session is opened.
    pub legacy: Option<Revision>,
    /// It takes requests of the modern era.
    pub modern: bool,
}

/// What a server says that it can do, as far as a gateway offers it on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It has tools.
    pub tools: bool,
    /// It has prompts.
    pub prompts: bool,
    /// It has resources.
    pub resources: bool,
    /// Its resources can be subscribed to.
    pub subscribe: bool,
    /// It completes arguments.
    pub completions: bool,
    /// Its logging level can be set.
    pub logging: bool,
    /// What it can do with tasks, as revision 2025-11-25 has them.
    pub tasks: TaskCapabilities,
}

/// What a server can do with tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskCapabilities {
    /// Anything at all.
    pub any: bool,
    /// They can be listed.
    pub list: bool,
    /// They can be cancelled.
    pub cancel: bool,
    /// A call of a tool can be one.
    pub calls: bool,
}

impl TaskCapabilities {
    fn or(self, other: Self) -> Self {
        Self {
            any: self.any || other.any,
            list: self.list || other.list,
            cancel: self.cancel || other.cancel,
            calls: self.calls || other.calls,
        }
    }
}

impl Capabilities {
    /// As the server wrote them.
    pub(super) fn read(raw: &RawValue) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Written<'a> {
            #[serde(borrow)]
            tools: Option<&'a RawValue>,
            #[serde(borrow)]
            prompts: Option<&'a RawValue>,
            resources: Option<Resources>,
            #[serde(borrow)]
            completions: Option<&'a RawValue>,
            #[serde(borrow)]
            logging: Option<&'a RawValue>,
            #[serde(borrow)]
            tasks: Option<Tasks<'a>>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Tasks<'a> {
            #[serde(borrow)]
            list: Option<&'a RawValue>,
            #[serde(borrow)]
            cancel: Option<&'a RawValue>,
            requests: Requests,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Requests {
            tools: Calls,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Calls {
            call: Option<serde::de::IgnoredAny>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Resources {
            subscribe: bool,
        }
        let written: Written<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
        Self {
            tools: written.tools.is_some(),
            prompts: written.prompts.is_some(),
            subscribe: written.resources.as_ref().is_some_and(|resources| resources.subscribe),
            resources: written.resources.is_some(),
            completions: written.completions.is_some(),
            logging: written.logging.is_some(),
            tasks: written
                .tasks
                .map_or_else(TaskCapabilities::default, |tasks| TaskCapabilities {
                    any: true,
                    list: tasks.list.is_some(),
                    cancel: tasks.cancel.is_some(),
                    calls: tasks.requests.tools.call.is_some(),
                }),
        }
    }

    /// What either of the two can.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            tools: self.tools || other.tools,
            prompts: self.prompts || other.prompts,
            resources: self.resources || other.resources,
            subscribe: self.subscribe || other.subscribe,
            completions: self.completions || other.completions,
            logging: self.logging || other.logging,
            tasks: self.tasks.or(other.tasks),
        }
    }
}

/// One thing that a server offers.
#[derive(Clone, Debug)]
pub struct Item {
    /// The server's own name for it: a name, a URI or a template of one.
    pub name: Arc<str>,
    /// All of it, as the server wrote it.
    pub json: Bytes,
    /// Where in `json` the name stands.
    pub name_span: Range<usize>,
    /// Which arguments of a tool headers must repeat.
    pub param_headers: Option<Arc<ParamHeaders>>,
    callable: bool,
    annotations: OnceLock<Annotations>,
}

/// An item that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nameless;

impl Item {
    /// The item of this JSON, whose name is member `key`.
    pub(super) fn read(raw: &RawValue, key: &str) -> Result<Self, Nameless> {
        let members: HashMap<String, &RawValue> = serde_json::from_str(raw.get()).map_err(|_| Nameless)?;
        let written = members.get(key).ok_or(Nameless)?;
        let name: String = serde_json::from_str(written.get()).map_err(|_| Nameless)?;
        let start = written.get().as_ptr().addr() - raw.get().as_ptr().addr();
        let headers = members.get("inputSchema").map(|schema| ParamHeaders::of_schema(schema));
        Ok(Self {
            name: name.into(),
            name_span: start..start + written.get().len(),
            json: Bytes::copy_from_slice(raw.get().as_bytes()),
            // A tool whose annotations are wrong cannot be called by the rules, so that it is not listed.
            callable: !matches!(headers, Some(Err(_))),
            param_headers: headers.and_then(Result::ok).flatten().map(Arc::new),
            annotations: OnceLock::new(),
        })
    }

    /// What the server says of it, where it is a tool. Read when it is first asked for.
    pub fn annotations(&self) -> Annotations {
        *self.annotations.get_or_init(|| Annotations::of_tool(&self.json))
    }

    /// Whether it can be called by the rules of the protocol.
    pub fn is_callable(&self) -> bool {
        self.callable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_read_as_they_are_written_and_nonsense_is_none() {
        let read = |text: &str| {
            let raw: &RawValue = serde_json::from_str(text).unwrap();
            Value::Object(extensions(raw)).to_string()
        };
        assert_eq!(
            read(r#"{"tools":{},"extensions":{"example.org/x":{"deep":[1]}}}"#),
            r#"{"example.org/x":{"deep":[1]}}"#
        );
        let long = format!(r#"{{"extensions":{{"x":{:?}}}}}"#, "x".repeat(MAX_CAPABILITIES));
        for none in [&long, "{}", r#"{"extensions":[]}"#, r#"{"extensions":null}"#, "7"] {
            assert_eq!(read(none), "{}", "{none}");
        }
    }
}
