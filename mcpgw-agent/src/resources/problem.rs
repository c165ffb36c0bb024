//! What is wrong with the resources, and where.

use std::{fmt, sync::Arc};

use super::bounds::{MAX_PROBLEMS, MAX_QUOTED};

/// A place in a file. Lines and columns count from 1; 0 is "the file as a whole".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub line: u64,
    pub column: u64,
}

/// One thing that is wrong. Shown as
/// `servers.yaml:12:5: MCPServer tools/calculator: spec.backend.addresses[0]: "10.0.0.5" has no port; …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: Arc<str>,
    /// Line, from 1; 0 when the problem is about the file as a whole.
    pub line: u64,
    /// Column in characters, from 1; 0 when the problem is about the file as a whole.
    pub column: u64,
    /// Kind and name of the resource, where they are known.
    pub object: String,
    /// Path of the field, for example `spec.rules[0].tools[1]`; empty when it is about no single field.
    pub field: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        for part in [&self.object, &self.field, &self.reason] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        Ok(())
    }
}

/// Everything that is wrong with a set of resources, ordered by file and place. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.lines().join("\n"))]
pub struct Problems {
    list: Vec<Problem>,
    more: usize,
}

impl Problems {
    /// Orders the problems, and keeps as many as anyone reads.
    pub fn new(mut list: Vec<Problem>) -> Self {
        list.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        let more = list.len().saturating_sub(MAX_PROBLEMS);
        list.truncate(MAX_PROBLEMS);
        Self { list, more }
    }

    /// The problems that were kept.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// One line for each problem, and one that counts the rest.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.list.iter().map(Problem::to_string).collect();
        if self.more > 0 {
            lines.push(format!("and {} more", self.more));
        }
        lines
    }
}

/// User text as a message repeats it: quoted, escaped, and cut where it is long.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
