//! Running other programs.

use std::{
    env,
    ffi::OsStr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use mcpgw_tests::{tools::variable, until};

/// Cargo as it was called.
pub fn cargo() -> Command {
    let mut command = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::project::root()).stdin(Stdio::null());
    command
}

/// The path of a program: on `PATH`, or where a normal user's `PATH` leaves off.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    directories
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

/// Whether `path` is a program.
pub fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Runs a command to its end and returns its standard output, trimmed. Fails with its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let name = name(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {name}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = errors.trim().lines().collect();
        bail!(
            "{name}: {}: {}",
            output.status,
            lines[lines.len().saturating_sub(6)..].join("\n")
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// As [`output`], but ends the command after `limit`. Its output is discarded.
pub fn within(limit: Duration, command: &mut Command) -> Result<()> {
    let name = name(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {name}"))?;
    if let Err(late) = until(limit, &name, || !matches!(child.try_wait(), Ok(None))) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(late);
    }
    let status = child.wait().with_context(|| format!("wait for {name}"))?;
    if status.success() {
        Ok(())
    } else {
        bail!("{name}: {status}")
    }
}

/// Runs a command with its output shown, and tells whether it succeeded.
pub fn succeeds(command: &mut Command) -> Result<bool> {
    let name = name(command);
    Ok(command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("start {name}"))?
        .success())
}

/// `PATH` with `directory` in front.
pub fn path_with(directory: &Path) -> Result<std::ffi::OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_owned()).chain(env::split_paths(&path));
    env::join_paths(all).context("put a directory into PATH")
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(OsStr::new("?"))
        .to_string_lossy()
        .into_owned();
    match command.get_args().next() {
        Some(first) => format!("{program} {}", first.to_string_lossy()),
        None => program,
    }
}
