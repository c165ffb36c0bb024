//! The file with the keys that seal what clients are given to hold: session ids, cursors, ids of requests and tasks.
//!
//! ```text
//! file    what the file says: read with suspicion, written in one step
//! follow  the keys in force: read again when the file changes
//! ```
//!
//! Agents that serve the same clients share the file's contents. Without a file of its own an agent makes one below
//! its state directory, which keeps sessions over a restart of the agent, and not over one of the machine.

mod file;
mod follow;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use file::{Entry, KeyFile};
pub use follow::KeyRing;

/// The name of the file that an agent makes.
const FILE_NAME: &str = "session-keys";

/// Where the keys are: the file of the settings, or else one in the node's state directory.
pub fn path(settings: Option<&Path>, state: &Path) -> PathBuf {
    settings.map_or_else(|| state.join(FILE_NAME), Path::to_owned)
}

/// Why there are no keys. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file that the settings name is not there.
    #[error("there is no file of session keys {path}: make it with `mcpgw keys rotate --file {path}`")]
    Missing {
        /// Its path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot {operation} the file of session keys {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than its owner may read or change it.
    #[error(
        "the file of session keys {path} is open to others (mode {mode:04o}): run `chmod 600 {path}`, and then \
         `mcpgw keys rotate --file {path}` twice, because its keys may be known"
    )]
    Exposed {
        /// Its path.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to a user who is neither this one nor root.
    #[error("the file of session keys {path} belongs to user {uid}: make it this user's with `chown`")]
    Foreign {
        /// Its path.
        path: PathBuf,
        /// The owner.
        uid: u32,
    },
    /// It does not say what it should.
    #[error(
        "the file of session keys {path} is not one: {reason}; restore it, or remove it and run \
         `mcpgw keys rotate --file {path}`, which ends all sessions"
    )]
    Malformed {
        /// Its path.
        path: PathBuf,
        /// What is wrong, without a word of its contents.
        reason: &'static str,
    },
    /// No key can be made.
    #[error("cannot make a session key: the system has no randomness")]
    NoRandomness,
}

#[cfg(test)]
mod tests;
