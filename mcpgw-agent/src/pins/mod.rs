//! Tool definitions that were approved, and what servers show now. A server that changes what a tool says it does,
//! after people have come to trust it, changes what models do with it.
//!
//! ```text
//! server  one server: what was approved, what is seen, and what follows; pure
//! file    what was approved, on disk: read with suspicion, written in one step
//! table   all servers at one moment
//! status  the answers for the operator
//! limits  every bound, by name
//! ```
//!
//! The first list of a server that was never seen is trusted, and kept (trust on first use). From then on a tool whose
//! definition is another, and a tool that is new, wait for an operator: see [`Pin`] for what that means. Where nothing
//! can be known, because a file cannot be read, a tool is not listed, or the server was not asked yet, nothing is
//! approved.

mod file;
mod limits;
mod server;
mod status;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use arc_swap::ArcSwap;

pub use file::FileError;
pub use server::{Approval, By, ToolState};
pub use status::{Approve, PinCount, Pinned, PinnedTool, Shown};
pub use table::Table;

use crate::{
    mcp::definition::{Definition, Digest},
    resources::{ObjectName, Pin, Server},
    telemetry::{DefinitionChange, Telemetry},
};
use server::ServerPins;

/// The rule that is named where a tool is not what was approved of it.
pub const RULE: &str = "pin";

/// Where approvals are, of a node whose settings name no directory.
pub fn directory(settings: Option<&Path>, state: &Path) -> PathBuf {
    settings.map_or_else(|| state.join("pins"), Path::to_owned)
}

/// Why something was not approved.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// The server is not pinned.
    #[error("there is no pinned server {0}: give its MCPServer `pin: Warn` or `pin: Enforce`")]
    NoServer(String),
    /// The file of its approvals cannot be used.
    #[error("nothing of {server} can be approved: {reason}")]
    Trouble {
        /// The server.
        server: ObjectName,
        /// Why.
        reason: String,
    },
    /// The tool is not offered, or its definition cannot be read.
    #[error("{server} offers no tool {tool:?} that could be approved")]
    NoTool {
        /// The server.
        server: ObjectName,
        /// The tool.
        tool: String,
    },
    /// It is another than the one that was shown.
    #[error("the definition of {tool:?} has changed since it was shown: it is {now} now; look at it again")]
    Changed {
        /// The tool.
        tool: String,
        /// Its digest now.
        now: Digest,
    },
    /// The file would be too large.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What was approved of each pinned server, and what each shows. Read without a lock; changes come one by one.
pub struct Pins {
    directory: PathBuf,
    telemetry: Arc<Telemetry>,
    table: ArcSwap<Table>,
    changing: Mutex<()>,
}

impl Pins {
    /// Nothing yet. Approvals are in `directory`, which is made when the first is kept.
    pub fn new(directory: PathBuf, telemetry: Arc<Telemetry>) -> Arc<Self> {
        Arc::new(Self {
            directory,
            telemetry,
            table: ArcSwap::default(),
            changing: Mutex::default(),
        })
    }

    /// Pins these servers as they want it, and no others; reads what was approved of those that were not pinned
    /// before. To be called before the plan that goes by it is in force; calls by the plan before find what they go by
    /// until the next change. Blocks.
    pub fn put_in_force(&self, servers: &[Arc<Server>]) {
        let changing = self.change();
        let table = self.table.load_full();
        let mut pinned = HashMap::new();
        for server in servers.iter().filter(|server| server.pin != Pin::Off) {
            let pins = match table.server(&server.name) {
                Some(known) => known.with_pin(server.pin),
                None => self.read(&server.name, server.pin),
            };
            pinned.insert(server.name.clone(), Arc::new(pins));
        }
        let mut before = table.servers.clone();
        before.retain(|name, _| !pinned.contains_key(name));
        let next = Table {
            generation: table.generation + 1,
            servers: pinned,
            before,
        };
        self.replace(&changing, next);
    }

