//! A child process whose output is collected line by line, and which does not outlive its handle.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait;

/// A running child. Killed and reaped on drop.
pub struct Process {
    name: String,
    child: Child,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `command` without input, and collects both its outputs.
    pub fn spawn(name: &str, mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("start {name} ({:?})", command.get_program()))?;
        let (stdout, stderr) = (Arc::new(Lines::default()), Arc::new(Lines::default()));
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(collect(pipe, stdout.clone()));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(collect(pipe, stderr.clone()));
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
            readers,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> &Lines {
        &self.stderr
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("ask how {} is", self.name))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process id beyond i32")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Waits until it ends, and until all of its output is collected.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        let status = wait::eventually(limit, &what, || self.child.try_wait().ok().flatten())?;
        for reader in self.readers.drain(..) {
            // The pipe is at its end, unless a grandchild still holds it; then its lines are not waited for.
            if reader.is_finished()
                || wait::until(Duration::from_secs(1), "a pipe's end", || reader.is_finished()).is_ok()
            {
                let _ = reader.join();
            }
        }
        Ok(status)
    }

    /// What to say of it when it did not do what it should: how it ended and the last lines of its output.
    pub fn epitaph(&mut self) -> String {
        let state = match self.child.try_wait() {
            Ok(Some(status)) => match status.signal() {
                Some(signal) => format!("was ended by signal {signal}"),
                None => format!("exited with {}", status.code().unwrap_or(-1)),
            },
            _ => "still runs".to_owned(),
        };
        let tail = |lines: &Lines| {
            let all = lines.all();
            all[all.len().saturating_sub(30)..].join("\n  ")
        };
        format!(
            "{} {state}\n stdout:\n  {}\n stderr:\n  {}",
            self.name,
            tail(&self.stdout),
            tail(&self.stderr)
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(pipe: impl Read + Send + 'static, into: Arc<Lines>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { break };
            into.push(String::from_utf8_lossy(&line).into_owned());
        }
        into.close();
    })
}

/// Lines that arrive, and a way to wait for one.
#[derive(Default)]
pub struct Lines {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    closed: bool,
}

impl Lines {
    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// How many there are: a mark for [`Lines::wait_after`].
    pub fn count(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lines.len()
    }

    /// The first line that `pick` takes, waiting for it at most `limit`.
    pub fn wait_for<T>(&self, limit: Duration, what: &str, pick: impl FnMut(&str) -> Option<T>) -> Result<T> {
        self.wait_after(0, limit, what, pick)
    }

    /// As [`Lines::wait_for`], without the first `mark` lines.
    pub fn wait_after<T>(
        &self,
        mark: usize,
        limit: Duration,
        what: &str,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        let mut seen = mark;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while let Some(line) = state.lines.get(seen) {
                if let Some(found) = pick(line) {
                    return Ok(found);
                }
                seen += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                let why = if state.closed { "the output ended" } else { "time is up" };
                bail!("no line with {what} ({why} after {} lines)", state.lines.len());
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn push(&self, line: String) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lines
            .push(line);
        self.changed.notify_all();
    }

    fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }
}
