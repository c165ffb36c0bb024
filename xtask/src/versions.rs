//! The pinned versions, and where a pinned tool is.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result};
use mcpgw_tests::tools;
use serde::Deserialize;

use crate::command;

/// `xtask/versions.toml`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Versions {
    /// Version by crate.
    pub cargo: BTreeMap<String, String>,
    /// Where the standard library's source comes from.
    pub rust_src: RustSrc,
    /// The OpenTelemetry collector.
    pub collector: Collector,
    /// Servers that Go builds, by their names.
    pub go: BTreeMap<String, GoTool>,
    /// Package by program.
    pub debian: BTreeMap<String, String>,
}

/// Where the standard library's source comes from if rustup cannot fetch it.
#[derive(Deserialize)]
pub struct RustSrc {
    /// The Debian suite.
    pub suite: String,
    /// Package version by rustc version.
    #[serde(flatten)]
    pub packages: BTreeMap<String, String>,
}

/// The OpenTelemetry collector.
#[derive(Deserialize)]
pub struct Collector {
    /// Of its components and of what builds it.
    pub version: String,
    /// Of what reads its configuration.
    pub providers: String,
}

/// A program that Go builds.
#[derive(Deserialize)]
pub struct GoTool {
    /// The module that it is in.
    pub module: String,
    /// Its package in that.
    pub package: String,
    /// Of the module.
    pub version: String,
}

impl Versions {
    /// Reads the file.
    pub fn load() -> Result<Self> {
        toml::from_str(include_str!("../versions.toml")).context("xtask/versions.toml")
    }

    /// The pinned version of a tool that cargo installs.
    pub fn of(&self, tool: &str) -> Result<&str> {
        self.cargo
            .get(tool)
            .map(String::as_str)
            .with_context(|| format!("{tool} is not in xtask/versions.toml"))
    }

    /// Where `cargo install --root` puts a tool: a directory per version.
    pub fn cache_of(&self, tool: &str) -> Result<PathBuf> {
        Ok(tools::directory()?.join(format!("{tool}-{}", self.of(tool)?)))
    }

    /// The tool in its pinned version: in the cache, or on `PATH` if the one there is of that version.
    pub fn find(&self, tool: &str) -> Result<Option<PathBuf>> {
        let cached = self.cache_of(tool)?.join("bin").join(tool);
        if command::is_executable(&cached) {
            return Ok(Some(cached));
        }
        let Some(found) = command::find(tool) else {
            return Ok(None);
        };
        let told = command::output(std::process::Command::new(&found).arg("--version")).unwrap_or_default();
        Ok((told.split_ascii_whitespace().nth(1) == Some(self.of(tool)?)).then_some(found))
    }
}
