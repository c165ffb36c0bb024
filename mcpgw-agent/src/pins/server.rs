//! One server: what was approved, what is seen, and what follows. Pure.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{
    ApproveError, FileError, PinCount, Pinned, PinnedTool, Shown,
    limits::{MAX_BYTES, MAX_TOOLS},
};
use crate::{
    mcp::definition::{Definition, Digest},
    resources::{ObjectName, Pin},
};

/// Approvals by the names of tools.
pub(super) type Approvals = BTreeMap<Arc<str>, Approval>;

/// What was approved of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The definition.
    pub definition: Definition,
    /// When, to the second.
    pub at: SystemTime,
    /// By whom.
    pub by: By,
}

/// Who approved a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Nobody: the server had it when it was first seen.
    FirstUse,
    /// An operator.
    Operator,
}

impl By {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstUse => "first_use",
            Self::Operator => "operator",
        }
    }
}

/// What a tool of a pinned server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolState {
    /// It is what was approved.
    Approved,
    /// It is another than was approved.
    Drifted,
    /// It was never approved.
    New,
    /// It was approved, and is not offered now.
    Absent,
}

impl ToolState {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Drifted => "drifted",
            Self::New => "new",
            Self::Absent => "absent",
        }
    }
}

/// What a server shows of a tool.
#[derive(Clone, Debug)]
struct Seen {
    /// `None` where it cannot be compared.
    definition: Option<Definition>,
    since: SystemTime,
}

impl Seen {
    fn digest(&self) -> Option<Digest> {
        self.definition.as_ref().map(Definition::digest)
    }
}

/// A tool that has become something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) tool: Arc<str>,
    pub(super) state: ToolState,
    /// Who approved it, where it was.
    pub(super) by: Option<By>,
    pub(super) seen: Option<Digest>,
    pub(super) approved: Option<Digest>,
}

/// A pinned server.
#[derive(Clone, Debug)]
pub(super) struct ServerPins {
    pin: Pin,
    /// `None`: nothing was ever kept of it.
    approved: Option<Approvals>,
    seen: BTreeMap<Arc<str>, Seen>,
    /// Why nothing is approved.
    trouble: Option<String>,
    /// Whether the file can be written over: it was read, or was not there.
    readable: bool,
}

impl ServerPins {
    /// With what was approved before, if anything was ever kept.
    pub(super) fn new(pin: Pin, approved: Option<Approvals>) -> Self {
        Self {
            pin,
            approved,
            seen: BTreeMap::new(),
            trouble: None,
            readable: true,
        }
    }

    /// One of which nothing can be known: nothing is approved, and what it shows first is not trusted.
    pub(super) fn in_trouble(pin: Pin, trouble: String) -> Self {
        Self {
            trouble: Some(trouble),
            readable: false,
            ..Self::new(pin, None)
        }
    }

    pub(super) fn pin(&self) -> Pin {
        self.pin
    }

    pub(super) fn with_pin(&self, pin: Pin) -> Self {
        Self { pin, ..self.clone() }
    }

    /// Notes why nothing could be approved.
    pub(super) fn trouble(&mut self, trouble: String) {
        self.trouble = Some(trouble);
    }

    pub(super) fn approval(&self, tool: &str) -> Option<&Approval> {
        self.approved.as_ref()?.get(tool)
    }

    /// What a tool is; `None` where it was neither approved nor seen.
    pub(super) fn state(&self, tool: &str) -> Option<ToolState> {
        match (self.approval(tool), self.seen.get(tool)) {
            (None, None) => None,
            (None, Some(_)) => Some(ToolState::New),
            (Some(_), None) => Some(ToolState::Absent),
            (Some(approved), Some(seen)) => Some(match seen.digest() == Some(approved.definition.digest()) {
                true => ToolState::Approved,
                false => ToolState::Drifted,
            }),
        }
    }

    /// Takes note of what the server shows; what has become not approved by it, each definition once.
    pub(super) fn saw(
        &mut self,
        shown: impl IntoIterator<Item = (Arc<str>, Option<Definition>)>,
        now: SystemTime,
    ) -> Vec<Change> {
        let before = std::mem::take(&mut self.seen);
        let mut room = MAX_BYTES;
        let mut changed = Vec::new();
        for (tool, definition) in shown {
            let size = definition.as_ref().map_or(0, |definition| definition.json().len());
            let fits = room.checked_sub(size);
            room = fits.unwrap_or(room);
            let mut seen = Seen {
                definition: definition.filter(|_| fits.is_some()),
                since: now,
            };
            match before.get(&tool) {
                Some(earlier) if earlier.digest() == seen.digest() => seen.since = earlier.since,
                _ => changed.push(Arc::clone(&tool)),
            }
            self.seen.insert(tool, seen);
        }
        let changes = changed.into_iter().filter_map(|tool| self.change(tool));
        changes.filter(|change| change.state != ToolState::Approved).collect()
    }