    fn read(&self, server: &ObjectName, pin: Pin) -> ServerPins {
        match file::read(&self.directory, server) {
            Ok(approved) => ServerPins::new(pin, approved),
            Err(error) => {
                tracing::error!(%server, %error, "what was approved of a server is not known: nothing of it is");
                ServerPins::in_trouble(pin, error.to_string())
            }
        }
    }

    /// All servers as they are now. Load it after the catalogues that it is compared with, never before: it is
    /// told of a catalogue first.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Whether the definition of a tool, as it was last seen, is the approved one.
    pub fn approves(&self, server: &ObjectName, tool: &str) -> bool {
        self.table.load().approves(server, tool)
    }

    /// Whether a server is pinned, so that [`saw`](Self::saw) wants to know what it offers.
    pub fn wants(&self, server: &ObjectName) -> bool {
        self.table.load().server(server).is_some()
    }

    /// Takes note of the tools that a server offers, by name and as they were written, before anybody else sees them.
    /// What it shows first is trusted and kept. Blocks.
    pub fn saw<'t>(&self, server: &ObjectName, tools: impl Iterator<Item = (&'t Arc<str>, &'t [u8])>) {
        let shown: Vec<_> = tools
            .take(limits::MAX_TOOLS)
            .map(|(tool, json)| (Arc::clone(tool), Definition::of_tool(json).ok()))
            .collect();
        let changing = self.change();
        let table = self.table.load_full();
        let Some(known) = table.server(server) else { return };
        let now = SystemTime::now();
        let mut pins = known.clone();
        let mut changes = pins.saw(shown, now);
        if let Some(first) = pins.first_use(now) {
            match file::write(&self.directory, server, &first) {
                Ok(()) => {
                    tracing::info!(%server, tools = first.len(), "its tools were pinned as they were first seen");
                    changes = pins.approved(first);
                }
                Err(error) => {
                    tracing::error!(%server, %error, "what a server shows first cannot be kept, and is not trusted");
                    pins.trouble(error.to_string());
                }
            }
        }
        self.tell(server, &pins, &changes);
        self.replace(&changing, table.with(server, pins));
    }

    /// Approves definitions, each known by its digest: all of them, or none if one is no longer what the server
    /// shows. Returns the server's name. Blocks.
    pub fn approve(&self, Approve { server, tools }: &Approve) -> Result<ObjectName, ApproveError> {
        let changing = self.change();
        let table = self.table.load_full();
        let name = ObjectName::parse(server);
        let known = name.and_then(|name| Some((table.server(&name)?, name.clone())));
        let (known, name) = known.ok_or_else(|| ApproveError::NoServer(server.clone()))?;
        let approved = known.approving(&name, tools, SystemTime::now())?;
        file::write(&self.directory, &name, &approved)?;
        let mut pins = known.clone();
        let changes = pins.approved(approved);
        self.tell(&name, &pins, &changes);
        self.replace(&changing, table.with(&name, pins));
        Ok(name)
    }

    /// Logs and audits what changed.
    fn tell(&self, server: &ObjectName, pins: &ServerPins, changes: &[server::Change]) {
        let waiting = changes.iter().filter(|change| change.state != ToolState::Approved);
        if let Some(first) = waiting.clone().next() {
            let tool = &*first.tool;
            let count = waiting.count();
            tracing::warn!(%server, pin = pins.pin().as_str(), count, ?tool, "definitions of tools are not approved");
        }
        for change in changes.iter().take(limits::MAX_TOLD) {
            self.telemetry.definition(DefinitionChange {
                time: SystemTime::now(),
                server: server.clone(),
                tool: change.tool.to_string(),
                state: change.state.as_str(),
                by: change.by.map(By::as_str),
                pin: pins.pin().as_str(),
                digest: change.seen.map(|digest| digest.to_string()),
                approved: change.approved.map(|digest| digest.to_string()),
            });
        }
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever has the lock replaces the table.
    fn replace(&self, _: &MutexGuard<'_, ()>, table: Table) {
        self.table.store(Arc::new(table));
    }
}
