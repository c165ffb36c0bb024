//! MCP peers from npm, as `tests/peers/npm/package-lock.json` pins them.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use mcpgw_tests::tools::{NPM_LOCK, NPM_MANIFEST, npm_peers};

use crate::command;

/// Written last: an installation that was cut short is not taken for one.
const DONE: &str = "installed";

/// Where they are.
pub fn check() -> Result<Option<String>> {
    let directory = npm_peers()?;
    Ok(directory.join(DONE).exists().then(|| directory.display().to_string()))
}

/// Installs exactly what the lock file says.
pub fn install() -> Result<()> {
    let directory = npm_peers()?;
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    for (name, text) in [("package.json", NPM_MANIFEST), ("package-lock.json", NPM_LOCK)] {
        fs::write(directory.join(name), text).with_context(|| format!("write {name}"))?;
    }
    let npm = ["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"];
    command::output(Command::new("npm").args(npm).current_dir(&directory))?;
    fs::write(directory.join(DONE), "").context("note that the installation is complete")
}
