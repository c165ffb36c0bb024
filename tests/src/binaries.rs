//! The programs that the fixtures start: built once, by cargo, into the target directory of the tests.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result, anyhow, ensure};

use crate::tools::variable;

/// Set by whoever has built the programs already (`cargo xtask` does): nothing is built again.
const BUILT: &str = "MCPGW_TEST_BINARIES";

/// The path of a program of this workspace, for example `mcpgw` or `pod-probe`. The first use builds them.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = build()?.join(name);
    ensure!(
        path.exists(),
        "{} is missing: cargo build --bins makes it",
        path.display()
    );
    Ok(path)
}

/// Builds the agent and all peers, once in this process, and returns the directory that they are in. Cargo shows its
/// progress on standard error.
pub fn build() -> Result<PathBuf> {
    static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = DIRECTORY.get_or_init(|| match variable(BUILT) {
        Some(directory) => Ok(directory.into()),
        None => run_cargo().map_err(|error| format!("{error:#}")),
    });
    built.clone().map_err(|error| anyhow!(error))
}

fn run_cargo() -> Result<PathBuf> {
    let directory = target_directory()?;
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(profile) => profile,
    };
    let cargo = variable("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "build",
            "--package",
            "mcpgw-agent",
            "--package",
            "mcpgw-peers",
            "--bins",
        ])
        .args(["--profile", profile, "--target-dir"])
        .arg(directory.parent().unwrap_or(&directory))
        .current_dir(workspace())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("start cargo build")?;
    ensure!(
        status.success(),
        "cargo build of the agent and its peers failed: {status}"
    );
    Ok(directory)
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// `target/debug`, told by where this executable lies: itself, or in `deps/` of it.
fn target_directory() -> Result<PathBuf> {
    let own = env::current_exe().context("find the running executable")?;
    let directory = own.parent().context("the running executable has no directory")?;
    let directory = if directory.ends_with("deps") {
        directory.parent().unwrap_or(directory)
    } else {
        directory
    };
    Ok(directory.to_owned())
}
