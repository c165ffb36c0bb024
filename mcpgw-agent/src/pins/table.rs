//! All pinned servers at one moment.

use std::{collections::HashMap, sync::Arc};

use super::{PinCount, Pinned, ToolState, server::ServerPins};
use crate::{mcp::definition::Definition, resources::ObjectName};

/// What was approved, and what is seen, at one moment.
#[derive(Debug, Default)]
pub struct Table {
    /// Another one after every change.
    pub generation: u64,
    pub(super) servers: HashMap<ObjectName, Arc<ServerPins>>,
    /// Those that went with the last change of the configuration, as they were: for calls that go by the plan before,
    /// until the next change.
    pub(super) before: HashMap<ObjectName, Arc<ServerPins>>,
}

impl Table {
    pub(super) fn server(&self, name: &ObjectName) -> Option<&ServerPins> {
        self.servers.get(name).map(|pins| &**pins)
    }

    /// A server of the plan in force, or of the one before.
    fn decided(&self, name: &ObjectName) -> Option<&ServerPins> {
        self.server(name).or_else(|| self.before.get(name).map(|pins| &**pins))
    }

    /// The next one, with another state of one server.
    pub(super) fn with(&self, name: &ObjectName, pins: ServerPins) -> Self {
        let mut servers = self.servers.clone();
        servers.insert(name.clone(), Arc::new(pins));
        Self {
            generation: self.generation + 1,
            servers,
            before: self.before.clone(),
        }
    }

    /// Whether the definition of a tool, as it was last seen, is the approved one.
    pub fn approves(&self, server: &ObjectName, tool: &str) -> bool {
        let state = self.decided(server).and_then(|pins| pins.state(tool));
        state == Some(ToolState::Approved)
    }

    /// Whether a tool is approved as `json`, an element of a list that a client is about to be shown, defines it.
    pub fn approves_as(&self, server: &ObjectName, tool: &str, json: &[u8]) -> bool {
        let Some(approved) = self.decided(server).and_then(|pins| pins.approval(tool)) else {
            return false;
        };
        let shown = Definition::of_tool(json);
        shown.is_ok_and(|shown| shown.digest() == approved.definition.digest())
    }

    /// Every pinned server with its tools, ordered by their names; with their definitions where it is `about` one
    /// server.
    pub fn status(&self, about: Option<&ObjectName>) -> Vec<Pinned> {
        let mut names: Vec<&ObjectName> = self.servers.keys().collect();
        names.retain(|name| about.is_none_or(|about| about == *name));
        names.sort_unstable();
        let status = |name: &ObjectName| Some(self.server(name)?.status(name, about.is_some()));
        names.into_iter().filter_map(status).collect()
    }

    /// How many tools of each pinned server are in which state, ordered by their names.
    pub fn counts(&self) -> Vec<PinCount> {
        let mut counts: Vec<PinCount> = self.servers.iter().map(|(name, pins)| pins.count(name)).collect();
        counts.sort_unstable_by(|a, b| a.server.cmp(&b.server));
        counts
    }
}
