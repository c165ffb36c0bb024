//! `mcpgw explain`: what would happen, or has happened, and why.
//!
//! ```text
//! connection  what would happen to a connection: asks the running agent
//! request     what would be decided about a request: from the configuration alone
//! nearest     … and which names are most like one that nobody has
//! besides     … and what it would meet that the configuration cannot decide
//! decision    what was decided: from the audit log
//! ```

mod besides;
mod connection;
mod decision;
mod nearest;
mod request;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{ArgGroup, Args};
use serde_json::Value;

use super::{
    options::{self, NodeArgs},
    print, refuse,
};
use crate::{
    resources::{Desired, ObjectName},
    source::FileSource,
};

/// Say what would happen to a connection or a call, or why a call was decided as it was
///
/// A connection is answered by the function that the kernel's programs decide with, on what the kernel's maps
/// hold now; that needs a running agent. A call is answered from the configuration, by the code that decides
/// calls; a decision is looked up in the audit log. These need no agent.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("question").required(true).args(["to", "tool", "prompt", "resource", "decision"])))]
#[command(override_usage = "mcpgw explain --workload WORKLOAD --to IP:PORT
       mcpgw explain --config DIR --server SERVER --tool NAME [--identity IDENTITY] [OPTIONS]
       mcpgw explain --decision ID --audit FILE [--config DIR]")]
#[command(after_help = "Examples:
  mcpgw explain --workload agents/researcher --to 10.0.0.5:8080
  mcpgw explain --config /etc/mcpgw --identity agents/reader --server tools/files --tool write_file
  mcpgw explain --config /etc/mcpgw --identity agents/reader --server tools/files --tool read_file \\
    --arguments '{\"path\": \"/data/a\"}' --claims '{\"groups\": [\"team-a\"]}'
  mcpgw explain --decision 6f1c2b3a4d5e6f70-2a --audit /var/log/mcpgw/audit.jsonl --config /etc/mcpgw
  journalctl -u mcpgw -o cat | mcpgw explain --decision 6f1c2b3a4d5e6f70-2a --audit -")]
pub(super) struct Explain {
    /// The workload that connects, as NAMESPACE/NAME
    #[arg(long, value_name = "WORKLOAD", env = "MCPGW_WORKLOAD", hide_env_values = true)]
    #[arg(value_parser = options::workload, requires = "to")]
    workload: Option<String>,
    /// The address that it connects to
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "MCPGW_TO",
        hide_env_values = true,
        requires = "workload"
    )]
    to: Option<SocketAddr>,
    /// Who calls: a workload or a ServiceAccount, as NAMESPACE/NAME; left out: a caller that the kernel does not know
    #[arg(long, value_name = "IDENTITY", env = "MCPGW_IDENTITY", hide_env_values = true)]
    #[arg(value_parser = options::workload)]
    identity: Option<String>,
    /// What the caller's token claims, as a JSON object; who that is and its groups say the claims that its issuer's
    /// settings name
    #[arg(long, value_name = "JSON", env = "MCPGW_CLAIMS", hide_env_values = true)]
    claims: Option<String>,
    /// The server that is called, as NAMESPACE/NAME
    #[arg(long, value_name = "SERVER", env = "MCPGW_SERVER", hide_env_values = true)]
    #[arg(value_parser = options::workload)]
    server: Option<String>,
    /// The tool that is called, by the server's own name
    #[arg(long, value_name = "NAME", env = "MCPGW_TOOL", hide_env_values = true)]
    #[arg(requires = "server", requires = "config")]
    tool: Option<String>,
    /// The prompt that is asked for
    #[arg(long, value_name = "NAME", env = "MCPGW_PROMPT", hide_env_values = true)]
    #[arg(requires = "server", requires = "config")]
    prompt: Option<String>,
    /// The resource that is read
    #[arg(long, value_name = "URI", env = "MCPGW_RESOURCE", hide_env_values = true)]
    #[arg(requires = "server", requires = "config")]
    resource: Option<String>,
    /// The arguments of the call, as a JSON object; left out: whatever they are
    #[arg(
        long,
        visible_alias = "args",
        value_name = "JSON",
        env = "MCPGW_ARGUMENTS",
        hide_env_values = true
    )]
    arguments: Option<String>,
    /// What the server says of the tool, as a JSON object; left out: nothing
    #[arg(
        long,
        value_name = "JSON",
        env = "MCPGW_ANNOTATIONS",
        hide_env_values = true,
        requires = "tool"
    )]
    annotations: Option<String>,
    /// The id of a decision, as the client was told it
    #[arg(
        long,
        value_name = "ID",
        env = "MCPGW_DECISION",
        hide_env_values = true,
        requires = "audit"
    )]
    decision: Option<String>,
    /// The audit log: a file, or - for standard input
    #[arg(long, env = "MCPGW_AUDIT", hide_env_values = true, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Directory with the resources: *.yaml and *.yml
    #[arg(long, env = "MCPGW_CONFIG", hide_env_values = true, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, env = "MCPGW_JSON", hide_env_values = true)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

/// What is to be asked for.
enum Wanted<'a> {
    Tool(&'a str),
    Prompt(&'a str),
    Resource(&'a str),
}

impl Explain {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        if let (Some(workload), Some(to)) = (&self.workload, self.to) {
            print(&connection::explain(&self.node.options()?, workload, to, self.json)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let desired = match self.config.as_deref().map(FileSource::load).transpose() {
            Ok(desired) => desired.unwrap_or_default(),
            Err(errors) => return Ok(refuse(&errors)),
        };
        print(&self.answer(&desired)?)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The text to print about a request or a decision.
    fn answer(&self, desired: &Desired) -> anyhow::Result<String> {
        if let (Some(id), Some(audit)) = (&self.decision, &self.audit) {
            let found = decision::find(audit, id)?;
            return Ok(match self.json {
                true => serde_json::to_string_pretty(&found)? + "\n",
                false => decision::render(&found, desired),
            });
        }
        let wanted = match (&self.tool, &self.prompt, &self.resource) {
            (Some(tool), _, _) => Wanted::Tool(tool),
            (_, Some(prompt), _) => Wanted::Prompt(prompt),
            (_, _, Some(uri)) => Wanted::Resource(uri),
            // The group of these flags wants one of them, and each of them its companions.
            (None, None, None) => anyhow::bail!("ask with --to, --tool, --prompt, --resource or --decision"),
        };
        let server = self.server.as_deref().and_then(ObjectName::parse);
        let question = request::Question {
            identity: self.identity.as_deref().and_then(ObjectName::parse),
            claims: self.claims.as_deref().map(serde_json::from_str::<Value>).transpose()?,
            server: server.ok_or_else(|| anyhow::anyhow!("name the server with --server NAMESPACE/NAME"))?,
            wanted,
            annotations: self
                .annotations
                .as_deref()
                .map(serde_json::from_str::<Value>)
                .transpose()?,
            arguments: self.arguments.as_deref(),
        };
        let answer = request::answer(&question, desired)?;
        Ok(match self.json {
            true => serde_json::to_string_pretty(&answer)? + "\n",
            false => answer.to_string(),
        })
    }
}