    /// What to approve because the server was never seen before; `None` if it was, or shows nothing yet.
    pub(super) fn first_use(&self, now: SystemTime) -> Option<Approvals> {
        if self.approved.is_some() || !self.readable {
            return None;
        }
        let first = |(tool, seen): (&Arc<str>, &Seen)| {
            let approval = Approval {
                definition: seen.definition.clone()?,
                at: whole_seconds(now),
                by: By::FirstUse,
            };
            Some((Arc::clone(tool), approval))
        };
        let approvals: Approvals = self.seen.iter().filter_map(first).collect();
        (!approvals.is_empty()).then_some(approvals)
    }

    /// What is approved when these definitions are, beside what was.
    pub(super) fn approving(
        &self,
        server: &ObjectName,
        tools: &[(String, Digest)],
        now: SystemTime,
    ) -> Result<Approvals, ApproveError> {
        if let (Some(reason), false) = (&self.trouble, self.readable) {
            return Err(ApproveError::Trouble {
                server: server.clone(),
                reason: reason.clone(),
            });
        }
        let mut approved = self.approved.clone().unwrap_or_default();
        for (tool, shown) in tools {
            let seen = self.seen.get_key_value(&**tool);
            let seen = seen.and_then(|(name, seen)| Some((name, seen.definition.as_ref()?)));
            let (name, definition) = seen.ok_or_else(|| ApproveError::NoTool {
                server: server.clone(),
                tool: tool.clone(),
            })?;
            if definition.digest() != *shown {
                return Err(ApproveError::Changed {
                    tool: tool.clone(),
                    now: definition.digest(),
                });
            }
            let approval = Approval {
                definition: definition.clone(),
                at: whole_seconds(now),
                by: By::Operator,
            };
            approved.insert(Arc::clone(name), approval);
        }
        let size: usize = approved.values().map(|approval| approval.definition.json().len()).sum();
        if approved.len() > MAX_TOOLS || size > MAX_BYTES {
            return Err(FileError::TooMuch.into());
        }
        Ok(approved)
    }

    /// Goes by these approvals from now on; what has become approved.
    pub(super) fn approved(&mut self, approved: Approvals) -> Vec<Change> {
        let before = self.approved.take().unwrap_or_default();
        let is_other = |(tool, approval): &(&Arc<str>, &Approval)| before.get(*tool) != Some(*approval);
        let changed: Vec<_> = approved
            .iter()
            .filter(is_other)
            .map(|(tool, _)| Arc::clone(tool))
            .collect();
        self.approved = Some(approved);
        self.trouble = None;
        changed.into_iter().filter_map(|tool| self.change(tool)).collect()
    }

    fn change(&self, tool: Arc<str>) -> Option<Change> {
        let approval = self.approval(&tool);
        let state = self.state(&tool)?;
        Some(Change {
            state,
            by: approval
                .filter(|_| state == ToolState::Approved)
                .map(|approval| approval.by),
            seen: self.seen.get(&tool).and_then(Seen::digest),
            approved: approval.map(|approval| approval.definition.digest()),
            tool,
        })
    }

    fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let absent = self.approved.iter().flat_map(BTreeMap::keys);
        self.seen
            .keys()
            .chain(absent.filter(|tool| !self.seen.contains_key(*tool)))
    }

    pub(super) fn status(&self, server: &ObjectName, with_definitions: bool) -> Pinned {
        let shown = |definition: &Definition| Shown {
            digest: definition.digest(),
            definition: with_definitions.then(|| definition.json().to_owned()),
        };
        let tool = |name: &Arc<str>| {
            let (approval, seen) = (self.approval(name), self.seen.get(name));
            let state = self.state(name)?;
            let since = match (state, approval, seen) {
                (ToolState::Approved | ToolState::Absent, Some(approval), _) => approval.at,
                (_, _, seen) => seen?.since,
            };
            Some(PinnedTool {
                tool: name.to_string(),
                state,
                since: since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
                approved: approval.map(|approval| shown(&approval.definition)),
                by: approval.map(|approval| approval.by.as_str().to_owned()),
                seen: seen.and_then(|seen| seen.definition.as_ref()).map(shown),
            })
        };
        let mut tools: Vec<PinnedTool> = self.names().filter_map(tool).collect();
        tools.sort_unstable_by(|a, b| a.tool.cmp(&b.tool));
        Pinned {
            server: server.to_string(),
            pin: self.pin.as_str().to_owned(),
            trouble: self.trouble.clone(),
            tools,
        }
    }

    pub(super) fn count(&self, server: &ObjectName) -> PinCount {
        let mut count = PinCount {
            server: server.to_string(),
            pin: self.pin.as_str().to_owned(),
            trouble: self.trouble.clone(),
            ..PinCount::default()
        };
        for state in self.names().filter_map(|tool| self.state(tool)) {
            *match state {
                ToolState::Approved => &mut count.approved,
                ToolState::Drifted => &mut count.drifted,
                ToolState::New => &mut count.new,
                ToolState::Absent => &mut count.absent,
            } += 1;
        }
        count
    }
}

/// As the file has it.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + std::time::Duration::from_secs(since.as_secs())
}
