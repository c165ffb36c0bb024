//! Many short connections over few local ports, aborted ones among them, with the agent killed in between:
//! nobody gets another's answer or identity, nobody gets through, and nothing grows.
//!
//! `MCPGW_STRESS_CONNECTIONS` sets how many; `cargo xtask stress` runs 60,000.

use std::{
    collections::{HashMap, HashSet},
    fs,
    time::Duration,
};

use anyhow::{Context, Result};
use mcpgw_tests::{Agent, McpPeer, resources, tools::variable, until};
use serde_json::{Value, json};

use crate::scene::{SOON, Scene};

const DEFAULT_CONNECTIONS: u64 = 18_000;

/// For idle connections to be closed.
const SETTLED: Duration = Duration::from_secs(15);

/// What must not grow.
#[derive(Debug, PartialEq)]
struct Footprint {
    handoffs: u64,
    descriptors: usize,
    kilobytes: u64,
}

impl Footprint {
    /// Up to what a few open connections and the allocator's mood take.
    fn is_no_more_than(&self, earlier: &Self) -> bool {
        self.descriptors <= earlier.descriptors + 16 && self.kilobytes <= earlier.kilobytes + 8_192
    }
}

fn footprint(agent: &mut Agent) -> Result<Footprint> {
    let status = agent.status()?;
    let maps = status["datapath"]["maps"].as_array().context("no maps")?.clone();
    let handoffs = maps
        .iter()
        .find(|map| map["name"] == "HANDOFFS")
        .context("no HANDOFFS")?;
    let pid = agent.process().pid();
    let memory = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = memory
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(Footprint {
        handoffs: handoffs["entries"].as_u64().context("no entries")?,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        kilobytes: resident.trim().trim_end_matches(" kB").trim().parse()?,
    })
}

/// Every audited call carries one workload's identity throughout its process: a call's id begins with the pid
/// that made it, in the pod's own words, and the kernel's pid beside it belongs to one workload.
fn assert_identities(agent: &Agent, first: &str, second: &str) -> Result<()> {
    let mut workloads: HashMap<String, HashSet<(String, u64)>> = HashMap::new();
    for line in agent.audit().iter().filter(|line| line["event"] == "tool_call") {
        let id = line["requestId"].as_str().context("a call without an id")?;
        let process = id.split('-').next().unwrap_or(id).to_owned();
        let workload = line["identity"]["workload"]
            .as_str()
            .context("a call without a workload")?
            .to_owned();
        let pid = line["identity"]["pid"].as_u64().context("a call without a pid")?;
        workloads.entry(process).or_default().insert((workload, pid));
    }
    for (process, seen) in &workloads {
        assert_eq!(seen.len(), 1, "calls of process {process} were recorded as of {seen:?}");
        for (workload, pid) in seen {
            assert_eq!(*process, pid.to_string(), "the kernel saw another process");
            assert!([first, second].contains(&workload.as_str()), "{workload}");
        }
    }
    assert!(workloads.len() >= 2, "both workloads were recorded: {workloads:?}");
    Ok(())
}

