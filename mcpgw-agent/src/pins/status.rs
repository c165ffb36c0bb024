//! The answers for the operator.

use serde::{Deserialize, Serialize};

use super::ToolState;
use crate::mcp::definition::Digest;

/// How many tools of a pinned server are in which state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinCount {
    /// The server, as `namespace/name`.
    pub server: String,
    /// `Warn` or `Enforce`.
    pub pin: String,
    /// Approved as they are.
    pub approved: usize,
    /// Another definition than the approved one.
    pub drifted: usize,
    /// Never approved.
    pub new: usize,
    /// Approved, and not offered now.
    pub absent: usize,
    /// Why nothing of the server is approved, where that is so.
    pub trouble: Option<String>,
}

/// A pinned server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// The server, as `namespace/name`.
    pub server: String,
    /// `Warn` or `Enforce`.
    pub pin: String,
    /// Why nothing of the server is approved, where that is so.
    pub trouble: Option<String>,
    /// Its tools by name.
    pub tools: Vec<PinnedTool>,
}

/// A tool of a pinned server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedTool {
    /// The server's own name for it.
    pub tool: String,
    /// What it is.
    pub state: ToolState,
    /// Since when, in seconds of Unix time: when it was approved; else when the agent noticed.
    pub since: u64,
    /// What was approved.
    pub approved: Option<Shown>,
    /// Who approved it: `operator`, or `first_use`.
    pub by: Option<String>,
    /// What the server shows now; `None` also where that cannot be read in one way only, or is too large.
    pub seen: Option<Shown>,
}

/// What an operator approves: definitions as they were shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approve {
    /// The server, as `namespace/name`.
    pub server: String,
    /// Its tools, each with the digest of the definition that was shown.
    pub tools: Vec<(String, Digest)>,
}

/// A definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its digest.
    pub digest: Digest,
    /// Its canonical JSON, where it was asked for.
    pub definition: Option<String>,
}
