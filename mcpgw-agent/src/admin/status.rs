//! The answers' types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    datapath::status::DatapathStatus,
    resources::{Desired, Policy, Server},
    source::SourceStatus,
};

/// Everything that `mcpgw status` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// The agent's process.
    pub pid: u32,
    /// Seconds since the agent started.
    pub uptime_seconds: u64,
    /// Where the resources come from.
    pub source: SourceStatus,
    /// What the kernel does.
    pub datapath: DatapathStatus,
    /// The servers of the snapshot in force, ordered by name.
    pub servers: Vec<ServerStatus>,
    /// Readiness by component.
    pub components: BTreeMap<String, Component>,
}

/// A server and what governs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// `namespace/name`.
    pub name: String,
    /// Its governed addresses, as `ip:port`.
    pub addresses: Vec<String>,
    /// HTTP path of its MCP endpoint.
    pub path: String,
    /// Names of the policies that govern it, as `namespace/name`.
    pub policies: Vec<String>,
}

/// Whether the agent does its work, by component: the body of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether every component is ready.
    pub ready: bool,
    /// `source`, `datapath` and `plan`.
    pub components: BTreeMap<String, Component>,
}

/// Whether one component does its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Whether it does.
    pub ready: bool,
    /// What it does, or what keeps it from it.
    pub message: String,
}

impl Component {
    pub(super) fn new(ready: bool, message: impl Into<String>) -> Self {
        Self {
            ready,
            message: message.into(),
        }
    }
}

pub(super) fn servers(desired: &Desired) -> Vec<ServerStatus> {
    let status = |server: &Server| ServerStatus {
        name: server.name.to_string(),
        addresses: server.addresses().iter().map(ToString::to_string).collect(),
        path: server.path.to_string(),
        policies: desired
            .policies
            .iter()
            .filter(|p| governs(p, server))
            .map(|p| p.name.to_string())
            .collect(),
    };
    desired.servers.iter().map(|server| status(server)).collect()
}

fn governs(policy: &Policy, server: &Server) -> bool {
    policy.name.namespace == server.name.namespace
        && (policy.targets.is_empty() || policy.targets.contains(&server.name.name))
}
