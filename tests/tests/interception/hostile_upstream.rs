//! A server that means harm: answers that never end, heads that are no heads, lengths that are lies. Whoever called it
//! gets an error or a broken answer, in time; it costs little, by number, and callers of other servers do not notice.

use std::{net::SocketAddr, thread};

use anyhow::{Result, anyhow};
use mcpgw_tests::{Footprint, McpPeer, Node, Pod, resources, until};
use serde_json::{Value, json};

use crate::{governed::post, hostile::KNOWN};

/// Callers of each kind at a time.
const CALLERS: usize = 10;
/// Longer than a call may take.
const HOLD: &str = "15000";
/// Memory that a hostile server's answers may cost at a time, in kB: an event of each caller that is looked into may
/// be 16 MiB, and none of them is held for longer than its call.
const MOST: i64 = 256 * 1024;

/// What callers of a tool get: HTTP statuses, redirected and at the gateway, and whether their connections end.
struct Expected {
    tool: &'static str,
    statuses: (&'static str, &'static str),
    cut: bool,
}

const fn whole(tool: &'static str, status: &'static str) -> Expected {
    Expected {
        tool,
        statuses: (status, status),
        cut: false,
    }
}

/// An answer that never comes to its end: at the gateway, which waits for all of it where something in it changes, it
/// is an error.
const fn broken(tool: &'static str, at_gateway: &'static str) -> Expected {
    Expected {
        tool,
        statuses: ("200", at_gateway),
        cut: true,
    }
}

const ALL: [Expected; 10] = [
    whole("fine", "200"),
    broken("endless-event", "200"),
    broken("endless-body", "502"),
    whole("giant-header", "502"),
    whole("many-headers", "502"),
    whole("bad-header", "502"),
    whole("long-body", "200"),
    broken("short-body", "502"),
    broken("drip", "502"),
    whole("silent", "504"),
];

fn call(pod: &Pod, address: SocketAddr, tool: &str) -> Result<Value> {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}});
    let (address, callers) = (address.to_string(), CALLERS.to_string());
    let arguments = ["crowd", &address, "--connections", &callers, "--hold", HOLD];
    pod.probe(&arguments, &post(&call.to_string()))
}

#[test]
fn a_hostile_server_harms_nobody_but_its_callers() -> Result<()> {
    let node = Node::new()?;
    let hostile = node.server("hostile", McpPeer::Hostile)?;
    let kind = node.server("kind", McpPeer::Rmcp)?;
    let agents = node.pod("agents").build()?;
    let gateway = SocketAddr::from((agents.gateway_ipv4(), 8080));
    let timeouts = "  timeouts: {connect: 2s, firstByte: 3s, idle: 3s, call: 8s}\n";
    let documents = [
        resources::gateway(gateway),
        resources::mcp_server("tools", "hostile", &[hostile.address()], "/mcp") + timeouts,
        resources::mcp_server("tools", "kind", &[kind.address()], "/mcp"),
        resources::workload("tools", "agents", &agents, "enforce"),
    ];
    node.configure("node.yaml", &documents)?;
    let agent = node.agent()?;
    until(KNOWN, "both servers to be known", || {
        let status = agent.status().unwrap_or_default();
        let offers = status["offers"].as_array();
        offers.is_some_and(|offers| offers.len() == 2 && offers.iter().all(|offers| offers["state"] == "Ready"))
    })?;
    let before = Footprint::of(&agent)?;
    let ways = [("redirected", hostile.address(), ""), ("gateway", gateway, "hostile_")];
    thread::scope(|scope| {
        let mut callers = Vec::new();
        for (way, address, prefix) in ways {
            for expected in &ALL {
                let agents = &agents;
                let tool = format!("{prefix}{}", expected.tool);
                callers.push((way, expected, scope.spawn(move || call(agents, address, &tool))));
            }
        }
        let mut peak = 0;
        for round in 0..8 {
            let sum = agents.mcp(&kind.url()).call("add", json!({"a": 1, "b": round}))?;
            assert_eq!(sum.text(), Some((1 + round).to_string().as_str()), "{sum:?}");
            let url = format!("http://{gateway}/mcp");
            let sum = agents.mcp(&url).call("kind_add", json!({"a": 2, "b": round}))?;
            assert_eq!(sum.text(), Some((2 + round).to_string().as_str()), "{sum:?}");
            peak = peak.max((&Footprint::of(&agent)? - &before).kilobytes);
        }
        for (way, Expected { tool, statuses, cut }, caller) in callers {
            let fared = caller.join().map_err(|_| anyhow!("a caller panicked"))??;
            let status = if way == "gateway" { statuses.1 } else { statuses.0 };
            assert_eq!(fared["statuses"], json!({status: CALLERS}), "{way}, {tool}: {fared}");
            assert!(
                !cut || way == "gateway" || fared["ends"]["open"].is_null(),
                "{way}, {tool}: {fared}"
            );
        }
        println!(
            "{} callers of a hostile server: {peak} kB more at the most",
            2 * ALL.len() * CALLERS
        );
        assert!(peak < MOST, "{peak} kB more");
        anyhow::Ok(())
    })?;
    Ok(())
}
