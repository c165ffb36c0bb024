//! What `mcpgw status` shows, as text: pure, so that tests can read it.

use std::fmt::Write;

use super::{table::Table, terminal::on_one_line};
use crate::{
    admin::{CatalogStatus, ServerStatus, Status},
    datapath::status::{DatapathStatus, State, WorkloadStatus},
    discovery::Offers,
    engines::EngineStatus,
    identity::jwt::IssuerStatus,
    pins::PinCount,
    resources::OnFailure,
};

/// A longer state is cut in its column and told in full below.
const MAX_STATE: usize = 34;

/// A running agent's state.
pub(super) fn running(status: &Status) -> String {
    let mut out = format!(
        "node {}   mcpgw {}   pid {}   up {}   generation {}\n",
        status.node,
        status.version,
        status.pid,
        duration(status.uptime_seconds),
        status.source.generation
    );
    for (name, component) in status.components.iter().filter(|(_, component)| !component.ready) {
        line(&mut out, &format!("NOT READY: {name}: {}", component.message));
    }
    if let Some(gateway) = &status.gateway {
        let tls = if gateway.tls { "TLS" } else { "plain HTTP" };
        line(
            &mut out,
            &format!(
                "gateway on {}   {tls}   authentication {}",
                gateway.listen.join(", "),
                gateway.authentication
            ),
        );
    }
    let certificate = status
        .gateway
        .as_ref()
        .and_then(|gateway| gateway.certificate_error.as_ref());
    if let Some(error) = certificate {
        line(
            &mut out,
            &format!("CERTIFICATE: {error}; the gateway keeps the last good one"),
        );
    }
    for field in &status.restart_needed {
        line(
            &mut out,
            &format!("RESTART NEEDED: {field} has changed; the agent keeps what it started with"),
        );
    }
    section(
        &mut out,
        &workloads(&status.datapath.workloads),
        "no workloads: nothing is governed",
    );
    for workload in &status.datapath.workloads {
        let state = workload.state.to_string();
        if state.chars().count() > MAX_STATE {
            line(&mut out, &format!("{} is {state}", workload.name));
        }
    }
    section(
        &mut out,
        &servers(&status.servers),
        "no servers: there are no governed addresses",
    );
    out.push_str(&unreached(&status.servers));
    if status.gateway.is_some() && !status.offers.is_empty() {
        section(&mut out, &offers(&status.offers), "");
        out.push_str(&troubles(&status.offers));
    }
    if !status.pins.is_empty() {
        section(&mut out, &pins(&status.pins), "");
        out.push_str(&unapproved(&status.pins));
    }
    if !status.catalogs.is_empty() {
        section(&mut out, &catalogs(&status.catalogs), "");
    }
    if !status.issuers.is_empty() {
        section(&mut out, &issuers(&status.issuers), "");
        for issuer in &status.issuers {
            if let Some(error) = &issuer.error {
                line(&mut out, &format!("{}: {error}", issuer.issuer));
            }
        }
    }
    if !status.engines.is_empty() {
        section(&mut out, &engines(&status.engines), "");
        for engine in &status.engines {
            if let Some(error) = &engine.error {
                line(&mut out, &format!("{}: {error}", engine.name));
            }
        }
    }
    kernel(&mut out, &status.datapath);
    if !status.source.errors.is_empty() {
        line(&mut out, "");
        line(
            &mut out,
            &format!(
                "the files have errors; generation {} stays in force:",
                status.source.generation
            ),
        );
        for error in &status.source.errors {
            line(&mut out, &format!("  {error}"));
        }
    }
    out
}

