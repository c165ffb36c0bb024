//! `cargo xtask fuzz`: libFuzzer against the parsers, for a bounded time.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::{command, project, setup::cargo_tools, ui, versions::Versions};

/// Bytes of the largest input: more finds nothing more in these parsers, and slower.
const MAX_INPUT: u32 = 4096;
/// Megabytes that a target may take, with AddressSanitizer's own.
const MAX_MEMORY: u32 = 2048;
/// Seconds that one input may take.
const MAX_SECONDS: u32 = 10;
/// Lines of libFuzzer's report that are shown when it found something.
const REPORT: usize = 40;

/// Fuzzes the parsers of bytes that come from outside: for each target, from the seeds in fuzz/seeds, with
/// AddressSanitizer.
///
/// libFuzzer's instrumentation is unstable in rustc: it is used with the installed stable compiler by
/// RUSTC_BOOTSTRAP=1. Inputs that were found stay in the target directory and are the next run's beginning. The exit
/// code is not 0 if a target failed; its input is then in fuzz/artifacts.
#[derive(Args)]
pub struct Fuzz {
    /// Targets; all, if none is named.
    #[arg(value_enum)]
    targets: Vec<Target>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// The envelope of a request, against a general JSON parser.
    Envelope,
    /// What headers claim about a body.
    Headers,
    /// A server's message, against a general JSON parser.
    Message,
    /// Event streams.
    Sse,
    /// Sealed sessions, and all other sealed tokens.
    Session,
    /// Cursors of lists.
    Cursor,
    /// Conditions of rules.
    Expression,
    /// Definitions of tools, as they are pinned.
    Definition,
    /// Tokens of callers, and the keys of their issuers.
    Token,
    /// Which trace a request is part of, and what a server is told of it.
    Trace,
    /// What is taken out of arguments before they are recorded.
    Redaction,
}

impl Fuzz {
    /// Runs it.
    pub fn run(&self) -> Result<ExitCode> {
        let targets = match self.targets.as_slice() {
            [] => Target::value_variants(),
            some => some,
        };
        let place = Place::prepare()?;
        println!("{}", ui::bold("Building the targets"));
        let started = Instant::now();
        ensure!(
            command::succeeds(&mut place.cargo_fuzz("build"))?,
            "the targets do not build"
        );
        println!("  {} built {}", ui::check(), ui::dim(ui::time(started.elapsed())));
        println!("{}", ui::bold(format!("Fuzzing, {} s each", self.seconds)));
        let mut failed = 0;
        for target in targets {
            failed += usize::from(!place.fuzz(*target, self.seconds)?);
        }
        println!("{} passed, {failed} failed", targets.len() - failed);
        Ok(match failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}

/// Where the targets are, and where what is made of them goes.
struct Place {
    program: PathBuf,
    sources: PathBuf,
    built: PathBuf,
}

impl Place {
    fn prepare() -> Result<Self> {
        let versions = Versions::load()?;
        if versions.find("cargo-fuzz")?.is_none() {
            println!("  {} cargo-fuzz is missing, installing it", ui::dim("…"));
            cargo_tools::install(&versions, "cargo-fuzz")?;
        }
        let sources = project::root().join("fuzz");
        // One lock file is the truth: cargo adds to the copy what only the targets need.
        fs::copy(project::root().join("Cargo.lock"), sources.join("Cargo.lock")).context("copy Cargo.lock")?;
        Ok(Self {
            program: versions.find("cargo-fuzz")?.context("installed, but still not found")?,
            sources,
            built: project::target()?.join("fuzz"),
        })
    }

    fn cargo_fuzz(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(project::root())
            .stdin(Stdio::null())
            .env("RUSTC_BOOTSTRAP", "1")
            // Its own flags, and not those that this workspace was called with.
            .env_remove("RUSTFLAGS")
            .args(["fuzz", verb, "--fuzz-dir"])
            .arg(&self.sources)
            .arg("--target-dir")
            .arg(&self.built);
        command
    }

    /// Fuzzes one target; `false` if it failed.
    fn fuzz(&self, target: Target, seconds: u32) -> Result<bool> {
        let name = format!("{target:?}").to_lowercase();
        let corpus = self.built.join("corpus").join(&name);
        fs::create_dir_all(&corpus).with_context(|| format!("make {}", corpus.display()))?;
        let started = Instant::now();
        let output = self
            .cargo_fuzz("run")
            .arg(&name)
            .args([&corpus, &self.seeds(&name)])
            .arg("--")
            .args([
                format!("-max_total_time={seconds}"),
                format!("-max_len={MAX_INPUT}"),
                format!("-rss_limit_mb={MAX_MEMORY}"),
                format!("-timeout={MAX_SECONDS}"),
            ])
            .output()
            .context("start cargo-fuzz")?;
        let report = String::from_utf8_lossy(&output.stderr);
        let runs = runs(&report);
        let passed = output.status.success() && runs.is_some_and(|runs| runs > 0);
        println!(
            "  {} {name:<10} {} runs, {} inputs kept {}",
            ui::mark(passed),
            runs.map_or_else(|| "?".to_owned(), |runs| runs.to_string()),
            count(&corpus)?,
            ui::dim(ui::time(started.elapsed()))
        );
        if !passed {
            println!("{}", findings(&report));
        }
        Ok(passed)
    }

    fn seeds(&self, name: &str) -> PathBuf {
        self.sources.join("seeds").join(name)
    }
}

/// The number of runs in libFuzzer's last line: `Done 12345 runs in 21 second(s)`.
fn runs(report: &str) -> Option<u64> {
    let line = report.lines().rev().find_map(|line| line.strip_prefix("Done "))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// What libFuzzer found: from where it says so on; the end of its report where it does not, and where the input is.
fn findings(report: &str) -> String {
    let lines: Vec<&str> = report.lines().collect();
    let found = |line: &&str| line.contains("panicked at") || line.contains("ERROR: ");
    let begin = lines
        .iter()
        .position(found)
        .unwrap_or(lines.len().saturating_sub(REPORT));
    let input = lines.iter().filter(|line| line.contains("fuzz/artifacts/"));
    lines[begin..]
        .iter()
        .take(REPORT)
        .chain(input.take(1))
        .copied()
        .collect::<Vec<_>>()
        .join("\n")
}

fn count(directory: &Path) -> Result<usize> {
    let entries = fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    Ok(entries.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_program_and_its_seeds() {
        let manifest = fs::read_to_string(project::root().join("fuzz/Cargo.toml")).unwrap();
        for target in Target::value_variants() {
            let name = format!("{target:?}").to_lowercase();
            assert!(
                manifest.contains(&format!("name = \"{name}\"\npath = \"targets/{name}.rs\"")),
                "{name}"
            );
            assert!(
                count(&project::root().join("fuzz/seeds").join(&name)).unwrap() > 0,
                "{name}"
            );
        }
    }

    #[test]
    fn the_runs_are_in_the_last_line() {
        assert_eq!(runs("INFO: x\nDone 12345 runs in 21 second(s)\n"), Some(12345));
        assert_eq!(runs("==1== ERROR: libFuzzer: deadly signal\n"), None);
    }
}
