//! What all sessions share.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result};
use rmcp::{
    model::{Prompt, Resource, ResourceTemplate, Tool},
    task_manager::TaskManager,
};
use serde::Deserialize;
use tokio::sync::broadcast;

/// Changes that a subscriber may be behind.
const BACKLOG: usize = 64;

/// What the server offers.
#[derive(Deserialize)]
pub struct Catalogue {
    pub tools: Vec<Tool>,
    pub prompts: Vec<Prompt>,
    pub resources: Vec<Resource>,
    pub templates: Vec<ResourceTemplate>,
    /// What comes and goes.
    pub changing: Changing,
}

/// The items that come and go.
#[derive(Deserialize)]
pub struct Changing {
    pub tool: Tool,
    pub prompt: Prompt,
}

/// Something of which subscribers hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Tools,
    Prompts,
    Resource,
}

/// Shared by all sessions.
pub struct Shared {
    pub catalogue: Catalogue,
    pub changes: broadcast::Sender<Change>,
    pub tasks: TaskManager,
    /// Calls that were cancelled.
    pub cancelled: AtomicU64,
    more_tools: AtomicBool,
    more_prompts: AtomicBool,
    /// Which round of a call a state that was handed out stands for.
    rounds: Mutex<HashMap<String, u8>>,
    next_state: AtomicU64,
}

impl Shared {
    pub fn new() -> Result<Self> {
        Ok(Self {
            catalogue: serde_json::from_str(include_str!("catalogue.json")).context("catalogue.json")?,
            changes: broadcast::channel(BACKLOG).0,
            tasks: TaskManager::new(),
            cancelled: AtomicU64::new(0),
            more_tools: AtomicBool::new(false),
            more_prompts: AtomicBool::new(false),
            rounds: Mutex::default(),
            next_state: AtomicU64::new(1),
        })
    }

    /// The tools as they are now.
    pub fn tools(&self) -> Vec<Tool> {
        let more = self.more_tools.load(Ordering::Relaxed);
        let more = more.then(|| self.catalogue.changing.tool.clone());
        self.catalogue.tools.iter().cloned().chain(more).collect()
    }

    /// The prompts as they are now.
    pub fn prompts(&self) -> Vec<Prompt> {
        let more = self.more_prompts.load(Ordering::Relaxed);
        let more = more.then(|| self.catalogue.changing.prompt.clone());
        self.catalogue.prompts.iter().cloned().chain(more).collect()
    }

    /// Makes a change, and tells of it.
    pub fn change(&self, change: Change) {
        match change {
            Change::Tools => drop(self.more_tools.fetch_not(Ordering::Relaxed)),
            Change::Prompts => drop(self.more_prompts.fetch_not(Ordering::Relaxed)),
            Change::Resource => {}
        }
        // Nobody may listen.
        let _ = self.changes.send(change);
    }

    /// A state for a client to bring back, that stands for `round`. It has every kind of character that JSON and
    /// HTTP treat in a way of their own: whoever does not bring it back byte for byte is found out.
    pub fn hand_out(&self, round: u8) -> String {
        let number = self.next_state.fetch_add(1, Ordering::Relaxed);
        let state = format!("{number}.größe/+=\"\\\u{2028}\t</script>%2F\u{1f600}");
        self.rounds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(state.clone(), round);
        state
    }

    /// The round that a state stands for; `None` for one that was not handed out, or was brought back before.
    pub fn bring_back(&self, state: &str) -> Option<u8> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner).remove(state)
    }
}
