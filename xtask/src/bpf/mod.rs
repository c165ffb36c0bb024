//! `cargo xtask bpf`: the committed eBPF object, and the record of what it was built from.
//!
//! ```text
//! sources    a digest of everything in the repository that the object depends on
//! toolchain  rustc, bpf-linker, bpftool: found, or what is missing
//! build      the same bytes from the same sources and tools, in whatever directory
//! record     mcpgw.bpf.toml beside the object
//! ```

use std::{fs, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::{project, ui};

pub mod build;
pub mod record;
pub mod sources;
pub mod toolchain;

/// Builds the eBPF object, writes it to `mcpgw-ebpf/object/mcpgw.bpf.o`, and records beside it the digests and
/// the versions of rustc, bpf-linker and bpftool. Commit both.
#[derive(Args)]
pub struct Bpf {}

/// The committed object.
pub fn object() -> PathBuf {
    project::root().join("mcpgw-ebpf/object/mcpgw.bpf.o")
}

impl Bpf {
    /// Runs it.
    pub fn run(&self) -> Result<ExitCode> {
        let started = Instant::now();
        let toolchain = toolchain::Toolchain::find()?;
        println!(
            "{} with {}, bpf-linker {}, bpftool {}",
            ui::bold("Building the eBPF object"),
            toolchain.versions.rustc,
            toolchain.versions.bpf_linker,
            toolchain.versions.bpftool
        );
        let built = build::build(&toolchain)?;
        let target = object();
        fs::create_dir_all(target.parent().unwrap_or(&target)).context("make mcpgw-ebpf/object")?;
        let unchanged = fs::read(&target).is_ok_and(|committed| committed == built);
        fs::write(&target, &built).with_context(|| format!("write {}", target.display()))?;
        record::Record::new(&built, &toolchain.versions)?.write()?;
        let size = built.len() / 1024;
        let news = if unchanged { "unchanged" } else { "changed: commit it" };
        println!(
            "{} {} ({size} KiB, {news}) {}",
            ui::check(),
            target.display(),
            ui::dim(ui::time(started.elapsed()))
        );
        Ok(ExitCode::SUCCESS)
    }
}
