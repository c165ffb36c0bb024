//! What most tests begin with: a server, a pod that is governed, and an agent.

use std::time::Duration;

use anyhow::{Context, Result};
use mcpgw_tests::{Agent, McpPeer, Node, Pod, Server, resources, until};
use serde_json::Value;

/// For a change to be seen and carried out.
pub const SOON: Duration = Duration::from_secs(5);

/// A node with one server (`tools/NAME`), one governed pod (`agents/agent`, ServiceAccount `research`), and an
/// agent that is ready. The fields end in this order.
pub struct Scene {
    pub agent: Agent,
    pub pod: Pod,
    pub server: Server,
    pub node: Node,
}

impl Scene {
    /// With this server, and a policy that allows every tool but those that begin with `delete_`.
    pub fn new(peer: McpPeer) -> Result<Self> {
        Self::with(
            peer,
            &[
                "{action: Allow, tools: [\"*\"]}",
                "{action: Deny, tools: [\"delete_*\"]}",
            ],
            |_| Ok(()),
        )
    }

    /// With these rules, and whatever `prepare` does to the node before the agent starts.
    pub fn with(peer: McpPeer, rules: &[&str], prepare: impl FnOnce(&Node) -> Result<()>) -> Result<Self> {
        let node = Node::new()?;
        let server = node.server("calculator", peer)?;
        let pod = node.pod("agent").build()?;
        let mut documents = vec![
            resources::mcp_server("tools", "calculator", &server.addresses(), "/mcp"),
            resources::workload("agents", "research", &pod, "enforce"),
        ];
        if !rules.is_empty() {
            documents.push(resources::policy("tools", "rules", rules));
        }
        node.configure("node.yaml", &documents)?;
        prepare(&node)?;
        let agent = node.agent()?;
        Ok(Self {
            agent,
            pod,
            server,
            node,
        })
    }

    /// Waits until a metric has reached `least`: the kernel's counters are read at every tick.
    pub fn await_metric(&self, name: &str, labels: &[(&str, &str)], least: f64) -> Result<()> {
        until(SOON, &format!("{name} {labels:?} to reach {least}"), || {
            self.agent.metric(name, labels).is_ok_and(|count| count >= least)
        })
    }

    /// Waits for a workload's state, as `mcpgw status` writes it.
    pub fn await_state(&self, workload: &str, wanted: &str) -> Result<()> {
        await_state(&self.agent, workload, wanted)
    }
}

/// Waits for a workload's state, as `mcpgw status` writes it.
pub fn await_state(agent: &Agent, workload: &str, wanted: &str) -> Result<()> {
    let mut last = String::new();
    until(SOON, &format!("{workload} to be {wanted}"), || {
        last = state(agent, workload).unwrap_or_else(|error| error.to_string());
        last == wanted
    })
    .with_context(|| format!("{workload} is {last}"))
}

/// A workload's state.
pub fn state(agent: &Agent, workload: &str) -> Result<String> {
    let status = agent.status()?;
    let workloads = status["datapath"]["workloads"]
        .as_array()
        .context("no workloads in the status")?;
    let found = workloads
        .iter()
        .find(|known| known["name"] == workload)
        .context("no such workload")?;
    Ok(found["state"].as_str().context("a state that is no text")?.to_owned())
}

/// Whether an audit line is about a tool call with this outcome.
pub fn tool_call<'a>(tool: &'a str, outcome: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |line| line["event"] == "tool_call" && line["tool"] == tool && line["outcome"] == outcome
}
