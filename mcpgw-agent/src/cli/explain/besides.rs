//! What a request that the rules allow would meet besides: what is counted, kept or asked elsewhere, so that the
//! configuration alone cannot say what comes of it.

use super::decision::{described_limit, limit_named};
use crate::{
    identity::Caller,
    mcp::governed::Kind,
    policy::{Plan, Server, limits::Spender},
    resources::{Asking, Desired, OnFailure, Pin},
};

/// Whether the name is rather what clients see at the gateway: rules never see that.
pub(super) fn misnamed(server: &Server, kind: Kind, name: &str) -> Option<String> {
    let prefix = &*server.wanted.prefix;
    let own = name
        .strip_prefix(prefix)
        .filter(|own| !prefix.is_empty() && !own.is_empty())?;
    let is_prefixed = matches!(kind, Kind::Tool | Kind::Prompt);
    is_prefixed.then(|| {
        format!("{name} begins with the server's prefix, and rules see the server's own names: did you mean {own}?")
    })
}

/// A sentence for each of them, in the order in which they are met.
pub(super) fn of(
    plan: &Plan,
    server: &Server,
    caller: &Caller,
    kind: Kind,
    name: &str,
    desired: &Desired,
) -> Vec<String> {
    let mut besides = Vec::new();
    // A catalogue shows nobody a server that it would not see at `/mcp`.
    if plan.sees(caller, server) {
        besides.extend(catalogs(server, kind, name, desired));
    }
    besides.extend(pin(server.wanted.pin).filter(|_| kind == Kind::Tool).map(str::to_owned));
    besides.extend(engine(desired));
    besides.extend(limits(server, caller, kind, name, desired));
    besides
}

/// At which virtual servers it is to be had.
fn catalogs(server: &Server, kind: Kind, name: &str, desired: &Desired) -> Vec<String> {
    let with_it = desired.catalogs.iter().filter_map(|catalog| {
        let mut servers = catalog.servers.iter();
        let entry = servers.find(|entry| entry.server == *server.name())?;
        let path = format!("/mcp/{}", catalog.name.name);
        Some(match kind == Kind::Tool && !entry.offers(name) {
            true => format!("{path} leaves it out, and refuses it"),
            false => format!("{path} offers it as well"),
        })
    });
    with_it.collect()
}

fn pin(pin: Pin) -> Option<&'static str> {
    match pin {
        Pin::Off => None,
        Pin::Warn => Some("Its definition is pinned: another than was approved is reported (mcpgw pins)"),
        Pin::Enforce => Some(
            "Its definition is pinned: it is hidden, and refused with code 4031, unless that was approved (mcpgw pins)",
        ),
    }
}

/// The limits that count it, and what they allow.
fn limits(server: &Server, caller: &Caller, kind: Kind, name: &str, desired: &Desired) -> Vec<String> {
    let tool = (kind == Kind::Tool).then_some(name);
    let spender = Spender {
        caller,
        server: server.name(),
        method: kind.main_method(),
        tool,
        tool_key: tool.unwrap_or_default(),
    };
    let (holding, tried) = server.limits(&spender);
    let told = |limit: &&crate::policy::limits::Limit| {
        let says = limit_named(&limit.name, desired)
            .map(described_limit)
            .unwrap_or_default();
        let says: Vec<&str> = says.lines().map(str::trim).collect();
        let tried = match limit.dry_run {
            true => "only tried: ",
            false => "",
        };
        let asks = match limit.shared.map(|shared| shared.mode) {
            None => "",
            Some(Asking::InLine) => "; the rate limit service is asked, and the call waits",
            Some(Asking::Background) => "; the rate limit service is asked, and the call goes on",
        };
        format!("The limit {} counts it ({tried}{}){asks}", limit.name, says.join("; "))
    };
    holding.iter().chain(&tried).map(told).collect()
}

fn engine(desired: &Desired) -> Option<String> {
    let asked = desired.settings.ext_authz.as_ref()?;
    let silent = match asked.engine.on_failure {
        OnFailure::Open => "passes",
        OnFailure::Closed => "is refused with code 5030",
    };
    Some(format!(
        "The policy engine at {}:{} is asked about it, and may deny it; where that does not answer, it {silent}",
        asked.engine.host, asked.engine.port
    ))
}
