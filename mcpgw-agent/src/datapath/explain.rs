//! `mcpgw explain`: what would happen if a workload dialled an address, by the same function that decides
//! in the kernel, on what the kernel's maps hold.

use std::net::SocketAddr;

use mcpgw_common::{
    Endpoint, Reason,
    decide::{self, Connect, Governed, Verdict},
};
use serde::{Deserialize, Serialize};

use super::{maps::Maps, status::WorkloadStatus};

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// `namespace/name` of the workload.
    pub workload: String,
    /// The address that is dialled.
    pub to: SocketAddr,
    /// `pass`, `redirect` or `refuse`.
    pub verdict: String,
    /// Why: a name of [`Reason`].
    pub reason: String,
    /// The same for people, with the next step where there is one.
    pub text: String,
}

/// Explains a TCP connect of `workload` to `to`, from a socket of its own network namespace.
pub fn explain(maps: &Maps, workload: &WorkloadStatus, to: SocketAddr) -> Explanation {
    let endpoint = Endpoint::from(to);
    let entry = workload.cgroup_id.and_then(|id| maps.workloads.get(&id, 0).ok());
    let settings = maps.settings.get(&0, 0).unwrap_or_default();
    let waiting = entry.map_or(0, |entry| {
        let read = |map: &aya::maps::Array<_, u64>| map.get(&entry.slot, 0).unwrap_or_default();
        read(&maps.committed).saturating_sub(read(&maps.accepted))
    });
    let netns_cookie = entry.map_or(0, |entry| entry.netns_cookie);
    let verdict = decide::connect(
        &settings,
        &Connect {
            destination: endpoint.address,
            port: endpoint.port,
            governed: Governed::from_value(maps.governed.get(&endpoint, 0).ok()),
            tcp: true,
            task_cgroup: workload.cgroup_id.unwrap_or(0),
            workload: entry,
            netns_cookie,
            netns_enforced: entry.is_some_and(|entry| entry.is_enforced()) && maps.netns.get(&netns_cookie, 0).is_ok(),
            waiting,
            served: maps.lease.get(&0, 0).is_ok_and(|until| until > 0),
        },
    );
    let reason = verdict.reason();
    Explanation {
        workload: workload.name.clone(),
        to,
        verdict: match verdict {
            Verdict::Pass(_) => "pass",
            Verdict::Redirect(_) => "redirect",
            Verdict::Refuse(_) => "refuse",
        }
        .to_owned(),
        reason: reason.name().to_owned(),
        text: text(reason, workload, to),
    }
}

fn text(reason: Reason, workload: &WorkloadStatus, to: SocketAddr) -> String {
    let (name, state) = (&workload.name, &workload.state);
    match reason {
        Reason::NotGoverned => format!(
            "{to} is no governed address: the connection goes direct. If it is an MCP server, name it in an MCPServer."
        ),
        Reason::Agent => "The agent's own connections are exempt.".to_owned(),
        Reason::ModeOff => format!("{name} has mode `off`: its connection goes direct."),
        Reason::Observed => format!(
            "{name} is only observed, and has no listener for {to} (state {state}): its connection goes direct, and nothing of it is recorded."
        ),
        Reason::UnknownPassed | Reason::UnknownRefused => {
            format!(
                "{name} is not known to the kernel (state {state}); unknownWorkloads decides for it until its cgroup exists."
            )
        }
        Reason::Governed => format!(
            "{to} is governed: the connection goes to the proxy's listener in the network namespace of {name}; each tool call is decided there."
        ),
        Reason::NoListener | Reason::NoListenerV6 => {
            format!("{to} is governed, and {name} has no listener for it (state {state}): ECONNREFUSED.")
        }
        Reason::GatewayOnly => format!(
            "{to} is governed, and its MCPServer has capture GatewayOnly: ECONNREFUSED. Its tools are at the gateway's /mcp."
        ),
        Reason::ListenerDialled => "The listener cannot be dialled directly: ECONNREFUSED.".to_owned(),
        Reason::Quota => {
            format!("Too many connections of {name} wait to be accepted: ECONNREFUSED. Is the agent overloaded?")
        }
        other => format!("Refused: {}.", other.name()),
    }
}
