//! The agent under test: `mcpgw run` on the node, outside of the pods' cgroup.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{HttpAnswer, Node, Process, http, mounts, wait};

/// Where health and metrics are, in the node's network namespace: each node has its own, so the port is free.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);
/// For the agent to become ready, or to end when told to.
const LIMIT: Duration = Duration::from_secs(15);

/// How to start an agent.
#[derive(Clone, Debug, Default)]
pub struct AgentOptions {
    /// Arguments after `mcpgw run`; directories and addresses are set by environment.
    pub arguments: Vec<String>,
    /// Further environment, for example `RUST_LOG`.
    pub environment: Vec<(String, String)>,
    /// Ask this name server, in place of the machine's.
    pub name_server: Option<IpAddr>,
    /// Return at once instead of waiting for `/readyz`.
    pub without_waiting: bool,
}

/// A running agent. Killed on drop, which leaves its pins to the node's own clean-up.
pub struct Agent {
    node: Node,
    options: AgentOptions,
    process: Process,
}

impl Agent {
    pub(crate) fn start(node: &Node, options: AgentOptions) -> Result<Self> {
        let process = spawn(node, &options)?;
        let mut agent = Self {
            node: node.clone(),
            options,
            process,
        };
        if !agent.options.without_waiting {
            agent.ready()?;
        }
        Ok(agent)
    }

    /// Waits until `/readyz` says so.
    pub fn ready(&mut self) -> Result<()> {
        let answer = wait::eventually(LIMIT, "the agent to be ready", || match self.get("/readyz") {
            Ok(answer) if answer.status == 200 => Some(Ok(())),
            _ if !matches!(self.process.ended(), Ok(None)) => Some(Err(())),
            _ => None,
        });
        match answer {
            Ok(Ok(())) => Ok(()),
            _ => bail!("the agent did not become ready: {}", self.process.epitaph()),
        }
    }

    /// Kills it as the kernel's OOM killer would, and waits until it is gone.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(LIMIT)
    }

    /// Tells it to end, and waits until it has.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(LIMIT)
    }

    /// Starts a new process with the same options, killing the old one if it still runs; waits for readiness.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.ended()?.is_none() {
            self.kill()?;
        }
        self.process = spawn(&self.node, &self.options)?;
        self.ready()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its process: output, end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// `GET` on its admin address.
    pub fn get(&self, path: &str) -> Result<HttpAnswer> {
        http::get(self.node.netns(), ADMIN, path)
    }

    /// All metrics, in Prometheus' text form.
    pub fn metrics(&self) -> Result<String> {
        let answer = self.get("/metrics")?;
        ensure!(answer.status == 200, "/metrics answered {}", answer.status);
        Ok(answer.body)
    }

    /// The sum of a metric's series that carry all of `labels`; 0 if there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let wanted: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let metrics = self.metrics()?;
        let series = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']));
        let matching = series.filter(|rest| wanted.iter().all(|label| rest.contains(label.as_str())));
        let values = matching.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok());
        Ok(values.sum())
    }

    /// What `mcpgw status --json` says.
    pub fn status(&self) -> Result<Value> {
        let output = self
            .node
            .mcpgw()?
            .args(["status", "--json"])
            .output()
            .context("run mcpgw status")?;
        ensure!(
            output.status.success(),
            "mcpgw status: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).context("parse mcpgw status --json")
    }

    /// Audit lines so far: the JSON objects on its standard output.
    pub fn audit(&self) -> Vec<Value> {
        self.process
            .stdout()
            .all()
            .iter()
            .filter_map(|line| object(line))
            .collect()
    }

    /// A mark: audit lines written until now are before it.
    pub fn audit_mark(&self) -> usize {
        self.process.stdout().count()
    }

    /// The first audit line after `mark` that `matches`, waited for.
    pub fn audit_after(&self, mark: usize, what: &str, matches: impl Fn(&Value) -> bool) -> Result<Value> {
        self.process
            .stdout()
            .wait_after(mark, Duration::from_secs(5), what, |line| {
                object(line).filter(|line| matches(line))
            })
    }
}

fn object(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(Value::is_object)
}

fn spawn(node: &Node, options: &AgentOptions) -> Result<Process> {
    let mut command = node.mcpgw()?;
    command.env("MCPGW_METRICS_ADDRESS", ADMIN.to_string());
    command.envs(options.environment.iter().map(|(key, value)| (key, value)));
    command.arg("run").args(&options.arguments);
    if let Some(server) = options.name_server {
        let file = node.state_directory().join("resolv.conf");
        fs::write(&file, format!("nameserver {server}\n")).with_context(|| format!("write {}", file.display()))?;
        mounts::over(&mut command, file, c"/etc/resolv.conf")?;
    }
    Process::spawn("mcpgw run", command)
}
