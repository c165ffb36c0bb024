//! A secret from a file that is read again when it changes.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::runtime::Handle;

use super::{CredentialError, secret};
use crate::changes::Changes;

/// A secret, in bytes.
const MAX_SECRET: u64 = 16 * 1024;

/// A file with one secret, white space around it left out.
pub(super) struct SecretFile {
    path: PathBuf,
    prefix: &'static str,
    now: ArcSwap<Result<HeaderValue, String>>,
}

impl SecretFile {
    /// Reads the file, and follows it on `runtime`. `prefix` comes before the secret.
    pub(super) fn follow(path: &Path, prefix: &'static str, runtime: &Handle) -> Arc<Self> {
        let file = Arc::new(Self {
            path: path.to_owned(),
            prefix,
            now: ArcSwap::from_pointee(Err(String::new())),
        });
        file.read_again();
        runtime.spawn(follow(Arc::downgrade(&file), path.to_owned()));
        file
    }

    /// What to show.
    pub(super) fn value(&self) -> Result<HeaderValue, CredentialError> {
        match &**self.now.load() {
            Ok(value) => Ok(value.clone()),
            Err(reason) => Err(CredentialError::File {
                path: self.path.clone(),
                reason: reason.clone(),
            }),
        }
    }

    /// A file that went bad is no credential any more: what it held before may have been withdrawn.
    fn read_again(&self) {
        let read = read(&self.path).map_err(|error| error.to_string()).and_then(|text| {
            let text = format!("{}{text}", self.prefix);
            secret(&text).ok_or_else(|| "it has characters that no header may have".to_owned())
        });
        let before = self.now.load();
        if let Err(reason) = &read
            && before.as_ref().as_ref().err() != Some(reason)
        {
            tracing::error!(path = %self.path.display(), reason, "a server's credential cannot be read");
        }
        if *before.as_ref() != read {
            self.now.store(Arc::new(read));
        }
    }
}

async fn follow(file: Weak<SecretFile>, path: PathBuf) {
    let mut changes = Changes::of(path.parent().unwrap_or(Path::new("/")).to_owned());
    loop {
        match file.upgrade() {
            // The file is small, and local or in memory.
            Some(file) => file.read_again(),
            None => return,
        }
        changes.next().await;
    }
}

/// The secret in a file.
pub(super) fn read(path: &Path) -> io::Result<String> {
    // Asked before it is opened: opening a FIFO would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_SECRET + 1).read_to_string(&mut text)?;
    let secret = text.trim();
    match secret.len() as u64 {
        0 => Err(io::Error::other("it is empty")),
        length if length > MAX_SECRET => Err(io::Error::other("it is too long")),
        _ => Ok(secret.to_owned()),
    }
}
