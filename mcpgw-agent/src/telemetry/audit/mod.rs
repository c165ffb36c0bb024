//! The audit log: one JSON line per decision. A thread of its own writes it, so that a slow sink delays no
//! call; what it cannot keep up with is counted, or makes new requests wait, never lost in silence: a line
//! (`lines_lost`) says how many others are missing before it.
//!
//! ```text
//! line      what a line says
//! definition  … about a tool's definition
//! event_name  … and what it is called
//! kernel    … about what the kernel refused
//! escape    … in JSON that may be read on a terminal
//! payload   what of a call's arguments it may say
//! queue     the lines that wait, and what becomes of those for which there is no room
//! writer    the thread that writes them
//! sink      where they go: standard output or a file that is rotated
//! place     … which of them, while settings change
//! exported  … and an OpenTelemetry collector, where settings ask for it
//! ```
//!
//! A crash costs at most the lines of the last [`FLUSH_INTERVAL`].

mod definition;
mod escape;
mod event_name;
mod exported;
mod kernel;
mod line;
mod payload;
mod place;
mod queue;
mod sink;
mod writer;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::{Instant, SystemTime},
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

pub use definition::DefinitionChange;
pub use line::{Refusal, Who};
pub(super) use line::{ToolCall, bounded, bounded_id};
pub use payload::{Omitted, Payload};
pub use queue::ROOM_TIMEOUT;
#[cfg(test)]
pub(crate) use queue::{FREE, OWN};
pub use writer::{FLUSH_INTERVAL, FLUSH_TIMEOUT};

use exported::{Exported, Nowhere};
use kernel::Kernel;
use line::Event;
use place::{Followed, Wanted};
use queue::Queue;
use sink::{Rotation, Sink};
use writer::Writer;

use super::otlp::ExportSettings;
use crate::{
    datapath::KernelRefusals,
    identity::Caller,
    resources::{AuditSettings, AuditSink, OnFull},
    shares::Payer,
};

/// How the audit log does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHealth {
    /// Lines that wait to be written.
    pub waiting: usize,
    /// Lines that could not be written since the agent started.
    pub lost: u64,
    /// Why the last write failed, or why lines are not written where settings want them; `None` if all is well.
    pub error: Option<String>,
}

/// How the line of a request is kept: as the settings say that it was decided by, whatever they say when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    exported: bool,
    on_full: OnFull,
}

impl Keeping {
    /// As these settings say.
    pub fn by(settings: &AuditSettings) -> Self {
        Self {
            exported: settings.exported,
            on_full: settings.on_full,
        }
    }

    fn blocks(self) -> bool {
        self.on_full == OnFull::Block
    }
}

/// Why the audit log cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file.
    #[error("cannot open the audit log {}: {source}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The writer's thread.
    #[error("cannot start the thread of the audit log: {0}")]
    Thread(#[source] io::Error),
}

/// The audit log. A collector has a queue and a thread of its own, so that one that is down takes nothing from the
/// lines that are written here.
pub(super) struct Audit {
    node: String,
    local: Outlet,
    /// Where that writes.
    wanted: Arc<Wanted>,
    /// … where settings name no place.
    told: AuditSink,
    /// Begun when settings ask for it first.
    exported: OnceLock<Outlet>,
    /// What settings ask for now.
    now: ArcSwap<Keeping>,
    /// The collector, where the environment names one.
    collector: Option<ExportSettings>,
    rotation: Arc<Rotation>,
}

/// One of the places that lines go to.
struct Outlet {
    queue: Queue,
    writer: Writer,
}

impl Outlet {
    fn start(node: &str, place: &'static str, sink: Box<dyn Sink>, lost: Arc<AtomicU64>) -> Result<Self, AuditError> {
        let (queue, lines, state) = Queue::new(lost);
        Ok(Self {
            queue,
            writer: Writer::start(node.to_owned(), place, sink, lines, state)?,
        })
    }
}

impl Audit {
    pub(super) fn start(node: &str, sink: &AuditSink, collector: Option<ExportSettings>) -> Result<Self, AuditError> {
        let rotation = Arc::<Rotation>::default();
        let opened = place::open(sink, &rotation)?;
        Ok(Self {
            collector,
            ..Self::over(node, sink.clone(), opened, rotation)?
        })
    }

