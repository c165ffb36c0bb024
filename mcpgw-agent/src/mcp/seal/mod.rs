//! What leaves the gateway and comes back, sealed: session ids, cursors, ids of requests and tasks, request states.
//! Whoever holds a token can neither read nor change it, nor use it as another caller, and no node needs a table.
//!
//! ```text
//! key     a secret key and what is derived from it
//! sealer  bytes → token and back, with the current key and the one before
//! token   what all tokens have in common: owner, age, errors
//! tokens  what each kind of token holds
//! memo    tokens that were opened before
//! ```
//!
//! A token is base64url without padding of
//!
//! ```text
//! version (1) | key id (4) | nonce (12) | ciphertext | tag (16)
//! ```
//!
//! under AES-256-GCM-SIV: random nonces are safe for more tokens than a node ever makes, and a nonce used twice by
//! accident tells no more than whether two tokens hold the same. Version, key id and [`Purpose`] are authenticated
//! with it, so that a token for one purpose is none for another.

mod key;
mod memo;
mod sealer;
mod token;
mod tokens;

pub use key::{Fingerprint, InvalidKey, KEY_BYTES, Key, KeyId};
pub use memo::Memo;
pub use sealer::{Keys, SealError, Sealer, Unsealed};
pub use token::{Owner, Token, TokenError};
pub use tokens::{
    Cursor, EventPlace, GatewaySession, ListKind, MAX_KEPT, Nonce, RedirectedSession, SESSION_AGE, ServerProgress,
    ServerRequest, Task, kept,
};

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The session id of a redirected client.
    Redirected,
    /// The session id of a client of the gateway.
    Session,
    /// The position in a list.
    Cursor,
    /// The id of a request that a server sent to a client.
    Request,
    /// The id of a task.
    Task,
    /// Where a client of HTTP+SSE posts to.
    Address,
    /// The id of an event.
    Event,
    /// The token of the progress of a request that a server sent to a client.
    Progress,
}

/// Characters of the longest token; a longer one is neither made nor opened. It goes into a header, or a URL, which every
/// client and proxy can carry.
pub const MAX_TOKEN: usize = 6 * 1024;

impl Purpose {
    /// The byte that is authenticated with a token. Never given to another purpose.
    const fn byte(self) -> u8 {
        match self {
            Self::Redirected => 1,
            Self::Session => 2,
            Self::Cursor => 3,
            Self::Request => 4,
            Self::Task => 5,
            // 6 was another's.
            Self::Event => 7,
            Self::Progress => 8,
            Self::Address => 9,
        }
    }

    /// Whether the same content always makes the same token (under the same key): clients compare ids of requests and
    /// of tasks.
    const fn is_stable(self) -> bool {
        matches!(self, Self::Request | Self::Task)
    }
}

#[cfg(test)]
mod tests;
