//! `mcpgw pins`: what has become of the definitions of pinned tools, and their approval.
//!
//! ```text
//! show  the texts: a table, a difference
//! ```

mod show;
#[cfg(test)]
mod tests;

use std::{
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::{
    options::{self, NodeArgs},
    print,
    status::block_on,
};
use crate::{
    admin::{self, Client},
    mcp::definition::Digest,
    pins::{Approve as Wanted, Pinned, PinnedTool, ToolState},
};

/// Show and approve the definitions of pinned tools
///
/// The tools of an MCPServer with `pin: Warn` or `pin: Enforce` are kept as they were first seen: name, title,
/// description, schemas and annotations. One that is another later (drifted), or that came later (new), waits for
/// approval; with Enforce it is hidden and refused until then.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  mcpgw pins
  mcpgw pins diff tools/files read_file
  mcpgw pins approve tools/files read_file")]
pub(super) struct Pins {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print JSON
    #[arg(long, env = "MCPGW_JSON", hide_env_values = true)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Diff(Diff),
    Approve(Approve),
}

/// Show what has changed in the definition of a tool since it was approved
///
/// Characters that a terminal does not show are written as JSON escapes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpgw pins diff tools/files read_file")]
struct Diff {
    /// The server, as NAMESPACE/NAME
    #[arg(value_name = "SERVER", env = "MCPGW_SERVER", hide_env_values = true, value_parser = options::workload)]
    server: String,
    /// The tool, by the server's own name
    #[arg(value_name = "TOOL", env = "MCPGW_TOOL", hide_env_values = true)]
    tool: String,
    #[command(flatten)]
    node: NodeArgs,
}

/// Approve definitions as the server shows them now
///
/// Shows what changed and asks. What is approved is what was shown: if the server has changed it meanwhile, nothing
/// is approved. Of several tools all are approved, or none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpgw pins approve tools/files read_file
  mcpgw pins approve tools/files --all
  mcpgw pins approve tools/files read_file --digest sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")]
struct Approve {
    /// The server, as NAMESPACE/NAME
    #[arg(value_name = "SERVER", env = "MCPGW_SERVER", hide_env_values = true, value_parser = options::workload)]
    server: String,
    /// The tool, by the server's own name
    #[arg(
        value_name = "TOOL",
        env = "MCPGW_TOOL",
        hide_env_values = true,
        required_unless_present = "all"
    )]
    tool: Option<String>,
    /// All tools of the server that are not approved
    #[arg(long, conflicts_with = "tool")]
    all: bool,
    /// The definition, as `pins diff` named it: approves this one without asking
    #[arg(
        long,
        value_name = "DIGEST",
        env = "MCPGW_DIGEST",
        hide_env_values = true,
        conflicts_with = "all"
    )]
    digest: Option<Digest>,
    /// Do not ask: approves what is shown
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    node: NodeArgs,
}

impl Pins {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Some(Command::Diff(diff)) => diff.execute()?,
            Some(Command::Approve(approve)) => approve.execute()?,
            None => {
                let pinned = block_on(client(&self.node)?.pins())??;
                let text = match self.json {
                    true => serde_json::to_string_pretty(&pinned)? + "\n",
                    false => show::list(&pinned),
                };
                print(&text)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Diff {
    fn execute(self) -> anyhow::Result<()> {
        let pinned = pinned(&client(&self.node)?, &self.server)?;
        let tool = find(&pinned, &self.tool)?;
        let mut text = show::difference(&pinned.server, tool)?;
        if let (ToolState::Drifted | ToolState::New, Some(seen)) = (tool.state, &tool.seen) {
            text += &format!(
                "to approve it: mcpgw pins approve {} {} --digest {}\n",
                pinned.server,
                show::word(&tool.tool),
                seen.digest
            );
        }
        print(&text)?;
        Ok(())
    }
}

impl Approve {
    fn execute(self) -> anyhow::Result<()> {
        let client = client(&self.node)?;
        let pinned = pinned(&client, &self.server)?;
        let tools = match (&self.tool, self.digest) {
            (Some(tool), Some(digest)) => vec![(tool.clone(), digest)],
            _ => {
                let (text, shown) = self.shown(&pinned)?;
                print(&text)?;
                if shown.is_empty() {
                    print(&format!("nothing of {} waits for approval\n", pinned.server))?;
                    return Ok(());
                }
                if !self.yes && !confirmed(shown.len())? {
                    bail!("nothing was approved");
                }
                shown
            }
        };
        let count = tools.len();
        let wanted = Wanted {
            server: self.server,
            tools,
        };
        block_on(client.approve(&wanted))??;
        print(&format!("approved: {count} of {}\n", wanted.server))?;
        Ok(())
    }

    /// What is to be approved, as text; with the digests of what that shows.
    fn shown(&self, pinned: &Pinned) -> anyhow::Result<(String, Vec<(String, Digest)>)> {
        let waits = |tool: &&PinnedTool| matches!(tool.state, ToolState::Drifted | ToolState::New);
        let tools: Vec<&PinnedTool> = match &self.tool {
            Some(name) => [find(pinned, name)?].into_iter().filter(waits).collect(),
            // One that cannot be compared is not among all of them: it would keep the others from being approved.
            None => pinned
                .tools
                .iter()
                .filter(waits)
                .filter(|tool| tool.seen.is_some())
                .collect(),
        };
        let (mut text, mut shown) = (String::new(), Vec::new());
        for tool in tools {
            text += &show::difference(&pinned.server, tool)?;
            let seen = tool.seen.as_ref().with_context(|| {
                format!(
                    "the definition of {} cannot be read in one way only, or is too large",
                    show::word(&tool.tool)
                )
            })?;
            shown.push((tool.tool.clone(), seen.digest));
        }
        Ok((text, shown))
    }
}

fn client(node: &NodeArgs) -> anyhow::Result<Client> {
    Ok(Client::new(&admin::socket_path(&node.options()?.state())))
}

fn pinned(client: &Client, server: &str) -> anyhow::Result<Pinned> {
    match block_on(client.pins_of(server))?? {
        Some(found) => Ok(found),
        None => bail!(not_pinned(server, &block_on(client.pins())??)),
    }
}

/// That a server is not pinned, and which are.
fn not_pinned(server: &str, pinned: &[Pinned]) -> String {
    let known: Vec<&str> = pinned.iter().map(|known| known.server.as_str()).collect();
    let known = match known.is_empty() {
        true => "there is none at all".to_owned(),
        false => format!("there are: {}", known.join(", ")),
    };
    format!("there is no pinned server {server} ({known}): `pin: Warn` or `pin: Enforce` of its MCPServer pins it")
}

fn find<'p>(pinned: &'p Pinned, tool: &str) -> anyhow::Result<&'p PinnedTool> {
    let found = pinned.tools.iter().find(|known| known.tool == tool);
    found.with_context(|| {
        format!(
            "{} neither offers {} nor was it approved",
            pinned.server,
            show::word(tool)
        )
    })
}

/// Asks the operator.
fn confirmed(count: usize) -> anyhow::Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        bail!("nobody can be asked here: give --yes to approve what was shown, or --digest to approve one definition");
    }
    print!("Approve {count} as shown? [y/N] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
