//! What the committed object was built from, in `mcpgw.bpf.toml` beside it.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{object, sources, toolchain::ToolVersions};

const HEAD: &str = "# Written by `cargo xtask bpf`: what mcpgw.bpf.o was built from. The lint suite compares.\n";

/// The record.
#[derive(Serialize, Deserialize)]
pub struct Record {
    /// Digest of the sources.
    pub sources: String,
    /// Digest of the object.
    pub object: String,
    /// Tools that built it.
    pub tools: ToolVersions,
}

impl Record {
    /// For an object that was just built.
    pub fn new(built: &[u8], tools: &ToolVersions) -> Result<Self> {
        Ok(Self {
            sources: sources::digest()?,
            object: sources::digest_of(built),
            tools: tools.clone(),
        })
    }

    /// The committed one.
    pub fn read() -> Result<Self> {
        let path = path();
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }

    /// Puts it beside the object.
    pub fn write(&self) -> Result<()> {
        let text = toml::to_string(self).context("print the record")?;
        let path = path();
        fs::write(&path, format!("{HEAD}{text}")).with_context(|| format!("write {}", path.display()))
    }

    /// Fails if the committed object or the sources are not those of the record.
    pub fn compare(&self) -> Result<()> {
        let path = object();
        let committed = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        ensure!(
            sources::digest_of(&committed) == self.object,
            "mcpgw.bpf.o is not the object that mcpgw.bpf.toml records: run `cargo xtask bpf` and commit both"
        );
        ensure!(
            sources::digest()? == self.sources,
            "the eBPF sources changed since mcpgw.bpf.o was built: run `cargo xtask bpf` and commit both"
        );
        Ok(())
    }
}

fn path() -> PathBuf {
    object().with_extension("toml")
}
