//! Whose answers a server may send where: a client takes what comes for the answer of the request that it names, whoever
//! was asked.

use bytes::Bytes;

use super::rewrite::{Rewrite, Rewritten};
use crate::mcp::{
    Kind,
    message::{Id, Peek},
};

/// The answers that a server may send on one of its ways to a client.
pub(super) enum Carries {
    /// All of a session: there is no other way.
    All,
    /// Any of a session, beside others.
    Any,
    /// That of one request alone.
    One(Id),
    /// None.
    None,
}

impl Carries {
    /// That of this request; none where it has no id.
    pub(super) fn one(id: Option<Id>) -> Self {
        id.map_or(Self::None, Self::One)
    }

    /// Whether this message may come there, which is an answer.
    pub(super) fn may_bring(&self, answer: &Peek<'_>) -> bool {
        match self {
            Self::All | Self::Any => true,
            Self::One(id) => answer.answers(Some(id)),
            Self::None => false,
        }
    }
}

impl Rewrite for Carries {
    /// Of all answers those alone pass, and all that is no answer.
    fn message(&mut self, message: &Bytes) -> Rewritten {
        // An event that is empty only names its place in the stream.
        if message.is_empty() {
            return Rewritten::Keep;
        }
        match Peek::new(message) {
            Ok(said) if said.kind != Kind::Response || self.may_bring(&said) => Rewritten::Keep,
            // What can be read in two ways could be read as an answer by somebody.
            Ok(_) | Err(_) => Rewritten::Drop,
        }
    }
}
