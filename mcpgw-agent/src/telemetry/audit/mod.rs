//! The audit log: one JSON line per decision. A thread of its own writes it, so that a slow sink delays no
//! call; what it cannot keep up with is counted, or makes new requests wait, never lost in silence.
//!
//! ```text
//! line    what a line says
//! queue   the lines that wait, and what becomes of those for which there is no room
//! writer  the thread that writes them
//! sink    where they go: standard output or a file that is rotated
//! ```
//!
//! A crash costs at most the lines of the last [`FLUSH_INTERVAL`].

mod line;
mod queue;
mod sink;
mod writer;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

use serde::{Deserialize, Serialize};

pub use line::{Refusal, Who};
pub(super) use line::{ToolCall, bounded, bounded_id};
pub use queue::ROOM_TIMEOUT;
pub use writer::{FLUSH_INTERVAL, FLUSH_TIMEOUT};

use line::Event;
use queue::Queue;
use sink::{Rotated, Rotation, Sink, Stdout};
use writer::Writer;

use crate::resources::{AuditSettings, OnFull};

/// Where the audit log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditSink {
    /// Standard output.
    Stdout,
    /// A file, appended to; made with mode 0600.
    File(PathBuf),
}

/// How the audit log does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHealth {
    /// Lines that wait to be written.
    pub waiting: usize,
    /// Lines that could not be written since the agent started.
    pub lost: u64,
    /// Why the last write failed; `None` if it did not.
    pub error: Option<String>,
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

/// The audit log.
pub(super) struct Audit {
    queue: Queue,
    writer: Writer,
    rotation: Arc<Rotation>,
}

impl Audit {
    pub(super) fn start(node: &str, sink: &AuditSink) -> Result<Self, AuditError> {
        let rotation = Arc::<Rotation>::default();
        let sink: Box<dyn Sink> = match sink {
            AuditSink::Stdout => Box::new(Stdout),
            AuditSink::File(path) => {
                let opened = Rotated::open(path.clone(), Arc::clone(&rotation));
                Box::new(opened.map_err(|source| AuditError::Open {
                    path: path.clone(),
                    source,
                })?)
            }
        };
        Self::over(node, sink, rotation)
    }

    fn over(node: &str, sink: Box<dyn Sink>, rotation: Arc<Rotation>) -> Result<Self, AuditError> {
        let (queue, lines, state) = Queue::new();
        Ok(Self {
            queue,
            writer: Writer::start(node.to_owned(), sink, lines, state)?,
            rotation,
        })
    }

    /// Puts settings in force.
    pub(super) fn set(&self, settings: &AuditSettings) {
        self.rotation.set(settings.max_size, settings.keep);
        self.queue.set_blocks(settings.on_full == OnFull::Block);
    }

    pub(super) fn tool_call(&self, call: ToolCall) {
        self.queue.push(Box::new(Event::ToolCall(call)));
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.queue.push(Box::new(Event::Refused(refusal)));
    }

    /// Waits until a request may begin; `false` if the log stays full.
    pub(super) async fn room(&self) -> bool {
        self.queue.room().await
    }

    /// Lines that could not be written.
    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        self.queue.lost()
    }

    pub(super) fn health(&self) -> AuditHealth {
        self.queue.health()
    }

    /// Writes what is queued and ends; `false` if that was not done in time.
    pub(super) fn shutdown(&self) -> bool {
        self.queue.close();
        self.writer.wait()
    }
}

#[cfg(test)]
mod tests;
