//! Where lines go: standard output, or a file that is rotated by its size and followed when somebody renames it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::resources::AuditSettings;

/// Takes whole lines.
pub(super) trait Sink: Send {
    /// Writes lines: all of them, or none where it can take a part back.
    fn write(&mut self, lines: &[u8]) -> io::Result<()>;
}

/// Standard output.
pub(super) struct Stdout;

impl Sink for Stdout {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(lines)?;
        out.flush()
    }
}

/// When a file is full, and what becomes of it then; changes while it is written.
pub(super) struct Rotation {
    max_size: AtomicU64,
    keep: AtomicU32,
}

impl Default for Rotation {
    fn default() -> Self {
        let AuditSettings { max_size, keep, .. } = AuditSettings::default();
        Self {
            max_size: max_size.into(),
            keep: keep.into(),
        }
    }
}

impl Rotation {
    pub(super) fn set(&self, max_size: u64, keep: u32) {
        self.max_size.store(max_size, Ordering::Relaxed);
        self.keep.store(keep, Ordering::Relaxed);
    }
}

/// A file, appended to.
pub(super) struct Rotated {
    path: PathBuf,
    file: File,
    rotation: Arc<Rotation>,
}

impl Rotated {
    pub(super) fn open(path: PathBuf, rotation: Arc<Rotation>) -> io::Result<Self> {
        Ok(Self {
            file: append_to(&path)?,
            path,
            rotation,
        })
    }

    /// Whether the path still leads to the file that is open: logrotate and its like rename it.
    fn is_at_its_path(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Renames the full file to `<path>.1`, that to `<path>.2`, and so on; the oldest is overwritten.
    fn rotate(&self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut path = self.path.clone().into_os_string();
            path.push(format!(".{number}"));
            PathBuf::from(path)
        };
        let keep = self.rotation.keep.load(Ordering::Relaxed);
        if keep == 0 {
            return self.file.set_len(0);
        }
        for number in (1..keep).rev() {
            match fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(1))
    }
}

impl Sink for Rotated {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut is_ours = self.is_at_its_path()?;
        if is_ours && self.file.metadata()?.is_file() {
            let size = self.file.metadata()?.len();
            let max_size = self.rotation.max_size.load(Ordering::Relaxed);
            if size > 0 && size.saturating_add(lines.len() as u64) > max_size {
                self.rotate()?;
                is_ours = self.is_at_its_path()?;
            }
        }
        if !is_ours {
            self.file = append_to(&self.path)?;
        }
        let before = self.file.metadata()?;
        let written = self.file.write_all(lines);
        if written.is_err() && before.is_file() {
            // No line is left cut in two: these will be written again, or are counted as lost.
            self.file.set_len(before.len())?;
        }
        written
    }
}

/// A pipe that nobody reads is an error at once: to open it would take until somebody does.
fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let file = options.custom_flags(libc::O_NONBLOCK).open(path)?;
    // To write to one that is read waits, as it does for standard output, so that no line is cut in two.
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?) - OFlag::O_NONBLOCK;
    fcntl(&file, FcntlArg::F_SETFL(flags))?;
    Ok(file)
}
