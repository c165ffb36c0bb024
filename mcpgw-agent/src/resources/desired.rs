//! What the operator wants, validated: the one snapshot that every source yields and that the datapath
//! and the policy compiler read. Everything in it is well-formed; nothing in it is about YAML or CRDs.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use super::{Authentication, Credential, ExtAuthz, Issuer, JsonPath, Pattern, Policy, RateLimitService};

/// By what addresses callers may know the hosts of [`Backend::Host`], by name and port: those that it has, and for a
/// time those that it had. A host that is not in it was not found yet.
pub type HostAddresses = HashMap<(Arc<str>, u16), Vec<SocketAddr>>;

/// Labels of an object, by their keys.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// What a selector wants of one label (`matchExpressions`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRequirement {
    /// The label's key.
    pub key: Arc<str>,
    /// What is wanted of its value.
    pub operator: Operator,
    /// Values, for [`Operator::In`] and [`Operator::NotIn`]: at least one; else none.
    pub values: Vec<Arc<str>>,
}

/// What is wanted of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// It is there, with one of the values.
    In,
    /// It is not there, or has another value.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

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
    /// Workloads, ordered by namespace and name; no two share a cgroup.
    pub workloads: Vec<Arc<Workload>>,
    /// Policies: those of the cluster first, then ordered by namespace and name.
    pub policies: Vec<Arc<Policy>>,
    /// Virtual servers, ordered by namespace and name; no two have the same name.
    pub catalogs: Vec<Arc<Catalog>>,
}

/// Node-wide settings (`ClusterMCPSettings`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What an unknown workload gets when it dials a governed address.
    pub unknown_workloads: UnknownWorkloads,
    /// The gateway's own listeners; `None`: there are none, and only redirected calls are served.
    pub gateway: Option<Gateway>,
    /// File with the keys that seal session ids and cursors; `None`: one below the agent's state directory.
    pub session_keys: Option<PathBuf>,
    /// Directory with what was approved of tools' definitions; `None`: one below the agent's state directory.
    pub pins: Option<PathBuf>,
    /// Where clients reach the gateway, without the `/mcp` and without a slash at its end:
    /// `https://mcp.example`. Tokens may be made for it.
    pub public_url: Option<Arc<str>>,
    /// Whose tokens are believed; no two have the same name.
    pub issuers: Vec<Arc<Issuer>>,
    /// How the audit log is kept.
    pub audit: AuditSettings,
    /// What counts calls for the whole cluster; `None`: nothing does, and no limit asks for it.
    pub rate_limit_service: Option<Arc<RateLimitService>>,
    /// What is asked about each request that the rules allow; `None`: nothing is.
    pub ext_authz: Option<Arc<ExtAuthz>>,
}

/// How the audit log is kept; changes while it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Whether lines go to the OpenTelemetry collector too.
    pub exported: bool,
    /// What becomes of a line for which there is no room.
    pub on_full: OnFull,
    /// Size of a file at which the next one is begun, in bytes.
    pub max_size: u64,
    /// How many full files are kept beside the one that is written.
    pub keep: u32,
    /// What of calls' arguments it has; `None`: nothing.
    pub payloads: Option<Arc<Payloads>>,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            exported: false,
            on_full: OnFull::default(),
            max_size: 100_000_000,
            keep: 5,
            payloads: None,
        }
    }
}

/// What of calls' arguments is in the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payloads {
    /// What is taken out of them.
    pub redact: Vec<JsonPath>,
    /// Size of those that are left out whole when they are larger, in bytes, before and after that.
    pub max_bytes: usize,
}

impl Default for Payloads {
    fn default() -> Self {
        Self {
            redact: Vec::new(),
            max_bytes: 4096,
        }
    }
}

/// What becomes of an audit line for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// It is counted as lost, and the call goes on.
    #[default]
    Count,
    /// None is lost: new requests wait, and are refused when that takes long.
    Block,
}

/// The gateway's own listeners, with many servers behind `/mcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Where it listens. At least one. What is not on loopback is a governed address too, so that enrolled
    /// workloads are attested there as well.
    pub listen: Vec<SocketAddr>,
    /// Certificate to serve TLS with; `None`: plain HTTP.
    pub tls: Option<Certificate>,
    /// Origins of browsers that may call, beside none at all: `https://console.example`.
    pub allowed_origins: Vec<Arc<str>>,
    /// How callers prove who they are.
    pub authentication: Authentication,
}

/// A certificate chain and its key, in PEM files. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Certificate {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
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

/// An MCP server (`MCPServer`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: ObjectName,
    /// Its labels, by which policies select it.
    pub labels: Labels,
    /// Where it is.
    pub backend: Backend,
    /// HTTP path of its MCP endpoint, normalised, beginning with `/`. With [`Transport::Sse`]: of its stream.
    pub path: Arc<str>,
    /// How it speaks MCP.
    pub transport: Transport,
    /// What the gateway puts before the names of its tools and prompts; may be empty.
    pub prefix: Arc<str>,
    /// TLS towards it; `None`: plain HTTP.
    pub tls: Option<UpstreamTls>,
    /// What becomes of TLS that a client speaks to one of its addresses.
    pub client_tls: ClientTls,
    /// Whether TLS that names another than its host passes unread at its captured addresses (`otherNames: Pass`).
    pub passes_other_names: bool,
    /// How long its answers may take.
    pub timeouts: Timeouts,
    /// Paths beside the endpoint that callers may read (GET and HEAD), as written in `otherPaths`.
    pub other_paths: Vec<Arc<str>>,
    /// Namespaces beside its own whose callers see it at the gateway.
    pub expose_to: Expose,
    /// What becomes of direct dials.
    pub capture: Capture,
    /// What it is shown in place of what callers show; `None`: what callers who dialled it themselves show, and
    /// nothing at the gateway.
    pub credential: Option<Arc<Credential>>,
    /// What becomes of a tool whose definition is another than was approved.
    pub pin: Pin,
    /// Whether it is believed that a tool is as harmless as its annotations say.
    pub trust_annotations: bool,
}

