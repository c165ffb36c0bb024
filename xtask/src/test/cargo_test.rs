//! Runs `cargo test` with its output shown, and counts.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::Tally;

/// Runs it. A run that fails without a failed test (it did not compile, or died) counts as one failure.
pub fn run(command: &mut Command) -> Result<Tally> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo test")?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line.context("read the output of cargo test")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some(counted) = parse(&line) {
                tally += counted;
            }
        }
    }
    let status = child.wait().context("wait for cargo test")?;
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

/// Reads a line like `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
fn parse(line: &str) -> Option<Tally> {
    let counts = line.trim_start().strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |word: &str| {
        counts
            .split("; ")
            .find_map(|part| part.trim().strip_suffix(word)?.trim_end().parse::<u64>().ok())
    };
    Some(Tally {
        passed: count("passed")?,
        failed: count("failed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Tally, parse};

    #[test]
    fn counts_are_read_from_result_lines_alone() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.29s";
        assert_eq!(parse(line), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(parse("test a::b ... ok"), None);
        assert_eq!(parse("running 3 tests"), None);
    }
}
