//! An MCP server, and what becomes of what is said to it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use super::{Certificate, Expose, Labels, ObjectName};
use crate::resources::Credential;

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
