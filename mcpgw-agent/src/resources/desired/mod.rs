//! What the operator wants, validated: the one snapshot that every source yields and that the datapath
//! and the policy compiler read. Everything in it is well-formed; nothing in it is about YAML or CRDs.
//!
//! ```text
//! server    an MCP server
//! expose    … who sees it at the gateway
//! labels    labels, and what is wanted of them
//! grants    what namespaces may have beyond what is their own
//! settings  node-wide settings
//! ```

mod expose;
mod grants;
mod labels;
mod server;
mod settings;

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, sync::Arc};

pub use expose::*;
pub use grants::*;
pub use labels::*;
pub use server::*;
pub use settings::*;

use super::{Pattern, Policy};

/// By what addresses callers may know the hosts of [`Backend::Host`], by name and port: those that it has, and for a
/// time those that it had. A host that is not in it was not found yet.
pub type HostAddresses = HashMap<(Arc<str>, u16), Vec<SocketAddr>>;

/// One consistent picture of all resources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Rises by one with every accepted change; starts at 1.
    pub generation: u64,
    /// Node-wide settings.
    pub settings: Settings,
    /// Servers, ordered by namespace and name. Two that share an address, or a host and port, differ in their
    /// paths and agree in `clientTLS`, which is decided before a path is known.
    pub servers: Vec<Arc<Server>>,
    /// Servers at places that the settings don't grant their namespaces, in the same order: nothing is done for them.
    pub refused: Vec<Arc<Server>>,
    /// What servers ask for that the settings don't grant, in the order of the servers' names: why each of `refused`
    /// is, and to whom others are not shown.
    pub not_granted: Vec<NotGranted>,
    /// Workloads, ordered by namespace and name; no two share a cgroup.
    pub workloads: Vec<Arc<Workload>>,
    /// Policies: those of the cluster first, then ordered by namespace and name.
    pub policies: Vec<Arc<Policy>>,
    /// Labels of namespaces: servers are shown by them.
    pub namespaces: Arc<NamespaceLabels>,
    /// Virtual servers, ordered by namespace and name; no two have the same name.
    pub catalogs: Vec<Arc<Catalog>>,
}

/// A namespaced name, written `namespace/name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name in it.
    pub name: Arc<str>,
}

impl ObjectName {
    /// What [`Display`](std::fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        Some(Self {
            namespace: namespace.into(),
            name: name.into(),
        })
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A virtual server at `/mcp/<name>` (`MCPCatalog`): a choice of servers and of their tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    /// Its name; the last part of its path.
    pub name: ObjectName,
    /// What it offers. At least one entry; no two are the same server.
    pub servers: Vec<CatalogServer>,
}

/// One server of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogServer {
    /// The server, in the catalog's namespace.
    pub server: ObjectName,
    /// Tools to offer, by the server's own names; empty: all.
    pub include: Vec<Pattern>,
    /// Tools to leave out; wins over `include`.
    pub exclude: Vec<Pattern>,
}

impl CatalogServer {
    /// Whether it offers a tool of the server.
    pub fn offers(&self, tool: &str) -> bool {
        let is_in = |list: &[Pattern]| list.iter().any(|glob| glob.matches(tool));
        (self.include.is_empty() || is_in(&self.include)) && !is_in(&self.exclude)
    }
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
    /// Its dials of governed addresses reach the proxy while there is one, and nothing is refused: what would
    /// have been is only recorded.
    Observe,
    /// Its dials of governed addresses reach the proxy, or nothing.
    Enforce,
}

impl Mode {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}
