//! `mcpgw check`: validates without running.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{BAD_CONFIGURATION, print, table::Table};
use crate::{
    resources::{Action, Desired, Mode, UnknownWorkloads},
    source::FileSource,
};

/// Validate the resources in a directory, and show what they say
///
/// Nothing is attached and nothing is changed; no privilege is needed. Exits with 2 if anything is wrong,
/// and names every error with file, line and column.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpgw check --config /etc/mcpgw
  mcpgw check --config /etc/mcpgw && systemctl start mcpgw")]
pub(super) struct Check {
    /// Directory with the resources: *.yaml and *.yml
    #[arg(long, env = "MCPGW_CONFIG", hide_env_values = true, value_name = "DIR")]
    config: PathBuf,
}

impl Check {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        match FileSource::load(&self.config) {
            Ok(desired) => {
                print(&render(&desired))?;
                Ok(ExitCode::SUCCESS)
            }
            Err(errors) => {
                for line in errors.lines() {
                    eprintln!("{line}");
                }
                Ok(ExitCode::from(BAD_CONFIGURATION))
            }
        }
    }
}

/// What was found, a line for each resource.
pub(super) fn render(desired: &Desired) -> String {
    let mut table = Table::new(&["KIND", "NAME", "WHAT IT SAYS"]);
    for server in &desired.servers {
        let addresses: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
        table.row([
            "MCPServer".into(),
            server.name.to_string(),
            format!("{} at {}", server.path, addresses.join(", ")),
        ]);
    }
    for workload in &desired.workloads {
        let mode = match workload.mode {
            Mode::Enforce => "enforce",
            Mode::Off => "off",
        };
        let says = format!("{mode} {} as {}", workload.cgroup.display(), workload.service_account);
        table.row(["Workload".into(), workload.name.to_string(), says]);
    }
    for policy in &desired.policies {
        let count = |action| policy.rules.iter().filter(|rule| rule.action == action).count();
        let targets = match &*policy.targets {
            [] => format!("every server in {}", policy.name.namespace),
            targets => targets.join(", "),
        };
        let says = format!(
            "{} allow, {} deny: {targets}",
            count(Action::Allow),
            count(Action::Deny)
        );
        table.row(["MCPPolicy".into(), policy.name.to_string(), says]);
    }
    let unknown = match desired.settings.unknown_workloads {
        UnknownWorkloads::Refuse => "refused",
        UnknownWorkloads::Pass => "passed",
    };
    format!("{table}unknown workloads are {unknown}\nvalid\n")
}
