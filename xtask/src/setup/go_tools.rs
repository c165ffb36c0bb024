//! Servers that Go builds, into the cache.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::tools;
use serde::Deserialize;

use super::collector::required_go;
use crate::{
    command,
    versions::{GoTool, Versions},
};

/// What `go mod download` says.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    /// Where the module's source lies.
    dir: String,
}

/// Where the server is.
pub fn check(name: &str) -> Result<Option<String>> {
    let program = tools::go_tool(name)?;
    Ok(command::is_executable(&program).then(|| program.display().to_string()))
}

/// Builds it where its source lies, so that the versions of all that it needs are its own.
pub fn install(versions: &Versions, name: &str) -> Result<()> {
    let go = required_go()?;
    let GoTool {
        module,
        package,
        version,
    } = versions
        .go
        .get(name)
        .with_context(|| format!("{name} is not in xtask/versions.toml"))?;
    ensure!(
        tools::GO_TOOLS.contains(&(name, version)),
        "xtask/versions.toml names another {name} than mcpgw_tests::tools"
    );
    let said = command::output(Command::new(&go).args(["mod", "download", "-json", &format!("{module}@{version}")]))?;
    let source: Downloaded = serde_json::from_str(&said).context("read what go mod download said")?;
    let program = tools::go_tool(name)?;
    let directory = program.parent().context("a path without a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    let draft = directory.join("draft");
    let mut build = Command::new(&go);
    build.current_dir(&source.dir).args(["build", "-mod=readonly", "-o"]);
    build.arg(&draft).arg(format!("./{package}"));
    ensure!(command::succeeds(&mut build)?, "{name} was not built");
    // In one step, so that a set-up that was broken off leaves nothing that looks whole.
    fs::rename(&draft, &program).with_context(|| format!("put {name} in place"))
}