/// What holds on a node where no agent runs.
pub(super) fn stopped(node: &str, why: &str, kernel_status: &Result<DatapathStatus, String>) -> String {
    let mut out = format!("node {node}   {why}\n\n");
    match kernel_status {
        Err(error) => line(&mut out, &format!("what the kernel holds cannot be read: {error}")),
        Ok(status) if status.programs.is_empty() => {
            line(&mut out, "no program is attached: every connection goes direct");
            line(
                &mut out,
                "to govern this node:     mcpgw run --config DIR --cgroup PATH",
            );
        }
        Ok(status) => {
            line(
                &mut out,
                "the programs stay in force: governed connections are refused until an agent runs again",
            );
            line(
                &mut out,
                "to serve them again:     mcpgw run --config DIR --cgroup PATH",
            );
            line(&mut out, "to remove the programs:  mcpgw uninstall");
            kernel(&mut out, status);
        }
    }
    out
}

fn workloads(workloads: &[WorkloadStatus]) -> Table {
    let mut table = Table::new(&["WORKLOAD", "SERVICE ACCOUNT", "MODE", "STATE", "LISTENERS", "CGROUP"]);
    for workload in workloads {
        let state = workload.state.to_string();
        let state = match (state.chars().count() > MAX_STATE, &workload.state) {
            (false, _) => state,
            (true, State::Pending(_)) => "pending".to_owned(),
            (true, State::NotGoverned(_)) => "not-governed".to_owned(),
            (true, _) => "refused".to_owned(),
        };
        let v6 = |address: &&String| address.starts_with('[');
        let count_v6 = workload.listeners.iter().filter(v6).count();
        let listeners = match (workload.listeners.len() - count_v6, count_v6) {
            (0, 0) => "",
            (_, 0) => "IPv4",
            (0, _) => "IPv6",
            _ => "IPv4 IPv6",
        };
        table.row([
            workload.name.clone(),
            workload.service_account.clone(),
            workload.mode.clone(),
            state,
            listeners.to_owned(),
            workload.cgroup.clone(),
        ]);
    }
    table
}

fn offers(offers: &[Offers]) -> Table {
    let mut table = Table::new(&["SERVER", "KNOWN", "TOOLS", "PROMPTS", "RESOURCES", "SPEAKS"]);
    for offers in offers {
        table.row([
            offers.server.clone(),
            offers.state.clone(),
            offers.tools.to_string(),
            offers.prompts.to_string(),
            (offers.resources + offers.templates).to_string(),
            offers.revisions.join(" "),
        ]);
    }
    table
}

fn pins(pins: &[PinCount]) -> Table {
    let mut table = Table::new(&["PINNED", "PIN", "APPROVED", "DRIFTED", "NEW"]).numeric(&[2, 3, 4]);
    for count in pins {
        table.row([
            count.server.clone(),
            count.pin.clone(),
            count.approved.to_string(),
            count.drifted.to_string(),
            count.new.to_string(),
        ]);
    }
    table
}

/// What is not approved, a line each.
fn unapproved(pins: &[PinCount]) -> String {
    let mut text = String::new();
    let (drifted, new) = pins.iter().fold((0, 0), |(drifted, new), count| {
        (drifted + count.drifted, new + count.new)
    });
    if drifted + new > 0 {
        let _ = writeln!(
            text,
            "NOT APPROVED: {drifted} drifted and {new} new tools; mcpgw pins shows them"
        );
    }
    for count in pins {
        if let Some(trouble) = &count.trouble {
            line(&mut text, &format!("{}: no tool is approved: {trouble}", count.server));
        }
    }
    text
}

/// What is wrong with what servers offer, a line each.
fn troubles(offers: &[Offers]) -> String {
    let mut text = String::new();
    for Offers {
        server,
        state,
        reason,
        problems,
        ..
    } in offers
    {
        if let Some((reason, seconds)) = reason {
            line(&mut text, &format!("{server} is {state} since {seconds} s: {reason}"));
        }
        for problem in problems {
            line(&mut text, &format!("{server}: {problem}"));
        }
    }
    text
}

/// What is wrong with the way to servers, a line each.
fn unreached(servers: &[ServerStatus]) -> String {
    let mut text = String::new();
    for server in servers {
        for problem in &server.problems {
            line(&mut text, &format!("{}: {problem}", server.name));
        }
    }
    text
}

