//! What one request wants to listen to, and what came of it, for the audit log: of the first of these each has a line of
//! its own, and lines that stand for many name the rest.

use super::limits::MAX_LISTENED_ON_RECORD;
use crate::telemetry::{Beyond, Record};

/// What came of all that one request wants to listen to.
#[derive(Default)]
pub(super) struct Listened {
    granted: usize,
    refused: usize,
    lines: usize,
    rest: Beyond,
}

impl Listened {
    /// Whether the next one gets a line of its own.
    pub(super) fn has_line(&self) -> bool {
        self.lines < MAX_LISTENED_ON_RECORD
    }

    /// Notes that the client may hear of this, or not, and whether that has a line of its own.
    pub(super) fn note(&mut self, name: &str, granted: bool, has_line: bool) {
        match granted {
            true => self.granted += 1,
            false => self.refused += 1,
        }
        match has_line {
            true => self.lines += 1,
            false => self.rest.name(name, granted),
        }
    }

    /// Notes that after all the client hears of none of what it may hear of.
    pub(super) fn refuse_all(&mut self) {
        self.refused += std::mem::take(&mut self.granted);
        self.rest.refuse_all();
    }

    /// The record of the request itself names what has no line of its own; it is not made where there is nothing such.
    pub(super) fn record(self, make: impl FnOnce() -> Record) -> Option<Record> {
        if self.rest.is_empty() {
            return None;
        }
        let mut record = make();
        record.lists().add(self.granted, self.refused);
        record.beyond(self.rest);
        Some(record)
    }
}
