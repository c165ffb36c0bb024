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
    let mut tally = cargo_test::run(&mut cargo(["--lib", "--bins"]))?;
    tally += cargo_test::run(&mut cargo(["--doc"]))?;
    Ok(tally)
}

/// Everything in `tests/tests`.
pub fn interception() -> Result<Tally> {
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
    cargo_test::run(cargo(["--test", "*"]).env(BUILT, binaries))
}

fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = command::cargo();
    command.args(["test", "--locked", "--no-fail-fast"]).args(arguments);
    command
}
