//! What one request wants to listen to, and what came of it, for the audit log: of the first of these each has a line of
//! its own, and lines that stand for many name the rest.

use super::limits::MAX_LISTENED_ON_RECORD;
use crate::telemetry::{Beyond, Record};

/// What came of all that one request wants to listen to. Dropped before all is decided, because the client has left, it
/// tells what was.
pub(super) struct Listened<'r> {
    granted: usize,
    refused: usize,
    lines: usize,
    rest: Beyond,
    /// Makes the record of the request itself.
    make: Option<Box<dyn FnOnce() -> Record + Send + 'r>>,
}

impl<'r> Listened<'r> {
    /// Nothing yet; `make` makes the record of the request itself, if there has to be one.
    pub(super) fn new(make: impl FnOnce() -> Record + Send + 'r) -> Self {
        Self {
            granted: 0,
            refused: 0,
            lines: 0,
            rest: Beyond::default(),
            make: Some(Box::new(make)),
        }
    }

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
    pub(super) fn record(mut self) -> Option<Record> {
        self.made()
    }

    fn made(&mut self) -> Option<Record> {
        let make = self.make.take().filter(|_| !self.rest.is_empty())?;
        let mut record = make();
        record.lists().add(self.granted, self.refused);
        record.beyond(std::mem::take(&mut self.rest));
        Some(record)
    }
}

impl Drop for Listened<'_> {
    fn drop(&mut self) {
        drop(self.made());
    }
}
