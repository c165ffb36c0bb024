//! Where things are in this checkout.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The root of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo's target directory: the one that this program was built into.
pub fn target() -> Result<PathBuf> {
    let own = env::current_exe().context("find the running executable")?;
    let target = own
        .parent()
        .and_then(Path::parent)
        .context("the running executable lies outside of a target directory")?;
    Ok(target.to_owned())
}
