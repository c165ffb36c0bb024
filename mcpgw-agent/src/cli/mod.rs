//! The command line: one file per command.
//!
//! ```text
//! log        the agent's log, on standard error
//! options    flags that several commands share, and their parsers
//! run        mcpgw run: what it is given, and the order in which it starts
//! agent      the running agent: how its parts are wired, how it stops
//! check      mcpgw check
//! status     mcpgw status; `render` makes the text, `table` aligns it
//! terminal   text that others chose, on a terminal
//! explain    mcpgw explain
//! keys       mcpgw keys
//! pins       mcpgw pins
//! uninstall  mcpgw uninstall
//! ```

mod agent;
mod check;
mod explain;
mod keys;
mod log;
mod options;
mod pins;
mod render;
mod run;
mod status;
mod table;
mod terminal;
#[cfg(test)]
mod tests;
mod uninstall;

use std::{
    ffi::OsStr,
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::source::LoadErrors;

/// Wrong usage or a bad configuration; clap exits with it too.
const BAD_CONFIGURATION: u8 = 2;

/// Governs MCP traffic on a node, where the kernel hands it over.
///
/// Applications keep their code and their URLs: eBPF programs send a governed workload's connections to
/// this agent, which decides each tool call by policy, forwards it and records it.
///
/// Exit codes: 0 success, 1 failure, 2 bad configuration or usage.
#[derive(Debug, Parser)]
#[command(name = "mcpgw", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Status(status::Status),
    Explain(explain::Explain),
    Keys(keys::Keys),
    Pins(pins::Pins),
    Uninstall(uninstall::Uninstall),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let matches = without_empty_variables(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Run(command) => command.execute(),
        Command::Check(command) => command.execute(),
        Command::Status(command) => command.execute(),
        Command::Explain(command) => command.execute(),
        Command::Keys(command) => command.execute(),
        Command::Pins(command) => command.execute(),
        Command::Uninstall(command) => command.execute(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("mcpgw: {}", terminal::visible(&describe(&error)));
        ExitCode::FAILURE
    })
}

/// A variable of the environment that is empty is one that is not set, for every flag.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|flag| match flag.get_env().is_some_and(is_empty) {
            true => flag.env(None::<&str>),
            false => flag,
        })
        .mut_subcommands(without_empty_variables)
}

/// An error with its causes, each said once: many of ours name their cause themselves.
fn describe(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |text, cause| match text.is_empty() {
            true => cause,
            false if text.contains(&cause) => text,
            false => format!("{text}: {cause}"),
        })
}

/// Tells what is wrong with the configuration, a line each. Gives the exit code for it.
fn refuse(errors: &LoadErrors) -> ExitCode {
    for line in errors.lines() {
        eprintln!("{}", terminal::visible(&line));
    }
    ExitCode::from(BAD_CONFIGURATION)
}

/// Prints to standard output. Who reads may stop reading (`| head`): that is no failure of ours.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let text = terminal::visible(text);
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
