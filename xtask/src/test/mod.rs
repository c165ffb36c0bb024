//! `cargo xtask test`: the suites, and one line at the end that says it all.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{setup::Setup, ui};

mod cargo_test;
mod lint;
mod stress;
mod suites;

pub use stress::Stress;

/// Runs test suites. Without a name: sets up what they need, then runs all of them.
///
/// The last line printed is always `N passed, N failed`; the exit code is not 0 if anything failed.
#[derive(Args)]
pub struct Test {
    /// Suites to run, in this order.
    #[arg(value_enum)]
    suites: Vec<Suite>,
}

/// A suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Formatting, clippy, licences and sources of dependencies, file sizes, the committed eBPF object.
    Lint,
    /// Everything that needs no privilege.
    Unit,
    /// The whole call path on real sockets, namespaces and cgroups. Needs root.
    Interception,
    /// Real clients and servers of several SDKs, direct, redirected and through the gateway. Needs root.
    Protocol,
    /// Tokens of a real issuer: its keys change, it dies. Needs root.
    Identity,
    /// Traces and metrics, as a real collector and Prometheus' own tool read them. Needs root.
    Telemetry,
    /// Services outside that are asked about calls: a real rate limit service with Redis, and
    /// Open Policy Agent. Needs root.
    Engines,
}

/// How many tests passed and failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Names of those that failed and what they said, a line each, bounded.
    pub failures: Vec<String>,
}

impl Tally {
    /// Of one check.
    pub fn one(passed: bool) -> Self {
        Self {
            passed: passed.into(),
            failed: (!passed).into(),
            failures: Vec::new(),
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
    }
}

impl Test {
    /// Runs it.
    pub fn run(&self) -> Result<ExitCode> {
        let mut rows = Vec::new();
        let suites = if self.suites.is_empty() {
            let started = Instant::now();
            // What is missing in the end is named here and fails the tests that need it.
            Setup::install().run()?;
            rows.push(("set-up".to_owned(), None, started.elapsed()));
            Suite::value_variants()
        } else {
            &self.suites
        };
        let mut total = Tally::default();
        for suite in suites {
            println!("\n{}", ui::bold(format!("Suite {}", name(*suite))));
            let started = Instant::now();
            let tally = match suite {
                Suite::Lint => lint::run(),
                Suite::Unit => suites::unit()?,
                Suite::Interception => suites::interception()?,
                Suite::Protocol => suites::protocol()?,
                Suite::Identity => suites::identity()?,
                Suite::Telemetry => suites::telemetry()?,
                Suite::Engines => suites::engines()?,
            };
            rows.push((name(*suite), Some((tally.passed, tally.failed)), started.elapsed()));
            total += tally;
        }
        println!();
        for line in &total.failures {
            println!("  {line}");
        }
        for (name, counts, time) in rows {
            let (mark, counts) = match counts {
                Some((passed, failed)) => (ui::mark(failed == 0), format!("{passed:>5} passed {failed:>3} failed")),
                None => (" ".to_owned(), " ".repeat(23)),
            };
            println!("  {mark} {name:<14} {counts}  {}", ui::dim(ui::time(time)));
        }
        println!("{} passed, {} failed", total.passed, total.failed);
        Ok(if total.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn name(suite: Suite) -> String {
    format!("{suite:?}").to_lowercase()
}
