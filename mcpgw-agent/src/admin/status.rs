//! The answers' types.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    datapath::status::DatapathStatus,
    discovery::Offers,
    engines::EngineStatus,
    identity::jwt::IssuerStatus,
    pins::PinCount,
    policy::doubts,
    resources::{Backend, Capture, Captured, Catalog, Desired, Expose, HostAddresses, Namespaces, Server, captured},
    source::SourceStatus,
    upstream::Reach,
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
    /// The gateway's own listeners; `None` where there are none.
    pub gateway: Option<GatewayStatus>,
    /// Fields of `ClusterMCPSettings` that have changed and take a restart, for example
    /// `spec.gateway.listen`: what they were when the agent started stays in force.
    pub restart_needed: Vec<String>,
    /// The servers of the snapshot in force, ordered by name.
    pub servers: Vec<ServerStatus>,
    /// What they offer, in their order.
    pub offers: Vec<Offers>,
    /// Servers whose tools are pinned, ordered by name, with how many of their tools are what was approved.
    pub pins: Vec<PinCount>,
    /// The catalogs of the snapshot in force, ordered by name.
    pub catalogs: Vec<CatalogStatus>,
    /// The issuers whose tokens are believed, in the order of the settings.
    pub issuers: Vec<IssuerStatus>,
    /// Services outside that are asked about calls.
    pub engines: Vec<EngineStatus>,
    /// Readiness by component.
    pub components: BTreeMap<String, Component>,
}

/// A server and what governs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// `namespace/name`.
    pub name: String,
    /// Its addresses, as `ip:port`; for a host the one `name:port`.
    pub addresses: Vec<String>,
    /// Where its host is now, as `ip:port`; none for a server that is at addresses.
    pub found: Vec<String>,
    /// What is wrong with the way there, or doubtful about its rules; a sentence each.
    pub problems: Vec<String>,
    /// HTTP path of its MCP endpoint.
    pub path: String,
    /// `StreamableHTTP` or `SSE`.
    pub transport: String,
    /// What stands before the names of its tools at the gateway.
    pub prefix: String,
    /// What is to become of direct dials: `Redirect`, `GatewayOnly` or `Off`.
    pub capture: String,
    /// How far the kernel knows its addresses: `Full`, `BestEffort(DNS)` for a host, which a caller may know by an
    /// address that DNS has not told us, `Off` where direct dials are left alone, or `NotGranted` where its namespace
    /// may have no server there, and nothing is done for it.
    pub programmed: String,
    /// Namespaces beside its own whose callers see it at the gateway; `*` for all.
    pub exposed_to: Vec<String>,
    /// Names of the policies that govern it, as `namespace/name`; those of the cluster as `name`.
    pub policies: Vec<String>,
}

/// The gateway's own listeners, as they are in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Where it listens, as `ip:port`.
    pub listen: Vec<String>,
    /// Whether it serves TLS.
    pub tls: bool,
    /// Why its certificate, as it stands now, cannot be used; `None` if it is in force.
    pub certificate_error: Option<String>,
    /// How callers prove who they are: `Attested`, `Token`, `AttestedAndToken`, `Any` or `None`.
    pub authentication: String,
    /// Origins of browsers that may call.
    pub allowed_origins: Vec<String>,
}

/// A catalog and what it offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogStatus {
    /// `namespace/name`.
    pub name: String,
    /// Its path at the gateway.
    pub path: String,
    /// Its servers, as `namespace/name`.
    pub servers: Vec<String>,
}

/// Whether the agent does its work, by component: the body of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether every component is ready.
    pub ready: bool,
    /// `source`, `datapath`, `plan` and `audit`; `traces` where they are exported.
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

pub(super) fn servers(desired: &Desired, hosts: &HostAddresses, reach: impl Fn(&Server) -> Reach) -> Vec<ServerStatus> {
    let captured = captured(desired.servers.iter().map(Arc::as_ref), hosts);
    let status = |server: &Server, programmed: &str, Reach { found, mut problems }: Reach| {
        let not_granted = desired.not_granted.iter().filter(|told| told.server == server.name);
        problems.extend(not_granted.map(ToString::to_string));
        ServerStatus {
            name: server.name.to_string(),
            addresses: server.places(),
            found,
            problems,
            path: server.path.to_string(),
            transport: server.transport.as_str().to_owned(),
            prefix: server.prefix.to_string(),
            capture: server.capture.as_str().to_owned(),
            programmed: programmed.to_owned(),
            exposed_to: match &server.expose_to {
                Expose::Own => Vec::new(),
                Expose::Namespaces(namespaces) => namespaces.iter().map(ToString::to_string).collect(),
                Expose::Selected { by, within } => match within {
                    Namespaces::All => vec![format!("namespaces with {by}")],
                    Namespaces::These(granted) => {
                        let mut shown = granted.clone();
                        shown.retain(|namespace| by.selects_namespace(namespace, &desired.namespaces));
                        shown.iter().map(ToString::to_string).collect()
                    }
                },
                Expose::Everyone => vec!["*".to_owned()],
            },
            policies: desired
                .policies
                .iter()
                .filter(|policy| policy.governs(server))
                .map(|policy| policy.title())
                .collect(),
        }
    };
    let served = desired.servers.iter().map(|server| {
        let mut reach = reach(server);
        reach.problems.extend(overruled(server, hosts, &captured));
        reach.problems.extend(doubts(server, desired));
        status(server, programmed(server), reach)
    });
    let refused = desired.refused.iter();
    let mut all: Vec<ServerStatus> = served
        .chain(refused.map(|server| status(server, NOT_GRANTED, Reach::default())))
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// [`ServerStatus::programmed`] of a server that the settings don't grant its place.
const NOT_GRANTED: &str = "NotGranted";

fn programmed(server: &Server) -> &'static str {
    match (server.capture, &server.backend) {
        (Capture::Off, _) => "Off",
        (_, Backend::Addresses { .. }) => "Full",
        (_, Backend::Host { .. }) => "BestEffort(DNS)",
    }
}

/// Where direct dials get something stricter than the server asks for, because another server is there as well.
fn overruled(server: &Server, hosts: &HostAddresses, captured: &HashMap<SocketAddr, Captured<'_>>) -> Vec<String> {
    let stricter = server.is_at(hosts).iter().filter_map(|address| {
        let Captured { capture, by } = captured.get(address).filter(|found| found.capture > server.capture)?;
        let capture = capture.as_str();
        Some(format!(
            "direct dials of {address} get capture {capture}: {by} is there as well and asks for that"
        ))
    });
    stricter.collect()
}

pub(super) fn catalogs(desired: &Desired) -> Vec<CatalogStatus> {
    let status = |catalog: &Catalog| CatalogStatus {
        name: catalog.name.to_string(),
        path: format!("/mcp/{}", catalog.name.name),
        servers: catalog.servers.iter().map(|entry| entry.server.to_string()).collect(),
    };
    desired.catalogs.iter().map(|catalog| status(catalog)).collect()
}

pub(super) fn gateway(desired: &Desired, certificate_error: Option<String>) -> Option<GatewayStatus> {
    let gateway = desired.settings.gateway.as_ref()?;
    Some(GatewayStatus {
        listen: gateway.listen.iter().map(ToString::to_string).collect(),
        tls: gateway.tls.is_some(),
        certificate_error,
        authentication: gateway.authentication.as_str().to_owned(),
        allowed_origins: gateway.allowed_origins.iter().map(ToString::to_string).collect(),
    })
}
