//! How the demo is shown: as a story while it happens, or as one JSON object at the end.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::scene::{CALLER, SERVER, Scene};
use crate::ui;

/// What a step showed.
#[derive(Default)]
pub struct Seen {
    lines: Vec<String>,
    checks: Vec<Check>,
}

/// One thing that had to be so.
#[derive(Serialize)]
struct Check {
    passed: bool,
    seen: String,
}

impl Seen {
    /// Shows a line that belongs to the story.
    pub fn show(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Notes what was seen, and whether it is what had to be seen.
    pub fn check(&mut self, passed: bool, seen: impl Into<String>) {
        self.checks.push(Check {
            passed,
            seen: seen.into(),
        });
    }
}

/// Collects the steps and prints them.
pub struct Report {
    json: bool,
    outcome: Outcome,
}

#[derive(Serialize)]
struct Outcome {
    passed: bool,
    seconds: f32,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    name: &'static str,
    title: &'static str,
    passed: bool,
    checks: Vec<Check>,
}

impl Report {
    /// Begins.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            outcome: Outcome {
                passed: true,
                seconds: 0.0,
                steps: Vec::new(),
            },
        }
    }

    /// Introduces who plays.
    pub fn scene(&self, scene: &Scene) {
        if self.json {
            return;
        }
        println!(
            "\n{}\n",
            ui::bold("mcpgw: one tool call, from connect() to the audit log")
        );
        let node = format!("{}, network namespace and cgroup, no default route", scene.node.name());
        let agent = format!(
            "{}, an unmodified rmcp client; ServiceAccount {}/{}",
            scene.pod.ipv4(),
            CALLER.0,
            CALLER.1
        );
        let server = format!(
            "{}, an rmcp server with add, echo, get_time and delete_everything",
            scene.server.address()
        );
        for (who, what) in [("node", node), ("agent pod", agent), (SERVER, server)] {
            println!("  {:<17}{}", ui::cyan(format!("{who:<17}")), ui::dim(what));
        }
        println!(
            "  {}",
            ui::dim("✓ and ✗ are what a packet counter in the server's namespace saw, and what both ends said")
        );
    }

    /// Takes a step that was played.
    pub fn step(&mut self, name: &'static str, title: &'static str, seen: Seen) {
        let passed = !seen.checks.is_empty() && seen.checks.iter().all(|check| check.passed);
        if !self.json {
            println!(
                "\n{} {}",
                ui::bold(format!("{}.", self.outcome.steps.len() + 1)),
                ui::bold(title)
            );
            for line in &seen.lines {
                println!("     {}", ui::dim(line));
            }
            for check in &seen.checks {
                println!("   {} {}", ui::mark(check.passed), check.seen);
            }
        }
        self.outcome.passed &= passed;
        self.outcome.steps.push(Step {
            name,
            title,
            passed,
            checks: seen.checks,
        });
    }

    /// Takes a step that could not be played.
    pub fn failure(&mut self, name: &'static str, title: &'static str, error: &anyhow::Error) {
        let mut seen = Seen::default();
        seen.check(false, format!("{error:#}"));
        self.step(name, title, seen);
    }

    /// Sums up.
    pub fn end(&mut self, took: Duration) -> Result<()> {
        self.outcome.seconds = took.as_secs_f32();
        let Outcome { passed, steps, .. } = &self.outcome;
        if self.json {
            println!("{}", serde_json::to_string(&self.outcome)?);
            return Ok(());
        }
        let good = steps.iter().filter(|step| step.passed).count();
        let time = ui::dim(format!("in {}", ui::time(took)));
        println!(
            "\n{} {} {time}",
            ui::mark(*passed),
            ui::bold(format!("{good} of {} steps seen", steps.len()))
        );
        Ok(())
    }

    /// Whether every step was seen.
    pub fn passed(&self) -> bool {
        self.outcome.passed
    }
}
