//! Puts other bytes in a few places of a body, and leaves all else as it is.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

/// A body with changes to be made.
#[derive(Debug)]
pub struct Splice<'a> {
    body: &'a Bytes,
    edits: Vec<(Range<usize>, Vec<u8>)>,
}

impl<'a> Splice<'a> {
    /// No change yet.
    pub fn new(body: &'a Bytes) -> Self {
        Self {
            body,
            edits: Vec::new(),
        }
    }

    /// Puts `with` in place of `range`.
    ///
    /// # Panics
    ///
    /// In [`Splice::finish`], if the range is not in the body, or overlaps with another one.
    pub fn replace(&mut self, range: Range<usize>, with: impl Into<Vec<u8>>) {
        self.edits.push((range, with.into()));
    }

    /// Puts `text` before position `at`.
    pub fn insert(&mut self, at: usize, text: impl Into<Vec<u8>>) {
        self.replace(at..at, text);
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The body with all changes: in one piece of memory of just its size.
    pub fn finish(mut self) -> Bytes {
        if self.edits.is_empty() {
            return self.body.clone();
        }
        // Stable: what is inserted in one place stays in order.
        self.edits.sort_by_key(|(range, _)| range.start);
        let grown: usize = self.edits.iter().map(|(_, with)| with.len()).sum();
        let gone: usize = self.edits.iter().map(|(range, _)| range.len()).sum();
        let mut spliced = BytesMut::with_capacity(self.body.len() + grown - gone);
        let mut at = 0;
        for (range, with) in &self.edits {
            spliced.put_slice(&self.body[at..range.start]);
            spliced.put_slice(with);
            at = range.end;
        }
        spliced.put_slice(&self.body[at..]);
        spliced.freeze()
    }
}

/// A string as JSON.
pub fn json_string(text: &str) -> Vec<u8> {
    // A string always serialises.
    serde_json::to_vec(text).unwrap_or_default()
}
