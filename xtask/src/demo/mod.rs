//! `cargo xtask demo`: one tool call on its way, with every claim checked by a packet counter in the server's
//! network namespace.
//!
//! ```text
//! bpffs   a BPF file system where the machine has none mounted
//! scene   node, agent pod, server pod, and the agent's configuration
//! steps   what is shown, in order
//! report  how it is shown: for people, or as JSON
//! ```

use std::{
    process::ExitCode,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::ui;

mod bpffs;
mod keep;
mod report;
mod scene;
mod steps;

use report::Report;
use scene::Scene;

/// Exit code after Ctrl-C, as shells have it.
const INTERRUPTION: u8 = 130;

/// What is waited for will not come: Ctrl-C in a terminal has ended the agent as well.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Shows one real tool call redirected by the kernel, governed and recorded. Needs root, and nothing else but Rust
/// and a C compiler.
///
/// Makes a node, an agent pod and a server pod as network namespaces and cgroups, runs an MCP server and an
/// unmodified MCP client in them, and removes everything again. Exit code 0 only if every step was seen.
#[derive(Args)]
pub struct Demo {
    /// Leave it running until Ctrl-C, and print commands to try.
    #[arg(long)]
    keep: bool,
    /// Print one JSON object instead of the story.
    #[arg(long)]
    json: bool,
}

impl Demo {
    /// Runs it.
    pub fn run(&self) -> Result<ExitCode> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the demo needs root: it makes network namespaces and cgroups and loads eBPF programs (sudo -E cargo xtask demo)"
        );
        // Before any thread is started: threads share the mount namespace that they were started in.
        bpffs::ensure()?;
        let interrupted = interruption()?;
        match self.show(&interrupted) {
            // Ctrl-C in a terminal ends the children too, also a build, and then they are what failed.
            Err(_) if interrupted.try_recv().is_ok() => Ok(interruption_code()),
            shown => shown,
        }
    }

    /// Everything is removed when it returns, whatever it returns.
    fn show(&self, interrupted: &Receiver<()>) -> Result<ExitCode> {
        eprintln!("{}", ui::dim("Building mcpgw and its peers"));
        mcpgw_tests::build_binaries()?;

        if interrupted.try_recv().is_ok() {
            return Ok(interruption_code());
        }
        let started = Instant::now();
        let mut report = Report::new(self.json);
        let mut scene = Scene::set()?;
        report.scene(&scene);
        for step in steps::STEPS {
            if interrupted.try_recv().is_ok() {
                return Ok(interruption_code());
            }
            match (step.play)(&mut scene) {
                Ok(seen) => report.step(step.name, step.title, seen),
                Err(_) if interrupted.try_recv().is_ok() => return Ok(interruption_code()),
                Err(error) => report.failure(step.name, step.title, &error),
            }
        }
        report.end(started.elapsed())?;
        if self.keep {
            keep::commands(&scene)?;
            let _ = interrupted.recv();
        }
        drop(scene);
        Ok(if report.passed() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Tells of SIGINT and SIGTERM, instead of ending without cleaning up.
fn interruption() -> Result<Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    let tell = move || {
        INTERRUPTED.store(true, Ordering::Relaxed);
        // Nobody listens any more when the demo is ending anyhow.
        let _ = sender.send(());
    };
    ctrlc::set_handler(tell).context("handle SIGINT and SIGTERM")?;
    Ok(receiver)
}

fn interruption_code() -> ExitCode {
    eprintln!("\n{}", ui::dim("interrupted; everything is removed"));
    INTERRUPTION.into()
}
