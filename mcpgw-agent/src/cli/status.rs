//! `mcpgw status`: what the agent and the kernel say.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::{options::NodeArgs, print, render};
use crate::{
    admin::{self, Client, ClientError},
    datapath::{self, NodeOptions},
};

/// Show what is governed: workloads, servers, and what the kernel reports
///
/// Exits with 1 when no agent runs, and still shows what the kernel holds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpgw status
  mcpgw status --json | jq '.datapath.workloads[] | {name, state}'")]
pub(super) struct Status {
    /// Print JSON
    #[arg(long, env = "MCPGW_JSON", hide_env_values = true)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

impl Status {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let options = self.node.options()?;
        let client = Client::new(&admin::socket_path(&options.state()));
        match block_on(client.status())? {
            Ok(status) if self.json => print(&(serde_json::to_string_pretty(&status)? + "\n"))?,
            Ok(status) => print(&render::running(&status))?,
            Err(error @ ClientError::NoAgent(_)) => {
                print(&without_agent(&options, &error, self.json)?)?;
                return Ok(ExitCode::FAILURE);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn without_agent(options: &NodeOptions, why: &ClientError, json: bool) -> anyhow::Result<String> {
    let kernel = datapath::read_kernel(options).map_err(|error| error.to_string());
    if !json {
        return Ok(render::stopped(&options.node, &why.to_string(), &kernel));
    }
    let (datapath, unreadable) = match kernel {
        Ok(status) => (Some(status), None),
        Err(error) => (None, Some(error)),
    };
    let answer = serde_json::json!({
        "node": options.node,
        "error": why.to_string(),
        "datapath": datapath,
        "datapath_error": unreadable,
    });
    Ok(serde_json::to_string_pretty(&answer)? + "\n")
}

/// Runs one question to the agent.
pub(super) fn block_on<T>(question: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("cannot start a runtime")?.block_on(question))
}
