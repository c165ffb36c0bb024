//! A real Open Policy Agent with its plugin for Envoy's protocol, on a node's loopback.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Node, Process, tools, until};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Where it answers.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9191);
/// For it to listen.
const LIMIT: Duration = Duration::from_secs(30);

/// It, running. Killed on drop.
pub struct PolicyAgent {
    process: Process,
    _directory: TempDir,
}

impl PolicyAgent {
    /// Starts it with this policy, in Rego, whose decision is `data.mcpgw.allow`.
    pub fn start(node: &Node, policy: &str) -> Result<Self> {
        let program = tools::go_tool("opa-envoy-plugin")?;
        ensure!(
            program.exists(),
            "{} is missing: run cargo xtask setup",
            program.display()
        );
        let directory = TempDir::new().context("make the policy's directory")?;
        let file = directory.path().join("policy.rego");
        fs::write(&file, policy).context("write the policy")?;
        let mut command = node.command(program)?;
        command
            .args(["run", "--server", "--skip-version-check", "--addr", "127.0.0.1:8181"])
            .args(["--set", &format!("plugins.envoy_ext_authz_grpc.addr={ADDRESS}")])
            .args(["--set", "plugins.envoy_ext_authz_grpc.path=mcpgw/allow"])
            .arg(&file);
        let mut process = Process::spawn("opa", command)?;
        let up = until(LIMIT, "the policy agent to listen", || {
            node.netns().run(|| TcpStream::connect(ADDRESS).is_ok())
        });
        match up {
            Ok(()) => Ok(Self {
                process,
                _directory: directory,
            }),
            Err(error) => Err(error.context(process.epitaph())),
        }
    }

    /// Stops it where it is, connections and all.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }
}
