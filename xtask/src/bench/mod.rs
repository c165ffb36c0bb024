//! `cargo xtask bench`: what a call costs, beside the floor, in one run.
//!
//! ```text
//! scene    the node: servers, the floor, mcpgw, and the pods that load comes from
//! peers    other proxies, beside it
//! measure  one load on one path, and what the proxy's process used for it
//! flat     whether many rules and many budgets cost more than few
//! report   medians, ratios, the table and the line of JSON
//! ```

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::{command, setup, ui};

mod flat;
mod measure;
mod peers;
mod report;
mod scene;

use flat::Flat;
use measure::{Case, Sample};
use scene::Scene;

/// Measures mcpgw against the floor (a bare reverse proxy with a pooled upstream and one look at the JSON), and beside
/// nginx and HAProxy as plain reverse proxies, in one run. Release build; needs root.
///
/// Times are those of this machine while it did this; ratios are what to compare. A run with a wrong answer is void.
#[derive(Args)]
pub struct Bench {
    /// Short: under a minute after the build.
    #[arg(long)]
    quick: bool,
    /// Only this; may be given several times.
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<Case>,
}

/// For mcpgw to give back what starting took.
const SETTLE: Duration = Duration::from_secs(2);

/// Builds what is measured in release mode, and the one program of the fixtures that is not; a directory with all of
/// them.
fn programs() -> Result<PathBuf> {
    println!("Building mcpgw and its company in release mode: minutes, the first time");
    build(&["--release", "-p", "mcpgw-agent", "-p", "mcpgw-bench"])?;
    build(&["-p", "mcpgw-peers", "--bin", "pod-probe"])?;
    let target = crate::project::target()?;
    let directory = target.join("bench");
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    for (profile, name) in [("release", "mcpgw"), ("release", "mcpgw-bench"), ("debug", "pod-probe")] {
        let link = directory.join(name);
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link).with_context(|| format!("remove {}", link.display()))?;
        }
        symlink(target.join(profile).join(name), &link).with_context(|| format!("make {}", link.display()))?;
    }
    Ok(directory)
}

fn build(arguments: &[&str]) -> Result<()> {
    let mut build = command::cargo();
    build.args(["build", "--locked"]).args(arguments);
    ensure!(build.status().context("run cargo")?.success(), "cargo build failed");
    Ok(())
}

impl Bench {
    /// Runs it. The last line printed is one line of JSON.
    pub fn run(&self) -> Result<ExitCode> {
        mcpgw_tests::privileges::check().context("the bench needs what the tests on real sockets need")?;
        setup::bench_peers().context("nginx and HAProxy are measured beside mcpgw")?;
        let scene = Scene::set(&programs()?)?;
        thread::sleep(SETTLE);
        let idle = scene.resident_megabytes()?;
        let (rounds, milliseconds) = if self.quick { (3, 350) } else { (5, 4_000) };
        let cases = match self.cases.is_empty() {
            true => Case::value_variants(),
            false => &self.cases,
        };
        let mut samples: Vec<Sample> = Vec::new();
        for round in 1..=rounds {
            println!("{}", ui::dim(format!("round {round} of {rounds}")));
            // Interleaved, so that what the machine does beside falls on all alike.
            for case in cases {
                for path in case.paths() {
                    samples.push(scene.measure(*case, *path, milliseconds)?);
                }
            }
        }
        // That is added to the call with a policy.
        let flat = cases.contains(&Case::CallFullPolicy).then(Flat::measure).transpose()?;
        report::print(&samples, flat.as_ref(), idle, scene.resident_megabytes()?);
        Ok(ExitCode::SUCCESS)
    }
}
