//! MCP peers from PyPI, as `tests/peers/python/requirements.txt` pins them, in a virtual environment of their own.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use mcpgw_tests::tools::{PYTHON_REQUIREMENTS, python_peers};

use crate::command;

/// Written last: an installation that was cut short is not taken for one.
const DONE: &str = "installed";

/// A Python that can make virtual environments.
pub fn interpreter() -> Option<String> {
    let python = command::find("python3")?;
    let able = Command::new(&python).args(["-c", "import ensurepip, venv"]).output();
    able.is_ok_and(|able| able.status.success())
        .then(|| python.display().to_string())
}

/// Where they are.
pub fn check() -> Result<Option<String>> {
    let directory = python_peers()?;
    Ok(directory.join(DONE).exists().then(|| directory.display().to_string()))
}

/// Installs exactly what the list says.
pub fn install() -> Result<()> {
    let directory = python_peers()?;
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    command::output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))
        .context("make a virtual environment (Debian: apt-get install python3-venv)")?;
    let list = directory.join("requirements.txt");
    fs::write(&list, PYTHON_REQUIREMENTS).context("write requirements.txt")?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
        "-r",
    ];
    command::output(Command::new(directory.join("bin/python")).args(pip).arg(&list))?;
    fs::write(directory.join(DONE), "").context("note that the installation is complete")
}
