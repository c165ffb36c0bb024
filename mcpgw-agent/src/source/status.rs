//! What a source knows about itself.

use serde::{Deserialize, Serialize};

/// The source's state, published after every read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Generation of the snapshot that is in force.
    pub generation: u64,
    /// Names of the files that were last read, in the order of reading.
    pub files: Vec<String>,
    /// What is wrong with the files as they stand now, one line each; the last good snapshot stays in force.
    pub errors: Vec<String>,
    /// When the files were last found good, in seconds since the epoch.
    pub last_good_at: u64,
}