impl Server {
    /// A server at these addresses, with the defaults for all else.
    pub fn at(name: ObjectName, addresses: Vec<SocketAddr>) -> Self {
        Self {
            prefix: format!("{}_", name.name).into(),
            name,
            labels: Labels::new(),
            backend: Backend::Addresses { addresses, h2c: false },
            path: "/mcp".into(),
            transport: Transport::default(),
            tls: None,
            client_tls: ClientTls::default(),
            passes_other_names: true,
            timeouts: Timeouts::default(),
            other_paths: Vec::new(),
            expose_to: Expose::default(),
            capture: Capture::Redirect,
            credential: None,
            pin: Pin::default(),
            trust_annotations: false,
        }
    }

    /// The addresses that it was given; none for a [`Backend::Host`], whose addresses are found by DNS.
    pub fn addresses(&self) -> &[SocketAddr] {
        match &self.backend {
            Backend::Addresses { addresses, .. } => addresses,
            Backend::Host { .. } => &[],
        }
    }

    /// The name of its host; `None` for a server at addresses.
    pub fn host(&self) -> Option<&Arc<str>> {
        match &self.backend {
            Backend::Addresses { .. } => None,
            Backend::Host { name, .. } => Some(name),
        }
    }

    /// Whether its host has this name, in any spelling.
    pub fn is_host(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.host().is_some_and(|host| host.eq_ignore_ascii_case(name))
    }

    /// Whether callers' tokens are exchanged for others on the way to it.
    pub fn exchanges_tokens(&self) -> bool {
        matches!(self.credential.as_deref(), Some(Credential::TokenExchange(_)))
    }

    /// Where it is, in words of the operator's: its addresses, or its host and port.
    pub fn places(&self) -> Vec<String> {
        match &self.backend {
            Backend::Addresses { addresses, .. } => addresses.iter().map(ToString::to_string).collect(),
            Backend::Host { name, port, .. } => vec![format!("{name}:{port}")],
        }
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// At these addresses, each of them a whole replica.
    Addresses {
        /// At least one.
        addresses: Vec<SocketAddr>,
        /// Whether it speaks HTTP/2 without TLS (`appProtocol: kubernetes.io/h2c`).
        h2c: bool,
    },
    /// At a name that DNS knows.
    Host {
        /// The name.
        name: Arc<str>,
        /// The port.
        port: u16,
        /// As for addresses.
        h2c: bool,
    },
}

impl Backend {
    /// Whether it speaks HTTP/2 without TLS.
    pub const fn is_h2c(&self) -> bool {
        match self {
            Self::Addresses { h2c, .. } | Self::Host { h2c, .. } => *h2c,
        }
    }
}

/// How a server speaks MCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP: revisions 2025-03-26 and later.
    #[default]
    StreamableHttp,
    /// HTTP+SSE of revision 2024-11-05.
    Sse,
}

impl Transport {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StreamableHttp => "StreamableHTTP",
            Self::Sse => "SSE",
        }
    }
}

/// TLS towards a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// Name that its certificate must have, and the SNI; `None`: the backend's host name, or the address.
    pub server_name: Option<Arc<str>>,
    /// PEM file with the authorities that are trusted; `None`: the system's.
    pub authorities: Option<PathBuf>,
}

/// What becomes of TLS that a client speaks to a governed address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientTls {
    /// The connection is closed: what cannot be read is not forwarded.
    #[default]
    Refuse,
    /// It is ended here with this certificate, and its calls are governed.
    Terminate(Certificate),
    /// It goes on unread; who may connect at all is all that is decided.
    Passthrough,
}

/// How long a server may take. Zero is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To take a connection.
    pub connect: Duration,
    /// From a sent request to the head of its answer.
    pub first_byte: Duration,
    /// Silence within an answer, also of an event stream.
    pub idle: Duration,
    /// From a sent request to the end of its answer; does not hold for streams that only carry notifications.
    pub call: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(3600),
            call: Duration::from_secs(3600),
        }
    }
}

/// Namespaces whose callers see a server at the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expose {
    /// Its own namespace only.
    #[default]
    Own,
    /// These as well.
    Namespaces(Vec<Arc<str>>),
    /// Everyone (`namespaces: ["*"]`).
    Everyone,
}

/// What becomes of direct dials of a server's addresses.
///
/// Of servers that share an address the strictest capture holds for it: that is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capture {
    /// They are left alone. The default for a host.
    Off,
    /// They reach the proxy. The default for addresses.
    Redirect,
    /// They are refused: the server is reached through the gateway only.
    GatewayOnly,
}

impl Capture {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redirect => "Redirect",
            Self::GatewayOnly => "GatewayOnly",
            Self::Off => "Off",
        }
    }
}

/// What becomes of a tool whose definition is not the one that was approved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// Nothing: definitions are not looked at.
    #[default]
    Off,
    /// It is reported.
    Warn,
    /// It is hidden and refused until it is approved.
    Enforce,
}

impl Pin {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "Off",
            Self::Warn => "Warn",
            Self::Enforce => "Enforce",
        }
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