    /// Begins with what writes where it was told to.
    fn over(node: &str, told: AuditSink, sink: Box<dyn Sink>, rotation: Arc<Rotation>) -> Result<Self, AuditError> {
        let wanted = Wanted::new(told.clone());
        let sink = Box::new(Followed::new(Arc::clone(&wanted), sink, Arc::clone(&rotation)));
        Ok(Self {
            node: node.to_owned(),
            local: Outlet::start(node, "local", sink, Arc::default())?,
            wanted,
            told,
            exported: OnceLock::new(),
            now: ArcSwap::default(),
            collector: None,
            rotation,
        })
    }

    /// Puts settings in force.
    pub(super) fn set(&self, settings: &AuditSettings) {
        self.rotation.set(settings.max_size, settings.keep);
        self.wanted
            .set(settings.sink.clone().unwrap_or_else(|| self.told.clone()));
        self.local.queue.look();
        if settings.exported && self.exported.get().is_none() {
            match self.begin_export() {
                // Set by nobody else meanwhile: settings are put in force one after the other.
                Ok(outlet) => drop(self.exported.set(outlet)),
                Err(error) => tracing::error!(%error, "audit lines cannot be exported"),
            }
        }
        let now = Keeping::by(settings);
        self.now.store(Arc::new(now));
        let blocks = now.blocks();
        self.local.queue.set_blocks(blocks);
        if let Some(exported) = self.exported.get() {
            exported.queue.set_blocks(blocks && settings.exported);
        }
    }

    fn begin_export(&self) -> Result<Outlet, AuditError> {
        let sink: Box<dyn Sink> = match &self.collector {
            Some(collector) => match Exported::start(&self.node, collector) {
                Ok(exported) => Box::new(exported),
                Err(error) => Box::new(Nowhere(error.to_string())),
            },
            None => Box::new(Nowhere::no_collector()),
        };
        Outlet::start(&self.node, "collector", sink, self.lost())
    }

    /// Where lines are exported to, if they are.
    fn exporting(&self) -> Option<&Outlet> {
        self.exported.get().filter(|_| self.now.load().exported)
    }

    pub(super) fn tool_call(&self, call: ToolCall, keeping: Keeping) {
        self.push_as(Event::ToolCall(call), keeping);
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.push(Event::Refused(refusal));
    }

    pub(super) fn stream_ended(&self, ended: Refusal) {
        self.push(Event::StreamEnded(ended));
    }

    pub(super) fn definition(&self, change: DefinitionChange) {
        self.push(Event::Definition(change));
    }

    pub(super) fn kernel(&self, refusals: KernelRefusals) {
        self.push(Event::Kernel(Kernel {
            time: SystemTime::now(),
            refusals,
        }));
    }

    fn push(&self, event: Event) {
        self.push_as(event, **self.now.load());
    }

    fn push_as(&self, event: Event, keeping: Keeping) {
        let event = Arc::new(event);
        if let Some(exported) = self.exported.get().filter(|_| keeping.exported) {
            exported.queue.push(Arc::clone(&event), keeping.blocks());
        }
        self.local.queue.push(event, keeping.blocks());
    }

    /// Waits until a request of this caller may begin; `false` if the log stays full, or the caller's part of it.
    pub(super) async fn room(&self, caller: &Caller) -> bool {
        self.room_of(|| Payer::of(caller)).await
    }

    /// The same, of a caller whose part is not known yet; `false` if the log stays full.
    pub(super) async fn room_at_all(&self) -> bool {
        self.room_of(|| Payer::Agent).await
    }

    async fn room_of(&self, payer: impl Fn() -> Payer + Copy) -> bool {
        let Some(exported) = self.exporting() else {
            return self.local.queue.room(payer).await;
        };
        let (here, there) = tokio::join!(self.local.queue.room(payer), exported.queue.room(payer));
        here && there
    }

    /// Lines that could not be written.
    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        self.local.queue.lost()
    }

    pub(super) fn health(&self) -> AuditHealth {
        let mut here = self.local.queue.health();
        here.error = here.error.or_else(|| self.wanted.problem());
        let Some(exported) = self.exporting() else { return here };
        let there = exported.queue.health();
        AuditHealth {
            waiting: here.waiting + there.waiting,
            error: here.error.or(there.error),
            // Of both.
            lost: here.lost,
        }
    }

    /// Writes what is queued and ends; `false` if that was not done in time.
    pub(super) fn shutdown(&self) -> bool {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let outlets = || std::iter::once(&self.local).chain(self.exported.get());
        outlets().for_each(|outlet| outlet.queue.close());
        let mut done = true;
        for outlet in outlets() {
            done &= outlet.writer.wait(deadline);
        }
        done
    }
}

#[cfg(test)]
mod tests;
