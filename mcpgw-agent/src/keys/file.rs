//! What the file says. A line for each key, the current one first:
//!
//! ```text
//! current 2026-11-21T00:44:00Z <the key, base64url without padding>
//! previous 2026-10-21T00:44:00Z <the key before it>
//! ```

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use nix::{
    fcntl::{Flock, FlockArg},
    unistd::geteuid,
};

use super::KeyError;
use crate::mcp::seal::{KEY_BYTES, Key, KeyId, Keys};

/// Bytes of the largest file that is read.
const MAX_FILE: u64 = 4 * 1024;
/// Who may read or write the file beside its owner: nobody.
const OTHERS: u32 = 0o077;
/// The first line: comments are for whoever finds the file.
const COMMENT: &str = "# The session keys of mcpgw. Keep them secret. New ones: mcpgw keys rotate\n";
const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";

/// The keys of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// Seals.
    pub current: Entry,
    /// The one before: what it sealed still opens.
    pub previous: Option<Entry>,
}

/// A key. Shows its id and its age, never its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    secret: [u8; KEY_BYTES],
    id: KeyId,
    /// When it was made, to the second.
    pub made: SystemTime,
}

impl Entry {
    fn new(secret: [u8; KEY_BYTES], made: SystemTime) -> Option<Self> {
        let id = Key::new(&secret).ok()?.id();
        Some(Self { secret, id, made })
    }

    fn random() -> Result<Self, KeyError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = UNIX_EPOCH + Duration::from_secs(since.as_secs());
        let secret = Key::generate().map_err(|_| KeyError::NoRandomness)?;
        Self::new(secret, now).ok_or(KeyError::NoRandomness)
    }

    /// What tells it from other keys.
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn key(&self) -> Option<Arc<Key>> {
        Key::new(&self.secret).ok().map(Arc::new)
    }

    fn line(&self, role: &str) -> String {
        let made = humantime::format_rfc3339_seconds(self.made);
        format!("{role} {made} {}\n", BASE64_URL_SAFE_NO_PAD.encode(self.secret))
    }

    fn read(line: &str, role: &str) -> Result<Self, &'static str> {
        let mut words = line.split_ascii_whitespace();
        let [Some(word), Some(made), Some(secret), None] = [(); 4].map(|()| words.next()) else {
            return Err("a line is a role, a time and a key");
        };
        if word != role {
            return Err("the roles are `current`, and then `previous` or none");
        }
        let made = humantime::parse_rfc3339(made).map_err(|_| "a time is written as 2026-11-21T00:44:00Z")?;
        let secret = BASE64_URL_SAFE_NO_PAD.decode(secret).ok();
        let secret = secret.and_then(|secret| secret.try_into().ok());
        secret
            .and_then(|secret| Self::new(secret, made))
            .ok_or("a key is 32 bytes in base64url without padding")
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = humantime::format_rfc3339_seconds(self.made);
        write!(f, "Entry({} of {made})", self.id)
    }
}

impl KeyFile {
    /// Reads the file, if nobody else can.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let malformed = |reason| KeyError::Malformed {
            path: path.to_owned(),
            reason,
        };
        Self::parse(&read(path)?).map_err(malformed)
    }

    /// Reads the file; makes it, and its directory, where it is not there.
    pub fn read_or_make(path: &Path) -> Result<Self, KeyError> {
        match Self::read(path) {
            Err(KeyError::Missing { .. }) => {}
            read => return read,
        }
        let _lock = lock(path)?;
        // Another process may have made it since.
        match Self::read(path) {
            Err(KeyError::Missing { .. }) => Self::first()?.write(path),
            read => read,
        }
    }

    /// Puts a new key in front: the current one becomes the previous one, and the previous one is forgotten. Makes
    /// the file, and its directory, where it is not there.
    pub fn rotate(path: &Path) -> Result<Self, KeyError> {
        let _lock = lock(path)?;
        let rotated = match Self::read(path) {
            Ok(file) => Self {
                current: Entry::random()?,
                previous: Some(file.current),
            },
            Err(KeyError::Missing { .. }) => Self::first()?,
            Err(error) => return Err(error),
        };
        rotated.write(path)
    }

    /// The keys, for a sealer. `None` only if the system cannot prepare them.
    pub fn keys(&self) -> Option<Keys> {
        let previous = match &self.previous {
            Some(previous) => Some(previous.key()?),
            None => None,
        };
        Some(Keys {
            current: self.current.key()?,
            previous,
        })
    }

    fn first() -> Result<Self, KeyError> {
        Ok(Self {
            current: Entry::random()?,
            previous: None,
        })
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let current = lines.next().ok_or("it has no key")?;
        let file = Self {
            current: Entry::read(current, CURRENT)?,
            previous: lines.next().map(|line| Entry::read(line, PREVIOUS)).transpose()?,
        };
        match lines.next() {
            None => Ok(file),
            Some(_) => Err("it has more than two keys"),
        }
    }

    fn render(&self) -> String {
        let previous = self.previous.as_ref().map(|key| key.line(PREVIOUS));
        [
            COMMENT.to_owned(),
            self.current.line(CURRENT),
            previous.unwrap_or_default(),
        ]
        .concat()
    }

    /// Puts the file in place in one step: whoever reads it finds the old keys or the new ones.
    fn write(self, path: &Path) -> Result<Self, KeyError> {
        let name = format!(".{}.new", self.current.id);
        let beside = directory(path).join(name);
        let written = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(self.render().as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)?;
            File::open(directory(path))?.sync_all()
        };
        if let Err(source) = written() {
            // It may not have been made, or have its name already.
            let _ = fs::remove_file(&beside);
            return Err(failed("write", path)(source));
        }
        Ok(self)
    }
}

/// The file's text. The checks are of the file that is read, and not of one that had its name before.
fn read(path: &Path) -> Result<String, KeyError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeyError::Missing { path: path.to_owned() });
        }
        opened => opened.map_err(failed("open", path))?,
    };
    let metadata = file.metadata().map_err(failed("inspect", path))?;
    let malformed = |reason| KeyError::Malformed {
        path: path.to_owned(),
        reason,
    };
    if !metadata.is_file() {
        return Err(malformed("it is not a regular file"));
    }
    if metadata.uid() != 0 && metadata.uid() != geteuid().as_raw() {
        return Err(KeyError::Foreign {
            path: path.to_owned(),
            uid: metadata.uid(),
        });
    }
    if metadata.mode() & OTHERS != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
        });
    }
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(failed("read", path))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(malformed("it is too large"));
    }
    String::from_utf8(bytes).map_err(|_| malformed("it is not text"))
}

/// Keeps other processes from writing the file at the same time. Readers need no lock. Makes the directory, which is
/// what is locked, where it is not there.
fn lock(path: &Path) -> Result<Flock<File>, KeyError> {
    fs::create_dir_all(directory(path)).map_err(failed("make the directory of", path))?;
    let directory = File::open(directory(path)).map_err(failed("open the directory of", path))?;
    Flock::lock(directory, FlockArg::LockExclusive)
        .map_err(|(_, error)| failed("lock the directory of", path)(error.into()))
}

/// The directory that `path` is in.
pub(super) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path: PathBuf = path.to_owned();
    move |source| KeyError::Io {
        operation,
        path,
        source,
    }
}