fn servers(servers: &[ServerStatus]) -> Table {
    let mut table = Table::new(&["SERVER", "PREFIX", "PATH", "CAPTURE", "POLICIES", "ADDRESSES"]);
    for server in servers {
        let policies = match server.policies.len() {
            0 => "none: every call is allowed".to_owned(),
            _ => server.policies.join(" "),
        };
        table.row([
            server.name.clone(),
            server.prefix.clone(),
            server.path.clone(),
            match &*server.programmed {
                "Full" | "Off" => server.capture.clone(),
                limit => format!("{}\n{limit}", server.capture),
            },
            policies,
            [&server.addresses[..], &server.found[..]].concat().join("\n"),
        ]);
    }
    table
}

fn catalogs(catalogs: &[CatalogStatus]) -> Table {
    let mut table = Table::new(&["CATALOG", "PATH", "SERVERS"]);
    for catalog in catalogs {
        table.row([catalog.name.clone(), catalog.path.clone(), catalog.servers.join("\n")]);
    }
    table
}

fn issuers(issuers: &[IssuerStatus]) -> Table {
    let mut table = Table::new(&["ISSUER", "STATE", "KEYS", "AGE", "MAX AGE"]).numeric(&[2]);
    for issuer in issuers {
        table.row([
            issuer.issuer.clone(),
            issuer.state.clone(),
            issuer.keys.to_string(),
            issuer.age_seconds.map(duration).unwrap_or_default(),
            duration(issuer.max_age_seconds),
        ]);
    }
    table
}

fn engines(engines: &[EngineStatus]) -> Table {
    let mut table = Table::new(&[
        "ENGINE",
        "ADDRESS",
        "WHILE IT DOES NOT ANSWER",
        "ALLOWED",
        "REFUSED",
        "FAILED",
    ])
    .numeric(&[3, 4, 5]);
    for engine in engines {
        let meanwhile = match engine.failure_mode == OnFailure::Open.as_str() {
            true => "Open: calls pass",
            false => "Closed: calls are refused",
        };
        table.row([
            engine.name.clone(),
            engine.address.clone(),
            meanwhile.to_owned(),
            engine.counts.allowed.to_string(),
            engine.counts.refused.to_string(),
            engine.counts.failed.to_string(),
        ]);
    }
    table
}

/// What the kernel reports.
fn kernel(out: &mut String, status: &DatapathStatus) {
    let mut programs = Table::new(&["PROGRAM", "PROGRAM ID", "LINK ID", "CGROUP ID"]).numeric(&[1, 2, 3]);
    for program in &status.programs {
        let ids = [
            program.program_id.to_string(),
            program.link_id.to_string(),
            program.cgroup_id.to_string(),
        ];
        programs.row([program.name.clone()].into_iter().chain(ids));
    }
    section(out, &programs, "no programs are attached");
    let mut maps = Table::new(&["MAP", "ENTRIES", "CAPACITY"]).numeric(&[1, 2]);
    for map in &status.maps {
        maps.row([map.name.clone(), map.entries.to_string(), map.capacity.to_string()]);
    }
    if !maps.is_empty() {
        section(out, &maps, "");
    }
    let mut connects = Table::new(&["CONNECTS", "REASON", "COUNT"]).numeric(&[2]);
    for connect in status.connects.iter().filter(|connect| connect.count > 0) {
        connects.row([
            connect.decision.clone(),
            connect.reason.clone(),
            connect.count.to_string(),
        ]);
    }
    section(out, &connects, "no governed connects yet");
    if status.original_dst_missing > 0 {
        let count = status.original_dst_missing;
        line(
            out,
            &format!("{count} accepted connections had no original destination and were closed"),
        );
    }
}

fn section(out: &mut String, table: &Table, when_empty: &str) {
    let text = if table.is_empty() {
        format!("{when_empty}\n")
    } else {
        table.to_string()
    };
    // Writing to a string cannot fail.
    let _ = write!(out, "\n{text}");
}

/// One line, whatever servers, issuers and engines had to say in it.
fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{}", on_one_line(text));
}

/// A time of that many seconds, to a reader's precision.
pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}
