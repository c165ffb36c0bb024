//! A node with one server of each kind, an enrolled pod, and the gateway.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use mcpgw_tests::{Agent, McpPeer, Node, Pod, Server, resources, until};

/// For the agent to know what all servers offer.
const KNOWN: Duration = Duration::from_secs(30);

/// What the gateway puts before the names of a server's tools.
pub fn prefix(name: &str) -> String {
    format!("{name}_")
}

/// The fields end in this order.
pub struct Scene {
    #[allow(dead_code, reason = "held while the scene lasts")]
    agent: Agent,
    /// A pod that is governed.
    pub governed: Pod,
    /// A pod that is not.
    pub free: Pod,
    /// The servers, by name.
    pub servers: Vec<(&'static str, Server)>,
    gateway: SocketAddr,
    _node: Node,
}

impl Scene {
    pub fn new(peers: &[(&'static str, McpPeer)]) -> Result<Self> {
        let node = Node::new()?;
        let servers = peers
            .iter()
            .map(|(name, peer)| Ok((*name, node.server(name, *peer)?)))
            .collect::<Result<Vec<_>>>()?;
        let (governed, free) = (node.pod("agent").build()?, node.pod("free").build()?);
        let gateway = SocketAddr::from((governed.gateway_ipv4(), 8080));
        let mut documents = vec![
            resources::gateway(gateway),
            resources::workload("tools", "research", &governed, "enforce"),
        ];
        for (name, server) in &servers {
            documents.push(resources::mcp_server("tools", name, &[server.address()], "/mcp"));
        }
        node.configure("node.yaml", &documents)?;
        let agent = node.agent()?;
        until(KNOWN, "all servers to be known", || {
            let status = agent.status().unwrap_or_default();
            let offers = status["offers"].as_array();
            offers.is_some_and(|offers| offers.iter().all(|offers| offers["state"] == "Ready"))
        })?;
        Ok(Self {
            agent,
            governed,
            free,
            servers,
            gateway,
            _node: node,
        })
    }

    /// The gateway's URL.
    pub fn gateway(&self) -> String {
        format!("http://{}/mcp", self.gateway)
    }
}
