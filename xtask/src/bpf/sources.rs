//! A digest of everything in the repository that the object depends on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::build;
use crate::{command, project};

/// Files and directories that are compiled into the object.
const SOURCES: [&str; 4] = [
    "mcpgw-ebpf/src",
    "mcpgw-ebpf/Cargo.toml",
    "mcpgw-common/src",
    "mcpgw-common/Cargo.toml",
];

/// The digest, as `sha256:…`: of the sources, the locked versions of the crates that they use, the release profile,
/// and the compiler flags. The versions of the tools are recorded apart.
pub fn digest() -> Result<String> {
    let mut hash = Sha256::new();
    let mut add = |name: &str, content: &[u8]| {
        hash.update(format!("{name} {}\n", content.len()));
        hash.update(content);
    };
    for path in files()? {
        let name = path
            .strip_prefix(project::root())
            .unwrap_or(&path)
            .display()
            .to_string();
        add(
            &name,
            &fs::read(&path).with_context(|| format!("read {}", path.display()))?,
        );
    }
    add("crates", crates()?.as_bytes());
    add("profile", profile()?.as_bytes());
    add("flags", build::FLAGS.join(" ").as_bytes());
    Ok(hex(&hash.finalize()))
}

/// `sha256:` and the digest of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest
        .iter()
        .fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn files() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for source in SOURCES {
        collect(&project::root().join(source), &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        found.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
        collect(&entry?.path(), found)?;
    }
    Ok(())
}

/// Name and locked version of each crate that is compiled for the target, one per line.
fn crates() -> Result<String> {
    let tree = command::output(command::cargo().args([
        "tree",
        "--locked",
        "--package",
        "mcpgw-ebpf",
        "--target",
        build::TARGET,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}",
    ]))?;
    // Local crates are followed by their directory, which is no part of what they are.
    let mut names: Vec<String> = tree
        .lines()
        .map(|line| line.split(" (").next().unwrap_or(line).to_owned())
        .collect();
    names.sort();
    names.dedup();
    Ok(names.join("\n"))
}

/// The release profile, in canonical form.
fn profile() -> Result<String> {
    let path = project::root().join("Cargo.toml");
    let manifest = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let manifest: toml::Table = manifest.parse().context("parse Cargo.toml")?;
    let release = manifest.get("profile").and_then(|profiles| profiles.get("release"));
    toml::to_string(&release).context("print the release profile")
}
