//! `mcpgw keys`: the keys that seal session ids.

use std::{path::PathBuf, process::ExitCode, time::SystemTime};

use clap::{Args, Subcommand};

use super::{options::NodeArgs, print, render::duration, table::Table};
use crate::keys::{self, Entry, KeyFile};

/// Show or replace the keys that seal session ids
///
/// What clients hold for the gateway, such as session ids and cursors, is sealed with the current key. What the
/// previous key sealed still opens. A running agent notices a change of the file by itself.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpgw keys show
  mcpgw keys rotate --file /etc/mcpgw-keys/session-keys")]
pub(super) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(Show),
    Rotate(Rotate),
}

/// Show the ids and ages of the keys, never the keys
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpgw keys show
  mcpgw keys show --file /etc/mcpgw-keys/session-keys")]
struct Show {
    #[command(flatten)]
    place: Place,
}

/// Put a new key in front; the current one becomes the previous one
///
/// What the previous key sealed is refused afterwards: rotate twice to end every session. Where there is no
/// file yet it is made.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpgw keys rotate
  mcpgw keys rotate --file /etc/mcpgw-keys/session-keys")]
struct Rotate {
    #[command(flatten)]
    place: Place,
}

/// Which file.
#[derive(Debug, Args)]
struct Place {
    /// The file of the keys, if the settings name one [default: the one in the node's state directory]
    #[arg(long, env = "MCPGW_FILE", hide_env_values = true, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
}

impl Place {
    fn path(self) -> anyhow::Result<PathBuf> {
        Ok(match self.file {
            Some(file) => file,
            None => keys::path(None, &self.node.options()?.state()),
        })
    }
}

impl Keys {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let (path, file) = match self.command {
            Command::Show(show) => {
                let path = show.place.path()?;
                let file = KeyFile::read(&path)?;
                (path, file)
            }
            Command::Rotate(rotate) => {
                let path = rotate.place.path()?;
                let file = KeyFile::rotate(&path)?;
                (path, file)
            }
        };
        print(&format!("{}\n{}", path.display(), render(&file, SystemTime::now())))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A line for each key.
pub(super) fn render(file: &KeyFile, now: SystemTime) -> String {
    let mut table = Table::new(&["KEY", "USE", "MADE", "AGE"]);
    let mut row = |key: &Entry, used: &str| {
        let age = now.duration_since(key.made).unwrap_or_default().as_secs();
        table.row([
            key.id().to_string(),
            used.to_owned(),
            humantime::format_rfc3339_seconds(key.made).to_string(),
            duration(age),
        ]);
    };
    row(&file.current, "seals and opens");
    if let Some(previous) = &file.previous {
        row(previous, "opens");
    }
    table.to_string()
}
