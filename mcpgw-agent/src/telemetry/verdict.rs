//! What is said of a call: how it came, what was decided about it and by whom, and what became of it.

use std::fmt;

use serde::Serialize;

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server answered with a result.
    Ok,
    /// The server answered with a result that says `isError`.
    ToolError,
    /// The server answered with an error, badly, or not at all.
    Error,
    /// A policy denied it.
    Denied,
    /// It was over a limit.
    Limited,
    /// The client went away before the answer was complete.
    Cancelled,
}

impl Outcome {
    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::Error => "error",
            Self::Denied => "denied",
            Self::Limited => "limited",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How a call came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// It dialled a server's own address.
    Redirected,
    /// It dialled the gateway.
    Gateway,
}

impl Path {
    /// The label in metrics, and the word in the audit log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redirected => "redirected",
            Self::Gateway => "gateway",
        }
    }
}

/// What was decided about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go to the server.
    Allow,
    /// It may not.
    Deny,
    /// It may not now: it is over a limit.
    Limit,
    /// It may not, and goes all the same: its caller is only observed, or the policy only tried.
    WouldDeny,
    /// Its client did not wait for the decision. It reached no server.
    Undecided,
}

impl Verdict {
    /// The label in metrics, and the word in the audit log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Limit => "limit",
            Self::WouldDeny => "would_deny",
            Self::Undecided => "undecided",
        }
    }
}

/// A service outside that had the last word on a call, or should have had it, by its field in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedBy {
    pub(super) engine: &'static str,
    /// Why it said nothing, where it did not: the call was refused, or went on without its word.
    pub(super) error: Option<Box<str>>,
}

impl DecidedBy {
    /// What counts for the whole cluster.
    pub const RATE_LIMIT_SERVICE: Self = Self {
        engine: "rateLimitService",
        error: None,
    };

    /// What decides about what the rules allow.
    pub const EXT_AUTHZ: Self = Self {
        engine: "extAuthz",
        error: None,
    };

    /// It said nothing, for this reason.
    pub fn failing(self, error: &dyn fmt::Display) -> Self {
        Self {
            error: Some(error.to_string().into()),
            ..self
        }
    }
}