#[test]
fn few_ports_many_connections_and_no_confusion() -> Result<()> {
    let connections = variable("MCPGW_STRESS_CONNECTIONS")
        .map_or(Ok(DEFAULT_CONNECTIONS), |text| text.to_string_lossy().parse())
        .context("MCPGW_STRESS_CONNECTIONS is no number")?;
    let mut scene = Scene::with(McpPeer::Echo, &[], |_| Ok(()))?;
    let second = scene.node.server("second", McpPeer::Echo)?;
    scene.node.configure(
        "second.yaml",
        &[resources::mcp_server("tools", "second", &second.addresses(), "/mcp")],
    )?;
    until(SOON, "the second server to be governed", || {
        let dialled = scene.pod.connect(second.address(), &[]);
        dialled.is_ok_and(|d| d.connected) && second.direct_from(&scene.pod) == 0
            || scene
                .agent
                .status()
                .is_ok_and(|s| s["servers"].as_array().is_some_and(|all| all.len() == 2))
    })?;
    let other = scene.node.pod("other").build()?;
    scene.node.configure(
        "other.yaml",
        &[resources::workload("agents", "other", &other, "enforce")],
    )?;
    scene.await_state("agents/other", "enforced")?;
    let settled = second.direct_from(&scene.pod);
    scene.pod.sysctl("net/ipv4/ip_local_port_range", "40000 40999")?;
    let targets = [
        format!("{}=calculator", scene.server.address()),
        format!("{}=second", second.address()),
        format!("{}=calculator", scene.server.address_v6()),
    ];
    let run = |scene: &Scene, count: u64| {
        let count = count.to_string();
        let mut arguments = vec!["stress"];
        arguments.extend(targets.iter().map(String::as_str));
        arguments.extend(["--connections", &count, "--concurrency", "64", "--abort-every", "7"]);
        std::thread::scope(|scope| {
            // Another workload meanwhile: the same ports and listener address, in another namespace.
            let beside =
                scope.spawn(|| other.probe::<Value>(&[&arguments[..2], &["--connections", "300"]].concat(), b""));
            let report = scene.pod.probe::<Value>(&arguments, b"");
            let beside = beside
                .join()
                .unwrap_or_else(|_| anyhow::bail!("the other workload panicked"))?;
            assert_eq!(beside["wrong"], json!([]), "{beside}");
            report
        })
    };

    // A first part fills pools and caches, so that growth can be told from warming up.
    run(&scene, connections / 9)?;
    let before = footprint(&mut scene.agent)?;
    let alive = run(&scene, connections / 3)?;
    scene.agent.kill()?;
    let dead = run(&scene, connections / 9)?;
    scene.agent.restart()?;
    run(&scene, connections / 9)?;
    let restarted = footprint(&mut scene.agent)?;
    let again = run(&scene, connections / 3)?;

    for report in [&alive, &dead, &again] {
        assert_eq!(report["wrong"], json!([]), "an answer of another connection: {report}");
        assert_eq!(report["failed"], json!({}), "{report}");
        assert_eq!(report["statuses"], json!({}), "{report}");
    }
    assert_eq!(dead["answered"], 0, "{dead}");
    assert_eq!(
        dead["refused"].as_u64(),
        Some(connections / 9),
        "while the agent is dead all are refused: {dead}"
    );
    for report in [&alive, &again] {
        assert!(report["aborted"].as_u64() > Some(0), "{report}");
        let whole = report["answered"].as_u64().unwrap_or(0) + report["aborted"].as_u64().unwrap_or(0);
        assert_eq!(
            whole,
            connections / 3,
            "every connection that was not aborted was answered: {report}"
        );
    }
    assert_eq!(scene.server.direct_from(&scene.pod), 0, "a direct packet");
    assert_eq!(scene.server.direct_from(&other), 0, "a direct packet");
    assert_identities(&scene.agent, scene.pod.name(), other.name())?;
    assert_eq!(second.direct_from(&scene.pod), settled, "a direct packet");
    assert_eq!(
        scene.server.counter().lost() + second.counter().lost(),
        0,
        "the counter missed packets"
    );

    // What goes away by itself (idle connections of the pools do, within seconds) has not grown.
    let mut after = footprint(&mut scene.agent)?;
    let settled = until(SETTLED, "nothing to have grown", || {
        footprint(&mut scene.agent).is_ok_and(|now| {
            after = now;
            after.handoffs == 0
                && [&before, &restarted]
                    .iter()
                    .all(|earlier| after.is_no_more_than(earlier))
        })
    });
    println!("before {before:?}\nrestarted {restarted:?}\nafter {after:?}\nalive {alive}\ndead {dead}\nagain {again}");
    settled
}
