//! What was approved of a server, on disk: one file for each, so that a server with many tools harms no other. JSON,
//! with the definitions themselves, so that a change can be shown.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    limits::{MAX_BYTES, MAX_FILE, MAX_TOOLS},
    server::{Approval, Approvals, By},
};
use crate::{
    mcp::definition::{Definition, Digest},
    resources::ObjectName,
};

/// Who may read or write the file beside its owner: nobody.
const OTHERS: u32 = 0o077;
/// The form of the file.
const VERSION: u32 = 1;

/// Why approvals cannot be read or kept. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("cannot {operation} the approvals {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than its owner may change it, or could have.
    #[error(
        "the approvals {path} are not ours alone: remove them if they are not to be trusted, else make them ours with chown and chmod 600"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It does not say what it should.
    #[error(
        "the approvals {path} are damaged: {reason}; restore the file, or remove it and restart the agent to trust what the server shows then"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// There are too many, or they are too large together.
    #[error("at most {MAX_TOOLS} definitions of a server are kept, of {MAX_BYTES} bytes together")]
    TooMuch,
}

#[derive(Serialize, Deserialize)]
struct Written<'a> {
    version: u32,
    server: String,
    #[serde(borrow)]
    tools: Vec<WrittenTool<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WrittenTool<'a> {
    tool: String,
    approved: String,
    by: By,
    digest: Digest,
    #[serde(borrow)]
    definition: &'a RawValue,
}

/// The file of a server. Neither part of its name has an underscore.
fn path(directory: &Path, server: &ObjectName) -> PathBuf {
    directory.join(format!("{}_{}.json", server.namespace, server.name))
}

/// What was approved of a server; `None` if nothing was ever kept.
pub(super) fn read(directory: &Path, server: &ObjectName) -> Result<Option<Approvals>, FileError> {
    let path = path(directory, server);
    let Some(text) = text(&path)? else { return Ok(None) };
    let damaged = |reason| FileError::Damaged {
        path: path.clone(),
        reason,
    };
    let written: Written<'_> = serde_json::from_str(&text).map_err(|_| damaged("it is not of its form"))?;
    if written.version != VERSION || written.server != server.to_string() {
        return Err(damaged("it is of another server or version"));
    }
    let mut approvals = Approvals::new();
    for tool in written.tools {
        let definition = Definition::of_tool(tool.definition.get().as_bytes());
        let definition = definition.map_err(|_| damaged("a definition cannot be read"))?;
        if definition.digest() != tool.digest {
            return Err(damaged("a digest is not that of its definition"));
        }
        let at = humantime::parse_rfc3339(&tool.approved).map_err(|_| damaged("a time cannot be read"))?;
        let approval = Approval {
            definition,
            at,
            by: tool.by,
        };
        approvals.insert(tool.tool.into(), approval);
    }
    Ok(Some(approvals))
}

/// Puts the file in place in one step: whoever reads it finds the old approvals or the new ones.
pub(super) fn write(directory: &Path, server: &ObjectName, approvals: &Approvals) -> Result<(), FileError> {
    let path = path(directory, server);
    let failed = |operation| {
        let path = path.clone();
        move |source| FileError::Io {
            operation,
            path,
            source,
        }
    };
    let text = render(server, approvals)
        .map_err(io::Error::from)
        .map_err(failed("write"))?;
    if text.len() as u64 > MAX_FILE {
        return Err(FileError::TooMuch);
    }
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed("make the directory of"))?;
    let beside = path.with_extension("new");
    let written = || {
        // Left by an agent that was killed.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(directory)?.sync_all()
    };
    written().map_err(|source| {
        // It may not have been made, or have its name already.
        let _ = fs::remove_file(&beside);
        failed("write")(source)
    })
}

fn render(server: &ObjectName, approvals: &Approvals) -> serde_json::Result<Vec<u8>> {
    let written = Written {
        version: VERSION,
        server: server.to_string(),
        tools: approvals.iter().map(written_tool).collect::<serde_json::Result<_>>()?,
    };
    let mut text = serde_json::to_vec_pretty(&written)?;
    text.push(b'\n');
    Ok(text)
}

fn written_tool<'a>((tool, approval): (&Arc<str>, &'a Approval)) -> serde_json::Result<WrittenTool<'a>> {
    Ok(WrittenTool {
        tool: tool.to_string(),
        approved: time(approval.at),
        by: approval.by,
        digest: approval.definition.digest(),
        definition: serde_json::from_str(approval.definition.json())?,
    })
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// The file's text; `None` if there is no file. The checks are of the file that is read, and not of one that had its
/// name before.
fn text(path: &Path) -> Result<Option<String>, FileError> {
    let failed = |operation| {
        move |source| FileError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    };
    // Opening a FIFO would wait for a writer.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("open"))?,
    };
    let metadata = file.metadata().map_err(failed("inspect"))?;
    let damaged = |reason| FileError::Damaged {
        path: path.to_owned(),
        reason,
    };
    if !metadata.is_file() {
        return Err(damaged("it is not a regular file"));
    }
    let ours = metadata.uid() == 0 || metadata.uid() == geteuid().as_raw();
    if !ours || metadata.mode() & OTHERS != 0 {
        return Err(FileError::Exposed { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("read"))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(damaged("it is too large"));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| damaged("it is not text"))
}
