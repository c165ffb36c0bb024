//! Puts other bytes in a few places of a body, and leaves all else as it is.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::part::Members;

/// A body with changes to be made.
#[derive(Debug)]
pub struct Splice<'a> {
    body: &'a Bytes,
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    range: Range<usize>,
    with: Vec<u8>,
    /// Set where it gives members to an object that had none.
    into_empty: bool,
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
        self.edits.push(Edit {
            range,
            with: with.into(),
            into_empty: false,
        });
    }

    /// Puts `text` before position `at`.
    pub fn insert(&mut self, at: usize, text: impl Into<Vec<u8>>) {
        self.replace(at..at, text);
    }

    /// Gives an object of the body a member that it does not have; `json` is its value. An object can be given
    /// several.
    pub fn insert_member(&mut self, into: Members, key: &str, json: impl AsRef<[u8]>) {
        let mut member = json_string(key);
        member.push(b':');
        member.extend_from_slice(json.as_ref());
        let range = into.at..into.at;
        match self
            .edits
            .iter_mut()
            .find(|edit| edit.into_empty && edit.range == range)
        {
            Some(edit) => {
                edit.with.push(b',');
                edit.with.append(&mut member);
            }
            None => {
                if !into.empty {
                    member.push(b',');
                }
                self.edits.push(Edit {
                    range,
                    with: member,
                    into_empty: into.empty,
                });
            }
        }
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
        // Stable: what is inserted in one place stays in order, and before what is replaced there.
        self.edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        let mut end = 0;
        let mut size = self.body.len();
        for Edit { range, with, .. } in &self.edits {
            assert!(
                end <= range.start && range.start <= range.end && range.end <= self.body.len(),
                "changes of a body overlap or are not in it"
            );
            end = range.end;
            size = size - range.len() + with.len();
        }
        let mut spliced = BytesMut::with_capacity(size);
        let mut at = 0;
        for Edit { range, with, .. } in &self.edits {
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

#[cfg(test)]
#[path = "splice_tests.rs"]
mod tests;
