//! The lint suite: each check counts as one test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use super::Tally;
use crate::{
    bpf::{self, build, record::Record, toolchain::Toolchain},
    command, project, ui,
    versions::Versions,
};

/// More lines than a file with one idea needs.
const MAX_LINES: usize = 500;

type Check = (&'static str, fn() -> Result<()>);

const CHECKS: [Check; 5] = [
    ("formatting", formatting),
    ("clippy", clippy),
    ("dependencies", dependencies),
    ("file sizes", file_sizes),
    ("eBPF object", object),
];

/// Runs every check.
pub fn run() -> Tally {
    let mut tally = Tally::default();
    for (name, check) in CHECKS {
        let started = Instant::now();
        let outcome = check();
        let time = ui::dim(ui::time(started.elapsed()));
        match &outcome {
            Ok(()) => println!("  {} {name} {time}", ui::check()),
            Err(error) => println!("  {} {name} {time}: {error:#}", ui::cross()),
        }
        tally += Tally::one(outcome.is_ok());
    }
    tally
}

fn formatting() -> Result<()> {
    // The fuzz targets are a workspace of their own.
    for arguments in [["--all", "--check"], ["--manifest-path=fuzz/Cargo.toml", "--check"]] {
        ensure!(
            command::succeeds(command::cargo().arg("fmt").args(arguments))?,
            "run cargo fmt {}",
            arguments[0]
        );
    }
    Ok(())
}

fn clippy() -> Result<()> {
    let clippy = [
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "--deny",
        "warnings",
    ];
    ensure!(command::succeeds(command::cargo().args(clippy))?, "see above");
    Ok(())
}

fn dependencies() -> Result<()> {
    let deny = Versions::load()?
        .find("cargo-deny")?
        .context("cargo-deny is missing: `cargo xtask setup` installs it")?;
    let arguments = [
        "--workspace",
        "--locked",
        "--log-level",
        "error",
        "check",
        "licenses",
        "bans",
        "sources",
    ];
    ensure!(
        command::succeeds(Command::new(deny).args(arguments).current_dir(project::root()))?,
        "see above"
    );
    Ok(())
}

fn file_sizes() -> Result<()> {
    let mut sources = Vec::new();
    collect(project::root(), &mut sources)?;
    ensure!(!sources.is_empty(), "no source file found");
    let mut long = Vec::new();
    for path in sources {
        let lines = fs::read_to_string(&path)
            .with_context(|| format!("read {}", path.display()))?
            .lines()
            .count();
        if lines > MAX_LINES {
            long.push(format!(
                "{} has {lines}",
                path.strip_prefix(project::root()).unwrap_or(&path).display()
            ));
        }
    }
    ensure!(long.is_empty(), "more than {MAX_LINES} lines: {}", long.join(", "));
    Ok(())
}

fn collect(directory: &Path, sources: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !matches!(name, "target" | ".git" | "node_modules") {
                collect(&path, sources)?;
            }
        } else if name.ends_with(".rs") || name.ends_with(".sh") {
            sources.push(path);
        }
    }
    Ok(())
}

/// The committed object is that of the sources: by digest always, and byte for byte where the tools that built it
/// are at hand.
fn object() -> Result<()> {
    let record = Record::read()?;
    record.compare()?;
    let reason = match Toolchain::find() {
        Ok(toolchain) if toolchain.versions == record.tools => {
            let built = build::build(&toolchain)?;
            let committed = fs::read(bpf::object()).context("read the committed object")?;
            ensure!(
                built == committed,
                "a rebuild with the recorded tools gives other bytes: run `cargo xtask bpf`"
            );
            println!("    rebuilt with the recorded tools: the same {} bytes", built.len());
            return Ok(());
        }
        Ok(toolchain) => format!("recorded {:?}, here {:?}", record.tools, toolchain.versions),
        Err(error) => format!("{error:#}"),
    };
    println!(
        "  {}",
        ui::yellow("! ONLY THE DIGEST OF THE eBPF OBJECT WAS COMPARED, IT WAS NOT REBUILT")
    );
    println!("  {}", ui::yellow(format!("! {reason}")));
    Ok(())
}
