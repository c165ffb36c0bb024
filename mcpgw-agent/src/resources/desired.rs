//! What the operator wants, validated: the one snapshot that every source yields and that the datapath
//! and the policy compiler read. Everything in it is well-formed; nothing in it is about YAML or CRDs.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use super::Pattern;

/// One consistent picture of all resources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Rises by one with every accepted change; starts at 1.
    pub generation: u64,
    /// Node-wide settings.
    pub settings: Settings,
    /// Servers, ordered by namespace and name; no two share an address.
    pub servers: Vec<Arc<Server>>,
    /// Workloads, ordered by namespace and name; no two share a cgroup.
    pub workloads: Vec<Arc<Workload>>,
    /// Policies, ordered by namespace and name.
    pub policies: Vec<Arc<Policy>>,
}

/// Node-wide settings (`ClusterMCPSettings`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What an unknown workload gets when it dials a governed address.
    pub unknown_workloads: UnknownWorkloads,
}

/// What a process outside every enrolled workload gets when it dials a governed address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownWorkloads {
    /// `ECONNREFUSED`.
    Refuse,
    /// The connection goes direct. The default of the standalone agent.
    #[default]
    Pass,
}

/// A namespaced name, written `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name in it.
    pub name: Arc<str>,
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An MCP server (`MCPServer`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: ObjectName,
    /// Where it listens: every one of them is a governed address. At least one.
    pub addresses: Vec<SocketAddr>,
    /// HTTP path of its MCP endpoint, normalised, beginning with `/`.
    pub path: Arc<str>,
}

/// A workload to govern (`Workload`; standalone only, in Kubernetes these are pods).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its name. The namespace is part of the identity that it stands for.
    pub name: ObjectName,
    /// The ServiceAccount that it stands for, in its namespace.
    pub service_account: Arc<str>,
    /// Its cgroup, as a path below the cgroup v2 mount, beginning with `/`.
    pub cgroup: PathBuf,
    /// How its network namespace is found.
    pub network_namespace: NetworkNamespace,
    /// Whether it is governed.
    pub mode: Mode,
}

/// How a workload's network namespace is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkNamespace {
    /// A file that names it, for example below `/run/netns`.
    Path(PathBuf),
    /// The one that the processes of the workload's cgroup are in.
    OfCgroup,
}

/// Whether a workload is governed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Its direct dials are left alone.
    Off,
    /// Its dials of governed addresses reach the proxy, or nothing.
    Enforce,
}

/// Which tools a caller may use (`MCPPolicy`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name; it governs servers of its own namespace.
    pub name: ObjectName,
    /// Names of the servers that it governs, in its namespace; empty: all of them.
    pub targets: Vec<Arc<str>>,
    /// Its rules, in the order of the file. A policy with rules turns the default to deny.
    pub rules: Vec<Rule>,
}

/// One rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it does. A denial wins over any number of permissions.
    pub action: Action,
    /// Whom it is about; empty: everyone.
    pub from: Vec<Caller>,
    /// Tools by glob; empty: every tool.
    pub tools: Vec<Pattern>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Permits.
    Allow,
    /// Forbids.
    Deny,
}

/// Whom a rule is about: all fields that are set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Namespaces of the workload; empty: any.
    pub namespaces: Vec<Arc<str>>,
    /// ServiceAccounts, as `namespace/name`; empty: any.
    pub service_accounts: Vec<ObjectName>,
}
