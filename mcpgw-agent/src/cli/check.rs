//! `mcpgw check`: validates without running.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{print, refuse, table::Table};
use crate::{
    policy::doubts,
    resources::{
        Action, Authentication, Capture, Desired, Enforcement, Expose, Gateway, LabelSelector, Policy, Server,
        Transport, UnknownWorkloads,
    },
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
            Err(errors) => Ok(refuse(&errors)),
        }
    }
}

/// What was found, a line for each resource.
pub(super) fn render(desired: &Desired) -> String {
    let mut table = Table::new(&["KIND", "NAME", "WHAT IT SAYS"]);
    for server in &desired.servers {
        table.row(["MCPServer".into(), server.name.to_string(), describe(server)]);
    }
    for server in &desired.refused {
        let says = format!("not granted: {}", describe(server));
        table.row(["MCPServer".into(), server.name.to_string(), says]);
    }
    for catalog in &desired.catalogs {
        let servers: Vec<&str> = catalog.servers.iter().map(|entry| &*entry.server.name).collect();
        let says = format!("/mcp/{}: {}", catalog.name.name, servers.join(", "));
        table.row(["MCPCatalog".into(), catalog.name.to_string(), says]);
    }
    for workload in &desired.workloads {
        let mode = workload.mode.as_str();
        let says = format!("{mode} {} as {}", workload.cgroup.display(), workload.service_account);
        table.row(["Workload".into(), workload.name.to_string(), says]);
    }
    for policy in &desired.policies {
        let count = |action| policy.rules.iter().filter(|rule| rule.action == action).count();
        let mut says = format!(
            "{} allow, {} deny: {}",
            count(Action::Allow),
            count(Action::Deny),
            governed(policy)
        );
        if policy.enforcement == Enforcement::DryRun {
            says += "; only recorded";
        }
        let kind = match &*policy.name.namespace {
            "" => "ClusterMCPPolicy",
            _ => "MCPPolicy",
        };
        table.row([kind.into(), policy.title(), says]);
    }
    let mut namespaces: Vec<_> = desired.namespaces.iter().collect();
    namespaces.sort_by_key(|(name, _)| *name);
    for (name, labels) in namespaces {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        table.row(["Namespace".into(), name.to_string(), labels.join(",")]);
    }
    let gateway = match &desired.settings.gateway {
        Some(gateway) => describe_gateway(gateway),
        None => "there is no gateway: calls are governed where they are redirected".to_owned(),
    };
    let unknown = match desired.settings.unknown_workloads {
        UnknownWorkloads::Refuse => "refused",
        UnknownWorkloads::Pass => "passed",
    };
    let not_granted: String = desired
        .not_granted
        .iter()
        .map(|told| format!("MCPServer {}: {told}\n", told.server))
        .collect();
    let doubted: String = desired
        .servers
        .iter()
        .flat_map(|server| doubts(server, desired).into_iter().map(move |doubt| (server, doubt)))
        .map(|(server, doubt)| format!("MCPServer {}: {doubt}\n", server.name))
        .collect();
    let nothing = match desired.servers.is_empty() && desired.workloads.is_empty() {
        true => "there is neither a server nor a workload: nothing is governed\n",
        false => "",
    };
    format!("{table}{not_granted}{doubted}{nothing}{gateway}\nunknown workloads are {unknown}\nvalid\n")
}

/// Which servers a policy governs.
fn governed(policy: &Policy) -> String {
    let Policy {
        name,
        targets,
        selector,
        ..
    } = policy;
    if !targets.is_empty() {
        return targets.join(", ");
    }
    let place = match (&*name.namespace, &*selector.namespaces) {
        ("", []) => "every namespace".to_owned(),
        ("", namespaces) => namespaces.join(", "),
        (namespace, _) => namespace.to_owned(),
    };
    match selector.labels == LabelSelector::default() {
        true => format!("every server in {place}"),
        false => format!("servers with {} in {place}", selector.labels),
    }
}

/// Where a server is, and what is not as it is by default.
fn describe(server: &Server) -> String {
    let mut says = format!("{} at {}", server.path, server.places().join(", "));
    if server.transport != Transport::default() {
        says += &format!("; {}", server.transport.as_str());
    }
    if server.tls.is_some() {
        says += "; TLS";
    }
    match server.capture {
        Capture::Redirect => {}
        Capture::GatewayOnly => says += "; direct dials are refused",
        Capture::Off => says += "; direct dials are left alone",
    }
    match &server.expose_to {
        Expose::Own => {}
        Expose::Namespaces(namespaces) => says += &format!("; exposed to {}", namespaces.join(", ")),
        Expose::Selected { by, .. } => says += &format!("; exposed to namespaces with {by}"),
        Expose::Everyone => says += "; exposed to everyone",
    }
    says
}

fn describe_gateway(gateway: &Gateway) -> String {
    let listen: Vec<String> = gateway.listen.iter().map(ToString::to_string).collect();
    let tls = if gateway.tls.is_some() { "TLS" } else { "plain HTTP" };
    let authentication = match gateway.authentication {
        Authentication::Attested => "callers are attested by the kernel",
        Authentication::Token => "callers need a token",
        Authentication::AttestedAndToken => "callers are attested by the kernel and need a token",
        Authentication::Any => "callers are attested by the kernel or need a token",
        Authentication::None => "every caller is let in",
    };
    format!("the gateway listens on {} ({tls}); {authentication}", listen.join(", "))
}
