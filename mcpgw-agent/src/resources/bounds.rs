//! Every limit that resources have. What is over one is refused with the limit in the message.

use std::time::Duration;

/// Size of one file, in bytes.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;
/// Files in the configuration directory.
pub const MAX_FILES: usize = 1024;
/// Documents in one file.
pub const MAX_DOCUMENTS: usize = 4096;
/// Nesting of one document.
pub const MAX_DEPTH: usize = 32;
/// Nodes of one document, those that aliases repeat included.
pub const MAX_NODES: usize = 100_000;
/// Problems that are reported; the others are counted.
pub const MAX_PROBLEMS: usize = 100;
/// Addresses of one server.
pub const MAX_ADDRESSES: usize = 256;
/// Hosts of all servers, by name and port: each is resolved again and again.
pub const MAX_HOSTS: usize = 1024;
/// Length of a host's name, in bytes: what DNS allows.
pub const MAX_HOST_BYTES: usize = 253;
/// Length of a server's prefix, in bytes.
pub const MAX_PREFIX_BYTES: usize = 32;
/// Paths beside its endpoint that callers of one server may read.
pub const MAX_OTHER_PATHS: usize = 64;
/// Namespaces whose labels are known.
pub const MAX_NAMESPACES: usize = 16_384;
/// Namespaces that one server is exposed to, or that one grant is for.
pub const MAX_EXPOSED: usize = 256;
/// Entries of `externalBackends`, and of `exposure`.
pub const MAX_GRANTS: usize = 256;
/// Hosts, and networks, of one such entry.
pub const MAX_GRANTED: usize = 256;
/// Shortest timeout.
pub const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// Longest timeout.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Servers of one catalog.
pub const MAX_CATALOG_SERVERS: usize = 256;
/// Addresses that the gateway listens on.
pub const MAX_LISTEN: usize = 16;
/// Length of a URL, and of an audience or the name of an issuer, in bytes.
pub const MAX_URL_BYTES: usize = 2048;
/// Issuers whose tokens are believed.
pub const MAX_ISSUERS: usize = 32;
/// Audiences of one issuer.
pub const MAX_AUDIENCES: usize = 32;
/// Scopes that the tokens of one issuer must have.
pub const MAX_SCOPES: usize = 32;
/// Length of the name of a claim, or of a scope, in bytes.
pub const MAX_CLAIM_NAME_BYTES: usize = 256;
/// By how much an issuer's clock and ours may differ at most.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);
/// Shortest time that what an API server said of a token is good.
pub const MIN_REVIEW_AGE: Duration = Duration::from_secs(1);
/// Longest such time.
pub const MAX_REVIEW_AGE: Duration = Duration::from_secs(600);
/// Shortest time that the keys of an issuer can be good without being read again.
pub const MIN_KEY_AGE: Duration = Duration::from_secs(5);
/// Longest such time.
pub const MAX_KEY_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Origins of browsers that may call the gateway.
pub const MAX_ORIGINS: usize = 64;
/// Rules about what is taken out of arguments in the audit log.
pub const MAX_REDACTIONS: usize = 64;
/// Largest arguments that the audit log may have, in bytes: times the lines that may wait to be written, what they
/// take of the agent's memory.
pub const MAX_PAYLOAD_BYTES: u64 = 16 * 1024;
/// Servers that share one address, each with a path of its own.
pub const MAX_SHARERS: usize = 64;
/// Addresses of all servers: as many as the kernel map holds.
pub const MAX_GOVERNED: usize = mcpgw_common::layout::MAX_GOVERNED as usize;
/// Workloads: as many as the kernel map holds.
pub const MAX_WORKLOADS: usize = mcpgw_common::layout::MAX_WORKLOADS as usize;
/// Servers that one policy names.
pub const MAX_TARGETS: usize = 256;
/// Rules of one policy.
pub const MAX_RULES: usize = 256;
/// Limits of one policy.
pub const MAX_LIMITS: usize = 32;
/// Parts of a limit's key.
pub const MAX_KEY_PARTS: usize = 8;
/// Length of a limit's name, in bytes.
pub const MAX_NAME_BYTES: usize = 63;
/// Steps of the path to a claim.
pub const MAX_CLAIM_DEPTH: usize = 8;
/// Entries of a rule's `from`, and of each list in such an entry.
pub const MAX_CALLERS: usize = 256;
/// Globs of one list.
pub const MAX_GLOBS: usize = 256;
/// Claims that one caller of a rule is known by.
pub const MAX_CLAIMS: usize = 32;
/// Labels of one object, and of one selector.
pub const MAX_LABELS: usize = 64;
/// Expressions of one selector.
pub const MAX_EXPRESSIONS: usize = 32;
/// Values of one such expression.
pub const MAX_LABEL_VALUES: usize = 256;
/// Namespaces of one selector.
pub const MAX_SELECTED_NAMESPACES: usize = 256;
/// Length of one glob, in bytes.
pub const MAX_GLOB_BYTES: usize = 256;
/// Length of a server's HTTP path, in bytes.
pub const MAX_PATH_BYTES: usize = 1024;
/// Length of a cgroup path or of a network namespace's path, in bytes: the kernel's `PATH_MAX`.
pub const MAX_FILE_PATH_BYTES: usize = 4096;
/// Length of user text that a message repeats, in characters.
pub const MAX_QUOTED: usize = 80;
