//! Flags that several commands share, and their parsers.

use std::path::PathBuf;

use clap::Args;

use crate::datapath::NodeOptions;

/// Where the agents of this machine keep their locks and sockets.
const STATE_DIR: &str = "/run/mcpgw";
/// Where bpffs usually is.
const BPFFS: &str = "/sys/fs/bpf";
/// Longest name of a node: what a host name can be.
const MAX_NODE_NAME: usize = 253;

/// Which node a command is about.
#[derive(Clone, Debug, Args)]
pub(super) struct NodeArgs {
    /// Name of the node [default: the host's name]
    #[arg(long, env = "MCPGW_NODE", hide_env_values = true, value_name = "NAME", value_parser = node_name)]
    pub node: Option<String>,
    /// Directory for the agent's lock and socket
    #[arg(long, env = "MCPGW_STATE_DIR", hide_env_values = true, value_name = "DIR", default_value = STATE_DIR)]
    pub state_dir: PathBuf,
    /// Where bpffs is mounted: programs and maps are pinned there
    #[arg(long, env = "MCPGW_BPFFS", hide_env_values = true, value_name = "DIR", default_value = BPFFS)]
    pub bpffs: PathBuf,
}

impl NodeArgs {
    /// The node's name.
    pub fn name(&self) -> anyhow::Result<String> {
        match &self.node {
            Some(name) => Ok(name.clone()),
            None => {
                let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
                let valid = name.and_then(|name| node_name(&name).ok());
                valid.ok_or_else(|| anyhow::anyhow!("this host has no usable name; give the node one with --node"))
            }
        }
    }

    /// The node's options for what needs no cgroup and no listener.
    pub fn options(&self) -> anyhow::Result<NodeOptions> {
        Ok(NodeOptions {
            node: self.name()?,
            cgroup: PathBuf::new(),
            bpffs: self.bpffs.clone(),
            state_dir: self.state_dir.clone(),
            listener_port: 0,
            bpf_log: None,
        })
    }
}

fn node_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || text.len() > MAX_NODE_NAME || !text.chars().all(allowed) {
        return Err(format!(
            "a node's name is 1 to {MAX_NODE_NAME} letters, digits, \"-\", \".\" and \"_\""
        ));
    }
    Ok(text.to_owned())
}

/// A workload as `namespace/name`; without a namespace it is in `default`.
pub(super) fn workload(text: &str) -> Result<String, String> {
    let allowed = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
    };
    match text.split_once('/') {
        Some((namespace, name)) if allowed(namespace) && allowed(name) => Ok(text.to_owned()),
        None if allowed(text) => Ok(format!("default/{text}")),
        _ => Err("write it as NAMESPACE/NAME".to_owned()),
    }
}

/// A log level of the eBPF programs as the datapath counts it (1 = error … 5 = trace); `off` is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum BpfLog {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl BpfLog {
    pub fn level(self) -> Option<u8> {
        (self != Self::Off).then_some(self as u8)
    }

    pub fn name(self) -> &'static str {
        ["off", "error", "warn", "info", "debug", "trace"][self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_without_a_namespace_is_in_default() {
        assert_eq!(workload("agents/a.b-1").unwrap(), "agents/a.b-1");
        assert_eq!(workload("a").unwrap(), "default/a");
        for bad in ["", "/", "a/", "/a", "a/b/c", "a b", "a&b", "A"] {
            assert!(workload(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn levels_count_as_the_datapath_counts() {
        assert_eq!(
            (BpfLog::Off.level(), BpfLog::Error.level(), BpfLog::Trace.level()),
            (None, Some(1), Some(5))
        );
        assert_eq!(BpfLog::Debug.name(), "debug");
    }

    #[test]
    fn a_node_name_is_no_path() {
        assert!(node_name("worker-1.example.com").is_ok());
        for bad in ["", "a/b", "a b"] {
            assert!(node_name(bad).is_err(), "{bad}");
        }
    }
}
