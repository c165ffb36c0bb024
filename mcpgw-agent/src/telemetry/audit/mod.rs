//! The audit log: one JSON line per decision. A thread of its own writes it, so that a slow sink delays no
//! call; what it cannot keep up with is counted, never lost in silence.

mod line;
mod writer;

use std::sync::{Arc, atomic::AtomicU64};

pub use line::{Refusal, Who};
pub(super) use line::{ToolCall, bounded, bounded_id};
pub use writer::{AuditError, AuditSink, FLUSH_TIMEOUT};

use line::Event;
use writer::Writer;

/// The audit log.
pub(super) struct Audit {
    writer: Writer,
}

impl Audit {
    pub(super) fn start(node: &str, sink: &AuditSink) -> Result<Self, AuditError> {
        Ok(Self {
            writer: Writer::start(node, sink)?,
        })
    }

    pub(super) fn tool_call(&self, call: ToolCall) {
        self.writer.write(Box::new(Event::ToolCall(call)));
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.writer.write_refusal(Box::new(Event::Refused(refusal)));
    }

    /// Lines that could not be written.
    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        self.writer.lost()
    }

    pub(super) fn shutdown(&self) -> bool {
        self.writer.shutdown()
    }
}
