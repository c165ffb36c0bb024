//! `mcpgw uninstall`: removes what the agent leaves in the kernel.

use std::process::ExitCode;

use clap::Args;

use super::{options::NodeArgs, print};
use crate::datapath;

/// Remove every program, link and map of this node from the kernel
///
/// Connections go direct afterwards. Refused while an agent runs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  systemctl stop mcpgw && mcpgw uninstall")]
pub(super) struct Uninstall {
    #[command(flatten)]
    node: NodeArgs,
}

impl Uninstall {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let options = self.node.options()?;
        let removed = datapath::uninstall(&options)?;
        print(&match removed.len() {
            0 => format!("node {}: there was nothing to remove\n", options.node),
            _ => removed.iter().map(|what| format!("removed {what}\n")).collect(),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
