//! One load on one path, and what the proxy's process used for it.

use std::{fs, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use mcpgw_tests::{Pod, Process, tools::variable};
use serde::Deserialize;

use super::{peers::Peer, scene::Scene};

/// Connections of a load, each with one request at a time.
const CONNECTIONS: &str = "16";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Case {
    /// A tool call in a session.
    Call,
    /// A tool call of the modern era.
    CallModern,
    /// A tool call that is answered with a stream of events: three of progress, and the answer.
    CallStreamed,
    /// The tools of three servers with 50 each; of the floor, those of one server with 150.
    ListFederated,
    /// A tool call with 64 KiB of arguments.
    #[value(name = "args_64k")]
    Args64k,
    /// A tool call with a token, decided by conditions on its arguments and claims, and counted by limits.
    CallFullPolicy,
}

/// Which way the load takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// No proxy.
    Direct,
    /// The floor.
    Floor,
    /// Another proxy, which does not look at what it forwards.
    Peer(Peer),
    /// mcpgw, by the server's own address.
    Redirected,
    /// mcpgw, by the gateway's.
    Addressed,
}

/// What one load gave.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// What was asked.
    pub case: Case,
    /// On which way.
    pub path: Path,
    /// Microseconds of the proxy's CPU for each request; 0 for [`Path::Direct`].
    pub cpu_us: f64,
    /// Half of the answers took no longer, in microseconds.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// Answers in a second.
    pub rps: f64,
}

impl Path {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Floor => "floor",
            Self::Peer(peer) => peer.program(),
            Self::Redirected => "redirected",
            Self::Addressed => "addressed",
        }
    }
}

impl Case {
    /// Its name in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::CallModern => "call_modern",
            Self::CallStreamed => "call_streamed",
            Self::ListFederated => "list_federated",
            Self::Args64k => "args_64k",
            Self::CallFullPolicy => "call_full_policy",
        }
    }

    /// The ways that it can take.
    pub fn paths(self) -> &'static [Path] {
        match self {
            Self::ListFederated => &[Path::Direct, Path::Floor, Path::Addressed],
            // The gateway of this scene asks nobody for a token.
            Self::CallFullPolicy | Self::CallStreamed => &[Path::Direct, Path::Floor, Path::Redirected],
            _ => &[
                Path::Direct,
                Path::Floor,
                Path::Peer(Peer::Nginx),
                Path::Peer(Peer::Haproxy),
                Path::Redirected,
                Path::Addressed,
            ],
        }
    }

    fn load(self) -> &'static str {
        match self {
            Self::Call | Self::CallFullPolicy => "call",
            Self::CallModern => "call-modern",
            Self::CallStreamed => "call-streamed",
            Self::ListFederated => "list",
            Self::Args64k => "args64k",
        }
    }
}

/// What the load generator prints.
#[derive(Deserialize)]
struct Loaded {
    requests: u64,
    rps: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Scene {
    /// Loads one way for this long.
    pub fn measure(&self, case: Case, path: Path, milliseconds: u64) -> Result<Sample> {
        let server = match case {
            Case::ListFederated => self.large,
            Case::CallStreamed => self.streamed,
            Case::CallFullPolicy => self.strict,
            _ => self.server,
        };
        let (agent, floor) = self.pids(case);
        let (pod, to, tool, process) = match path {
            Path::Direct => (&self.free, server, "tool_000", None),
            Path::Floor => (&self.free, self.floor(case), "tool_000", Some(floor)),
            Path::Peer(peer) => (&self.free, self.peer(peer), "tool_000", Some(self.peer_pid(peer))),
            Path::Redirected => (&self.governed, server, "tool_000", Some(agent)),
            Path::Addressed => (&self.governed, self.gateway(), "one_tool_000", Some(agent)),
        };
        let before = process.map(cpu_time).transpose()?.unwrap_or_default();
        let loaded = self
            .load(pod, to, case, tool, milliseconds)
            .with_context(|| format!("{} {path:?} on {}: the run is void", case.name(), self.name()))?;
        let used = process.map(cpu_time).transpose()?.unwrap_or_default() - before;
        Ok(Sample {
            case,
            path,
            cpu_us: used.as_secs_f64() * 1e6 / loaded.requests as f64,
            p50_us: loaded.p50_us,
            p99_us: loaded.p99_us,
            rps: loaded.rps,
        })
    }

    fn load(&self, pod: &Pod, to: SocketAddr, case: Case, tool: &str, milliseconds: u64) -> Result<Loaded> {
        let program = variable("MCPGW_TEST_BINARIES").context("the scene is not set")?;
        let mut command = pod.command(std::path::Path::new(&program).join("mcpgw-bench"))?;
        command.args(["load", "--to", &to.to_string(), "--case", case.load(), "--tool", tool]);
        command.args([
            "--connections",
            CONNECTIONS,
            "--milliseconds",
            &milliseconds.to_string(),
        ]);
        if case == Case::CallFullPolicy {
            command.arg("--bearer").arg(self.token());
        }
        let mut process = Process::spawn("load", command)?;
        let ended = process.wait(Duration::from_millis(milliseconds * 2) + Duration::from_secs(20))?;
        ensure!(ended.success(), "{}", process.epitaph());
        let line = process
            .stdout()
            .all()
            .into_iter()
            .last()
            .context("the load said nothing")?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// What all threads of a process have used so far, as the scheduler counts it.
fn cpu_time(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the process has ended")? {
        // A thread may end in between.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let first = text.split_ascii_whitespace().next().unwrap_or("0");
        nanoseconds += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
