//! Node-wide settings.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use super::{BackendGrant, ExposureGrant};
use crate::resources::{Authentication, ExtAuthz, Issuer, JsonPath, RateLimitService};

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
    /// Where the servers of which namespaces may be. `None`: anywhere, for the files of one machine are the operator's
    /// own word. A source whose writers are tenants gives none of them anything where the settings say nothing.
    pub external_backends: Option<Vec<BackendGrant>>,
    /// To whom the servers of which namespaces may be shown; `None`: as they ask. As with `external_backends`.
    pub exposure: Option<Vec<ExposureGrant>>,
}

/// How the audit log is kept; changes while it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Where lines are written on this node; `None`: where the agent was told to when it was started.
    pub sink: Option<AuditSink>,
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
            sink: None,
            exported: false,
            on_full: OnFull::default(),
            max_size: 100_000_000,
            keep: 5,
            payloads: None,
        }
    }
}

/// Where the audit log is written on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditSink {
    /// Standard output.
    Stdout,
    /// A file, appended to; made with mode 0600.
    File(PathBuf),
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

/// What a policy wants of the arguments of its servers' calls in the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyAudit {
    /// What it asks for; `None`: nothing, though settings or other policies may.
    pub payloads: Option<Payloads>,
    /// What is taken out, whoever asks for them.
    pub redact: Vec<JsonPath>,
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
