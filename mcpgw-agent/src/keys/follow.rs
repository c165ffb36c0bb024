//! The keys in force: those of the file, read again when it changes.

use std::path::{Path, PathBuf};

use tracing::{error, info};

use super::{KeyError, KeyFile, file::directory};
use crate::{changes::Changes, mcp::seal::Sealer};

/// A sealer with the keys of a file.
#[derive(Debug)]
pub struct KeyRing {
    path: PathBuf,
    file: KeyFile,
    sealer: Sealer,
}

impl KeyRing {
    /// Reads the keys: of the file that the settings name, which must be there, or else of one in the directory
    /// `state`, which is made.
    pub fn open(settings: Option<&Path>, state: &Path) -> Result<Self, KeyError> {
        let path = super::path(settings, state);
        let file = match settings {
            Some(_) => KeyFile::read(&path)?,
            None => KeyFile::read_or_make(&path)?,
        };
        let sealer = Sealer::new(file.keys().ok_or(KeyError::NoRandomness)?);
        Ok(Self { path, file, sealer })
    }

    /// The sealer. Every clone of it follows the file while [`follow`](Self::follow) runs.
    pub fn sealer(&self) -> Sealer {
        self.sealer.clone()
    }

    /// Follows the file for ever: a good change comes into force at once, a bad one is reported, and the last good
    /// keys stay.
    pub async fn follow(mut self) {
        let mut changes = Changes::of(directory(&self.path).to_owned());
        let mut trouble = None;
        loop {
            // The file is small, and local or in memory.
            let failed = self.read_again().err().map(|error| error.to_string());
            if let Some(failed) = failed.as_ref().filter(|failed| trouble.as_ref() != Some(*failed)) {
                error!("the session keys stay as they were: {failed}");
            }
            trouble = failed;
            changes.next().await;
        }
    }

    pub(super) fn read_again(&mut self) -> Result<(), KeyError> {
        let file = KeyFile::read(&self.path)?;
        if file != self.file {
            self.sealer.replace(file.keys().ok_or(KeyError::NoRandomness)?);
            info!(current = %file.current.id(), "session keys changed");
            self.file = file;
        }
        Ok(())
    }
}
