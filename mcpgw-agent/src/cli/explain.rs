//! `mcpgw explain`: what would happen to a connection, and why.

use std::{net::SocketAddr, process::ExitCode};

use clap::Args;

use super::{
    options::{self, NodeArgs},
    print,
    status::block_on,
};
use crate::admin::{self, Client};

/// Say what would happen if a workload connected to an address
///
/// The answer comes from the function that the kernel's programs decide with, on what the kernel's maps hold
/// now. Needs a running agent.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpgw explain --workload agents/researcher --to 10.0.0.5:8080
  mcpgw explain --workload agents/researcher --to '[fd00::5]:8080' --json")]
pub(super) struct Explain {
    /// The workload, as NAMESPACE/NAME
    #[arg(long, value_name = "WORKLOAD", env = "MCPGW_WORKLOAD", hide_env_values = true)]
    #[arg(value_parser = options::workload)]
    workload: String,
    /// The address that it connects to
    #[arg(long, value_name = "IP:PORT", env = "MCPGW_TO", hide_env_values = true)]
    to: SocketAddr,
    /// Print JSON
    #[arg(long, env = "MCPGW_JSON", hide_env_values = true)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

impl Explain {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let client = Client::new(&admin::socket_path(&self.node.options()?.state()));
        let explanation = block_on(client.explain(&self.workload, self.to))??;
        print(&match self.json {
            true => serde_json::to_string_pretty(&explanation)? + "\n",
            false => format!(
                "{} ({})\n{}\n",
                explanation.verdict, explanation.reason, explanation.text
            ),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
