//! The project's own tasks. `cargo xtask --help` lists them.
#![warn(missing_docs)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod bpf;
mod command;
mod demo;
mod fuzz;
mod project;
mod setup;
mod soak;
mod test;
mod ui;
mod versions;

/// Tasks of the mcpgw workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what tests and the eBPF build need and what is missing.
    Setup(setup::Setup),
    /// Builds the eBPF object and records what it was built from.
    Bpf(bpf::Bpf),
    /// Runs the test suites; without a name, sets up and runs all.
    Test(test::Test),
    /// Runs the stress test at its full length.
    Stress(test::Stress),
    /// Measures what a call costs, beside a bare reverse proxy.
    Bench(bench::Bench),
    /// Runs many clients for minutes while servers are killed and restarted.
    Soak(soak::Soak),
    /// Fuzzes the parsers for a bounded time.
    Fuzz(fuzz::Fuzz),
    /// Shows one tool call on its way through the kernel, the proxy and the policy.
    Demo(demo::Demo),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Setup(setup) => setup.run(),
        Task::Bpf(bpf) => bpf.run(),
        Task::Test(test) => test.run(),
        Task::Stress(stress) => stress.run(),
        Task::Bench(bench) => bench.run(),
        Task::Soak(soak) => soak.run(),
        Task::Fuzz(fuzz) => fuzz.run(),
        Task::Demo(demo) => demo.run(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{} {error:#}", ui::cross());
            ExitCode::FAILURE
        }
    }
}
