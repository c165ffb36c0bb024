//! Runs `cargo test` with its output shown, and counts.

use std::{
    io::{self, BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::Tally;

/// More of what a failed test said is not said again at the end.
const MAX_SAID_LINES: usize = 12;

/// Longer lines are cut there.
const MAX_SAID_WIDTH: usize = 1000;

/// Runs it. A run that fails without a failed test (it did not compile, or died) counts as one failure.
pub fn run(command: &mut Command) -> Result<Tally> {
    // One pipe for both: what a test says of its failure stays where it said it.
    let (output, writer) = io::pipe().context("make a pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("make a pipe")?)
        .stderr(writer)
        .spawn()
        .context("start cargo test")?;
    // The writing ends that it still holds would keep the pipe open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut tally = Tally::default();
    let mut said = Said::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read the output of cargo test")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        said.read(&line);
        if let Some(counted) = parse(&line) {
            tally.passed += counted.passed;
            tally.failed += counted.failed;
        }
    }
    let status = child.wait().context("wait for cargo test")?;
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    if tally.failed > 0 {
        tally.failures = said.failures();
    }
    Ok(tally)
}

/// What failed tests say: the names that the harness lists, and the first lines of each panic and error.
#[derive(Default)]
struct Said {
    failed: Vec<String>,
    messages: Vec<String>,
    /// More lines that belong to the message.
    left: usize,
}

impl Said {
    fn read(&mut self, line: &str) {
        let name = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"));
        if let Some(name) = name {
            self.failed.push(name.to_owned());
            self.left = 0;
        } else if line.starts_with("thread '") && line.contains(" panicked at ") || line.starts_with("Error: ") {
            self.left = MAX_SAID_LINES;
        } else if line.starts_with("stack backtrace:") || line.starts_with("note: run with `RUST_BACKTRACE") {
            self.left = 0;
        }
        if self.left > 0 {
            self.left -= 1;
            self.messages.push(line.chars().take(MAX_SAID_WIDTH).collect());
        }
    }

    fn failures(self) -> Vec<String> {
        let names = self.failed.into_iter().map(|name| format!("failed: {name}"));
        names.chain(self.messages).collect()
    }
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
        failures: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Said, parse};

    #[test]
    fn counts_are_read_from_result_lines_alone() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.29s";
        let counted = parse(line).map(|tally| (tally.passed, tally.failed));
        assert_eq!(counted, Some((12, 3)));
        assert_eq!(parse("test a::b ... ok"), None);
        assert_eq!(parse("running 3 tests"), None);
    }

    #[test]
    fn what_failed_tests_say_is_kept_without_their_backtraces() {
        let mut said = Said::default();
        for line in [
            "thread 'a::b' (12) panicked at tests/a.rs:1:1:",
            "left: 1",
            "stack backtrace:",
            "   0: main",
            "test a::b ... FAILED",
            "test a::c ... ok",
        ] {
            said.read(line);
        }
        let expected = [
            "failed: a::b",
            "thread 'a::b' (12) panicked at tests/a.rs:1:1:",
            "left: 1",
        ];
        assert_eq!(said.failures(), expected);
    }
}
