//! The suites that cargo runs. All of them build the same set of packages, so that cargo compiles each dependency
//! once, in one profile.

use std::process::Command;

use anyhow::Result;

use super::{Tally, cargo_test};
use crate::{command, ui};

/// Set for the tests, so that they do not build the programs that they start again.
const BUILT: &str = "MCPGW_TEST_BINARIES";

/// Tests beside the code, and examples in documentation.
pub fn unit() -> Result<Tally> {
    let mut tally = cargo_test::run(&mut cargo(["--lib", "--bins", "--test", "decide"]))?;
    tally += cargo_test::run(&mut cargo(["--doc"]))?;
    Ok(tally)
}

/// The way of a call, and the fixtures that every suite uses.
pub fn interception() -> Result<Tally> {
    on_real_sockets(&mut cargo(["--test", "fixtures", "--test", "interception"]))
}

/// Clients and servers of several SDKs.
pub fn protocol() -> Result<Tally> {
    on_real_sockets(&mut cargo(["--test", "protocol", "--", "--nocapture"]))
}

/// Tokens of a real issuer.
pub fn identity() -> Result<Tally> {
    on_real_sockets(&mut cargo(["--test", "identity"]))
}

/// What is remembered, read back.
pub fn telemetry() -> Result<Tally> {
    on_real_sockets(&mut cargo(["--test", "telemetry"]))
}

/// Services outside that are asked about calls.
pub fn engines() -> Result<Tally> {
    on_real_sockets(&mut cargo(["--test", "engines"]))
}

/// The stress test alone, with this many connections.
pub fn stress(connections: u64) -> Result<Tally> {
    let mut command = cargo(["--test", "interception", "--", "stress::", "--nocapture"]);
    on_real_sockets(command.env("MCPGW_STRESS_CONNECTIONS", connections.to_string()))
}

fn on_real_sockets(command: &mut Command) -> Result<Tally> {
    if let Err(missing) = mcpgw_tests::privileges::check() {
        println!(
            "{} these tests need more than this process has: {missing:#}",
            ui::cross()
        );
        return Ok(Tally::one(false));
    }
    println!("Building the agent and its peers");
    let binaries = match mcpgw_tests::build_binaries() {
        Ok(binaries) => binaries,
        Err(error) => {
            println!("{} {error:#}", ui::cross());
            return Ok(Tally::one(false));
        }
    };
    cargo_test::run(command.env(BUILT, binaries))
}

fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = command::cargo();
    command.args(["test", "--locked", "--no-fail-fast"]).args(arguments);
    command
}
