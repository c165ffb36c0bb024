//! Tools that cargo builds, into the cache.

use anyhow::{Result, ensure};

use crate::{command, versions::Versions};

/// Where the tool is, in its pinned version.
pub fn check(versions: &Versions, tool: &str) -> Result<Option<String>> {
    Ok(versions
        .find(tool)?
        .map(|path| format!("{} ({})", versions.of(tool).unwrap_or_default(), path.display())))
}

/// Builds and installs it. Cargo shows its own progress.
pub fn install(versions: &Versions, tool: &str) -> Result<()> {
    let built = command::succeeds(
        command::cargo()
            .args([
                "install",
                "--locked",
                "--quiet",
                "--version",
                versions.of(tool)?,
                "--root",
            ])
            .arg(versions.cache_of(tool)?)
            .arg(tool)
            // Its own profile and flags, and not those that this workspace was called with.
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS"),
    )?;
    ensure!(built, "cargo install {tool} failed");
    Ok(())
}
