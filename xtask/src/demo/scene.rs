//! The scene: a node, an agent pod and a server pod, and the documents that say what shall hold.

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::{Result, ensure};
use mcpgw_tests::{Agent, McpAnswer, McpPeer, Node, Pod, Server, resources, until};
use serde_json::Value;

use super::INTERRUPTED;

/// For a change of the configuration to be in force.
const SOON: Duration = Duration::from_secs(5);

/// Namespace and name of the server.
pub const SERVER: &str = "tools/calculator";
/// Namespace and ServiceAccount of the agent pod.
pub const CALLER: (&str, &str) = ("agents", "research");

/// Everything on the node. The fields are dropped in this order.
pub struct Scene {
    /// `mcpgw run`.
    pub agent: Agent,
    /// Where the client runs.
    pub pod: Pod,
    /// Where the server runs.
    pub server: Server,
    /// What they are on.
    pub node: Node,
}

/// What has reached the server so far.
#[derive(Clone, Copy)]
pub struct Arrived {
    /// Connections opened by the pod itself.
    pub direct: u64,
    /// Connections opened by the node.
    pub node: u64,
    /// Packets of any kind that the pod sent.
    pub packets: u64,
}

impl Scene {
    /// Sets it: the workload is known, and its mode is `off`.
    pub fn set() -> Result<Self> {
        let node = Node::new()?;
        let server = node.server("calculator", McpPeer::Rmcp)?;
        let pod = node.pod("assistant").build()?;
        configure(&node, &server, &pod, "off")?;
        let agent = node.agent()?;
        Ok(Self {
            agent,
            pod,
            server,
            node,
        })
    }

    /// Changes the workload's mode while the agent runs, and waits until it is in force.
    pub fn mode(&self, mode: &str, state: &str) -> Result<()> {
        configure(&self.node, &self.server, &self.pod, mode)?;
        let interrupted = || INTERRUPTED.load(Ordering::Relaxed);
        until(SOON, &format!("the workload to be {state}"), || {
            interrupted()
                || self.agent.status().is_ok_and(|status| {
                    let workloads = status.pointer("/datapath/workloads").and_then(Value::as_array);
                    workloads.is_some_and(|all| all.iter().any(|workload| workload["state"] == state))
                })
        })?;
        ensure!(!interrupted(), "interrupted");
        Ok(())
    }

    /// Calls a tool: always the same client, with the same URL.
    pub fn call(&self, tool: &str, arguments: &Value) -> Result<McpAnswer> {
        self.pod.mcp(&self.server.url()).call(tool, arguments.clone())
    }

    /// Reads the counter in the server's namespace.
    pub fn arrived(&self) -> Arrived {
        let counter = self.server.counter();
        Arrived {
            direct: self.server.direct_from(&self.pod),
            node: self.server.from_node(),
            packets: counter.packets_from(self.pod.ipv4()) + counter.packets_from(self.pod.ipv6()),
        }
    }
}

fn configure(node: &Node, server: &Server, pod: &Pod, mode: &str) -> Result<()> {
    let (namespace, name) = SERVER.split_once('/').unwrap_or(("default", SERVER));
    let rules = [
        "{action: Allow, tools: [\"*\"]}",
        "{action: Deny, tools: [\"delete_everything\"]}",
    ];
    let documents = [
        resources::mcp_server(namespace, name, &server.addresses(), "/mcp"),
        resources::workload(CALLER.0, CALLER.1, pod, mode),
        resources::policy(namespace, "no-deletion", &rules),
    ];
    node.configure("demo.yaml", &documents)
}
