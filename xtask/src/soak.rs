//! `cargo xtask soak`: many clients for minutes, while their servers are killed and restarted at random. No answer is
//! lost or another's, and nothing grows.

use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use mcpgw_tests::{Agent, Footprint, McpPeer, Node, Pod, Process, Server, binary, resources, until};
use serde::Deserialize;
use serde_json::Value;

use crate::ui;

/// Clients at a time.
const CLIENTS: usize = 64;
/// The servers, each behind its own address and behind the gateway: three of both eras, one of each.
const SERVERS: [(&str, McpPeer); 5] = [
    ("first", McpPeer::Conformance),
    ("second", McpPeer::Conformance),
    ("third", McpPeer::Conformance),
    ("modern", McpPeer::Modern),
    ("legacy", McpPeer::Everything),
];
/// A resource that changes when it is told to.
const WATCHED: &str = "test://watched-resource";
/// How long the load runs undisturbed, before and after.
const QUIET: Duration = Duration::from_secs(10);
/// A server stays away for up to this long, and then none is killed for up to this long.
const DISTURBANCE: Duration = Duration::from_secs(3);
/// For the agent to know what all servers offer.
const KNOWN: Duration = Duration::from_secs(90);
/// For idle connections and sessions to be given back.
const SETTLED: Duration = Duration::from_secs(120);
/// What may be left: a few idle connections, and the allocator's mood.
const MAX_DESCRIPTORS: i64 = 16;
/// As [`MAX_DESCRIPTORS`], in kB.
const MAX_KILOBYTES: i64 = 32 * 1024;

/// Runs 64 clients of both eras against five servers, of both eras and of one, redirected and through the gateway, with
/// streams, questions, subscriptions and reconnects, while the servers are killed and restarted at random. Every answer carries its call's
/// nonce: errors are counted, a wrong or a lost answer fails. Needs root.
#[derive(Args)]
pub struct Soak {
    /// How long servers are killed and restarted.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
}

/// What the clients report.
#[derive(Debug, Deserialize)]
struct Report {
    calls: u64,
    streams: u64,
    questions: u64,
    heard: u64,
    connections: u64,
    lost: Vec<String>,
    wrong: Vec<String>,
    errors: Value,
}

/// The fields end in this order.
struct Scene {
    agent: Agent,
    pod: Pod,
    servers: Vec<Server>,
    gateway: SocketAddr,
    _node: Node,
}

impl Scene {
    fn new() -> Result<Self> {
        let node = Node::new()?;
        let servers: Vec<Server> = SERVERS
            .iter()
            .map(|(name, peer)| node.server(name, *peer))
            .collect::<Result<_>>()?;
        let pod = node.pod("agent").build()?;
        let gateway = SocketAddr::from((pod.gateway_ipv4(), 8080));
        let mut documents = vec![
            resources::gateway(gateway),
            resources::workload("tools", "research", &pod, "enforce"),
        ];
        let named = SERVERS.iter().zip(&servers);
        documents
            .extend(named.map(|((name, _), server)| resources::mcp_server("tools", name, &[server.address()], "/mcp")));
        node.configure("node.yaml", &documents)?;
        let agent = node.agent()?;
        let scene = Self {
            agent,
            pod,
            servers,
            gateway,
            _node: node,
        };
        scene.known()?;
        Ok(scene)
    }

    /// Waits until the agent knows what all servers offer.
    fn known(&self) -> Result<()> {
        until(KNOWN, "all servers to be known", || {
            let status = self.agent.status().unwrap_or_default();
            let offers = status["offers"].as_array();
            offers.is_some_and(|offers| offers.iter().all(|offers| offers["state"] == "Ready"))
        })
    }

    /// Starts the clients for a time.
    fn load(&self, time: Duration) -> Result<Process> {
        let mut command: Command = self.pod.command(binary("soak-client")?)?;
        for ((name, peer), server) in SERVERS.iter().zip(&self.servers) {
            let (kind, uri) = match peer {
                McpPeer::Modern => ("modern", WATCHED),
                McpPeer::Everything => ("everything", ""),
                _ => ("both", WATCHED),
            };
            // All but the first have another URI for it at the gateway.
            let shown = match (*name, uri) {
                ("first", _) | (_, "") => uri.to_owned(),
                _ => format!("mcpgw+tools+{name}+{uri}"),
            };
            command.arg(format!("{kind},,{},{uri}", server.address()));
            command.arg(format!("{kind}+,{name}_,{},{shown}", self.gateway));
        }
        command.args([
            "--clients",
            &CLIENTS.to_string(),
            "--seconds",
            &time.as_secs().to_string(),
        ]);
        Process::spawn("soak-client", command)
    }

    /// Runs the clients undisturbed; without an error.
    fn quiet(&self, when: &str) -> Result<()> {
        let report = ended(self.load(QUIET)?, QUIET)?;
        tell(when, &report);
        let calm = report.errors.as_object().is_some_and(serde_json::Map::is_empty);
        ensure!(
            calm,
            "{when}: there were errors, and no server was away: {}",
            report.errors
        );
        report.check()
    }
}

