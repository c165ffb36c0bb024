//! Fixtures: a node, its pods and their servers on one machine, as network namespaces, cgroups and child
//! processes. Everything is real but the hardware: real sockets, real MCP peers, the real `mcpgw` binary.
//!
//! ```no_run
//! use mcpgw_tests::{McpPeer, Node};
//! # fn main() -> anyhow::Result<()> {
//! let node = Node::new()?;
//! let server = node.server("tools", McpPeer::Rmcp)?;
//! let pod = node.pod("agent").build()?;
//! let answer = pod.mcp(&server.url()).call("add", serde_json::json!({"a": 1, "b": 2}))?;
//! assert_eq!(answer.text(), Some("3"));
//! assert!(server.counter().syns_from(pod.ipv4()) > 0);
//! # Ok(()) }
//! ```
//!
//! - Names are unique per process and fixture, so tests run in parallel, as threads or as processes.
//! - Every fixture cleans up on drop, also after a panic; what a killed test process left behind is swept by
//!   the next one.
//! - Children join their cgroup and network namespace between `fork` and `exec`: before they have a socket.
//! - No default routes: a packet that is not for one of the pods has nowhere to go.
//!
//! They need root, cgroup v2 and bpffs, and fail with the reason where these are missing: see [`privileges`].
#![warn(missing_docs)]

mod agent;
mod binaries;
mod bpffs;
mod cgroup;
mod counter;
mod footprint;
mod http;
mod links;
mod mcp;
mod mounts;
mod names;
mod netns;
mod node;
mod pod;
pub mod privileges;
mod probe;
mod process;
pub mod resources;
mod server;
pub mod tools;
mod wait;

pub use agent::{Agent, AgentOptions};
pub use binaries::{binary, build as build_binaries};
pub use bpffs::ensure as ensure_bpffs;
pub use cgroup::Cgroup;
pub use counter::PacketCounter;
pub use footprint::Footprint;
pub use http::{HttpAnswer, get, post};
pub use mcp::{Era, McpAnswer, McpClient};
pub use names::NameServer;
pub use netns::NetNs;
pub use node::Node;
pub use pod::{Pod, PodBuilder, Qos};
pub use probe::{Dialled, run as run_probe};
pub use process::{Lines, Process};
pub use server::{CERTIFICATE, KEY, McpPeer, Server, echo_request};
pub use wait::{eventually, until};
