//! A node with one server of each kind, an enrolled pod, and the gateway.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use mcpgw_tests::{Agent, McpPeer, Node, Pod, Server, resources, until};

/// For the agent to know what all servers offer.
pub const KNOWN: Duration = Duration::from_secs(30);
/// The gateway's port.
const PORT: u16 = 8080;
/// The namespace of the pod that is only observed.
const OBSERVED: &str = "observed";

/// How a client reaches a server, other than without mcpgw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It dials the server's own address, and is governed.
    Redirected,
    /// It dials the gateway.
    Gateway,
    /// It dials the server's own address, and is only observed; nothing is allowed.
    Observed,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Redirected, Self::Gateway, Self::Observed];

    /// Its name in a table.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// What the gateway puts before the names of a server's tools.
pub fn prefix(name: &str) -> String {
    format!("{name}_")
}

/// The fields end in this order.
pub struct Scene {
    /// The agent.
    pub agent: Agent,
    governed: Pod,
    observed: Pod,
    /// A pod that is not governed.
    pub free: Pod,
    /// The servers, by name.
    pub servers: Vec<(&'static str, Server)>,
    gateway: SocketAddr,
    _node: Node,
}

impl Scene {
    /// With these servers, each under a prefix.
    pub fn new(peers: &[(&'static str, McpPeer)]) -> Result<Self> {
        Self::with(peers, |name, server| {
            let document = match server {
                server if server.is_sse() => resources::sse_server,
                server if server.is_http2() => resources::http2_server,
                _ => resources::mcp_server,
            };
            document("tools", name, &[server.address()], server.path())
        })
    }

    /// With one server, whose names the gateway leaves as they are.
    pub fn unprefixed(name: &'static str, peer: McpPeer) -> Result<Self> {
        Self::with(&[(name, peer)], |name, server| {
            resources::unprefixed_server("tools", name, server.address(), "/mcp")
        })
    }

    fn with(peers: &[(&'static str, McpPeer)], document: impl Fn(&str, &Server) -> String) -> Result<Self> {
        let node = Node::new()?;
        let servers = peers
            .iter()
            .map(|(name, peer)| Ok((*name, node.server(name, *peer)?)))
            .collect::<Result<Vec<_>>>()?;
        let (governed, free) = (node.pod("agent").build()?, node.pod("free").build()?);
        let observed = node.pod("watched").build()?;
        let gateway = SocketAddr::from((governed.gateway_ipv4(), PORT));
        let origin = format!("http://localhost:{PORT}");
        let deny = format!("{{action: Deny, from: [{{namespaces: [{OBSERVED}]}}]}}");
        let mut documents = vec![
            resources::gateway_for_browsers(gateway, &[&origin]),
            resources::workload("tools", "research", &governed, "enforce"),
            resources::workload(OBSERVED, "watched", &observed, "observe"),
            resources::policy("tools", "rules", &["{action: Allow}", &deny]),
        ];
        documents.extend(servers.iter().map(|(name, server)| document(name, server)));
        node.configure("node.yaml", &documents)?;
        let agent = node.agent()?;
        until(KNOWN, "all servers to be known", || {
            let status = agent.status().unwrap_or_default();
            let offers = status["offers"].as_array();
            offers.is_some_and(|offers| offers.iter().all(|offers| offers["state"] == "Ready"))
        })
        .with_context(|| format!("{}", agent.status().unwrap_or_default()["offers"]))?;
        Ok(Self {
            agent,
            governed,
            observed,
            free,
            servers,
            gateway,
            _node: node,
        })
    }

    /// The pod that goes this way.
    pub fn pod(&self, way: Way) -> &Pod {
        match way {
            Way::Observed => &self.observed,
            Way::Redirected | Way::Gateway => &self.governed,
        }
    }

    /// Where a client that goes this way dials a server.
    pub fn address(&self, way: Way, server: &Server) -> SocketAddr {
        match way {
            Way::Gateway => self.gateway,
            Way::Redirected | Way::Observed => server.address(),
        }
    }

    /// As [`Scene::address`], as a URL.
    pub fn url(&self, way: Way, server: &Server) -> String {
        let path = if way == Way::Gateway { "/mcp" } else { server.path() };
        format!("http://{}{path}", self.address(way, server))
    }
}
