//! `cargo xtask stress`: the stress test at its full length.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::suites;

/// Runs many short connections over few local ports, some aborted, some with the agent dead. `cargo xtask test`
/// runs a shorter one.
#[derive(Args)]
pub struct Stress {
    /// Connections in all.
    #[arg(long, default_value_t = 60_000)]
    connections: u64,
}

impl Stress {
    /// Runs it.
    pub fn run(&self) -> Result<ExitCode> {
        let tally = suites::stress(self.connections)?;
        println!("{} passed, {} failed", tally.passed, tally.failed);
        Ok(if tally.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