impl Report {
    fn check(&self) -> Result<()> {
        ensure!(self.wrong.is_empty(), "wrong answers: {:#?}", self.wrong);
        ensure!(self.lost.is_empty(), "lost answers: {:#?}", self.lost);
        ensure!(
            self.calls > 0 && self.streams > 0 && self.questions > 0 && self.heard > 0,
            "not all kinds of calls were answered: {self:?}"
        );
        Ok(())
    }
}

impl Soak {
    /// Runs it.
    pub fn run(&self) -> Result<ExitCode> {
        mcpgw_tests::privileges::check()?;
        println!("Building the agent and its peers");
        mcpgw_tests::build_binaries()?;
        let mut scene = Scene::new()?;
        scene.quiet("undisturbed")?;
        // What there is once is not what leaks: it is measured after the first load.
        thread::sleep(QUIET);
        let before = Footprint::of(&scene.agent)?;
        let time = Duration::from_secs(self.minutes * 60);
        let load = scene.load(time)?;
        let restarts = disturb(&mut scene.servers, time)?;
        let report = ended(load, time)?;
        tell(&format!("{restarts} restarts of servers"), &report);
        explain(&scene.agent, &report);
        report.check()?;
        scene.known()?;
        scene.quiet("undisturbed again")?;
        let left = settle(&scene.agent, &before)?;
        println!("  {} {}", ui::bold("before"), held(&before));
        println!("  {} {}", ui::bold("more after"), held(&left));
        ensure!(left.kilobytes <= MAX_KILOBYTES, "memory grew by {} kB", left.kilobytes);
        let grown = left.entries.iter().find(|(_, more)| **more > 0);
        ensure!(grown.is_none(), "a map of the kernel grew: {grown:?}");
        println!("{} no answer was lost or another's, and nothing grew", ui::mark(true));
        Ok(ExitCode::SUCCESS)
    }
}

/// What the agent recorded of calls whose answers were lost or another's.
fn explain(agent: &Agent, report: &Report) {
    let bad = report.lost.iter().chain(&report.wrong);
    let nonces: Vec<&str> = bad.filter_map(|what| what.split([' ', ':']).next()).collect();
    if nonces.is_empty() {
        return;
    }
    let is_of = |line: &Value, nonce: &&str| line["requestId"].as_str().is_some_and(|id| id.contains(*nonce));
    for line in agent
        .audit()
        .iter()
        .filter(|line| nonces.iter().any(|nonce| is_of(line, nonce)))
    {
        println!("  recorded: {line}");
    }
}

/// Kills servers and restarts them, for a time; how often.
fn disturb(servers: &mut [Server], time: Duration) -> Result<u64> {
    let end = Instant::now() + time;
    let mut restarts = 0;
    loop {
        thread::sleep(DISTURBANCE.mul_f64(chance()));
        if Instant::now() + DISTURBANCE > end {
            return Ok(restarts);
        }
        let place = (chance() * servers.len() as f64) as usize;
        let server = servers.get_mut(place).context("no server")?;
        server.kill()?;
        thread::sleep(DISTURBANCE.mul_f64(chance()));
        server.restart()?;
        restarts += 1;
    }
}

/// A number from 0 to 1, another one each time.
fn chance() -> f64 {
    let random = RandomState::new().hash_one(0_u8);
    f64::from(random as u32) / (f64::from(u32::MAX) + 1.0)
}

/// Waits for the clients to end; what they report.
fn ended(mut load: Process, time: Duration) -> Result<Report> {
    // A client that waits for an answer gives up after a minute; each may.
    let status = load.wait(time + Duration::from_secs(180))?;
    ensure!(status.success(), "{}", load.epitaph());
    let lines = load.stdout().all();
    let last = lines.last().context("the clients said nothing")?;
    serde_json::from_str(last).with_context(|| format!("parse {last}"))
}

fn tell(when: &str, report: &Report) {
    println!(
        "  {}: {} calls right ({} streamed, {} asked back), {} changes heard of, {} times opened, {} wrong, {} lost, errors {}",
        ui::bold(when),
        report.calls,
        report.streams,
        report.questions,
        report.heard,
        report.connections,
        report.wrong.len(),
        report.lost.len(),
        report.errors
    );
}

fn held(footprint: &Footprint) -> String {
    let entries: Vec<String> = footprint
        .entries
        .iter()
        .map(|(map, count)| format!("{map} {count}"))
        .collect();
    format!(
        "{} kB resident, {} descriptors, map entries: {}",
        footprint.kilobytes,
        footprint.descriptors,
        entries.join(", ")
    )
}

/// Waits until the agent has given back what it held for the clients; what it holds more than before.
fn settle(agent: &Agent, before: &Footprint) -> Result<Footprint> {
    let mut last = None;
    let settled = until(SETTLED, "connections to be given back", || {
        let Ok(now) = Footprint::of(agent) else { return false };
        let more = &now - before;
        let settled = more.descriptors <= MAX_DESCRIPTORS && more.entries.values().all(|more| *more <= 0);
        last = Some(more);
        settled
    });
    settled.with_context(|| format!("the agent holds {last:?} more than before"))?;
    last.context("the agent was not looked at")
}
