//! The tools that the object is built with.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{command, setup::rust_src, versions::Versions};

/// What decides the object's bytes besides its sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ToolVersions {
    /// `rustc --version`.
    pub rustc: String,
    /// Of bpf-linker.
    pub bpf_linker: String,
    /// Of bpftool, for example `v7.1.0`.
    pub bpftool: String,
}

/// The tools, found.
pub struct Toolchain {
    /// bpf-linker.
    pub bpf_linker: PathBuf,
    /// bpftool.
    pub bpftool: PathBuf,
    /// Their versions.
    pub versions: ToolVersions,
}

impl Toolchain {
    /// Finds all of it, or names what is missing.
    pub fn find() -> Result<Self> {
        let advice = "`cargo xtask setup` installs it";
        rust_src::check()?.with_context(|| format!("rust-src is missing: {advice}"))?;
        let pinned = Versions::load()?;
        let bpf_linker = pinned
            .find("bpf-linker")?
            .with_context(|| format!("bpf-linker is missing: {advice}"))?;
        let bpftool = command::find("bpftool").with_context(|| format!("bpftool is missing: {advice}"))?;
        let told = command::output(Command::new(&bpftool).arg("version"))?;
        let versions = ToolVersions {
            rustc: command::output(Command::new("rustc").arg("--version"))?,
            bpf_linker: pinned.of("bpf-linker")?.to_owned(),
            bpftool: told.split_ascii_whitespace().nth(1).unwrap_or_default().to_owned(),
        };
        Ok(Self {
            bpf_linker,
            bpftool,
            versions,
        })
    }
}
