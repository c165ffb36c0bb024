//! What was decided, from the audit log.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::super::terminal::on_one_line;
use crate::{
    pins,
    resources::{Claim, Desired, KeyPart, Limit, Pattern, Policy, Rule, Scope},
};

/// Statuses of those who have not proven enough of who they are, or whose proof cannot be checked.
const PROOF_STATUS: [u16; 3] = [401, 403, 503];

/// The line about a decision in an audit log: a file, or `-` for standard input.
pub(super) fn find(audit: &Path, id: &str) -> anyhow::Result<Value> {
    if audit.as_os_str() == "-" {
        return find_in(std::io::stdin().lock(), "standard input", id);
    }
    let name = audit.display().to_string();
    let file = File::open(audit).with_context(|| format!("cannot read {name}"))?;
    find_in(BufReader::new(file), &name, id)
}

fn find_in(log: impl BufRead, name: &str, id: &str) -> anyhow::Result<Value> {
    for line in log.lines() {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        // Most lines are about something else, and need not be parsed.
        if !line.contains(id) {
            continue;
        }
        match serde_json::from_str::<Value>(&line) {
            Ok(found) if found["decisionId"] == id => return Ok(found),
            _ => {}
        }
    }
    bail!("there is no decision {id} in {name}; older files of a rotated log can be named with --audit")
}

/// What was decided, about what and whom, and the rule as it stands in the configuration now.
pub(super) fn render(found: &Value, desired: &Desired) -> String {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => on_one_line(text),
        other => other.to_string(),
    };
    let of = |member: &str| text(&found[member]);
    let subject = ["tool", "prompt", "resource", "task"]
        .iter()
        .find(|kind| found[**kind].is_string())
        .map_or_else(String::new, |kind| format!(" {kind} {}", of(kind)));
    let decision = if found["decision"].is_null() {
        of("event")
    } else {
        of("decision")
    };
    let rule = if found["rule"].is_null() {
        of("reason")
    } else {
        of("rule")
    };
    let what = match (found["method"].is_null(), found["server"].is_null()) {
        // Of whom too little is known, the request's body is not read.
        (true, _) => "before anything of what it asks for was read".to_owned(),
        (false, true) => format!("{}{subject}", of("method")),
        (false, false) => format!("{}{subject} of {}", of("method"), of("server")),
    };
    let through = match found["catalog"].as_str() {
        Some(_) => format!(", through catalog {}", of("catalog")),
        None => String::new(),
    };
    let outcome = match found["outcome"].is_null() {
        true => format!("status {}", of("status")),
        false => format!("outcome {}", of("outcome")),
    };
    let identity = &found["identity"];
    let mut rendered = format!(
        "{decision} ({rule})\n{} at {}: {what}{through}\nby {}/{} (workload {}, pid {}), path {}, {outcome}\n",
        of("time"),
        of("node"),
        text(&identity["namespace"]),
        text(&identity["serviceAccount"]),
        text(&identity["workload"]),
        text(&identity["pid"]),
        of("path"),
    );
    if identity["subject"].is_string() {
        let (subject, issuer) = (text(&identity["subject"]), text(&identity["issuer"]));
        rendered += &format!("its token is about {subject}, and of {issuer}\n");
    }
    if !found["engineError"].is_null() {
        rendered += &format!("{} gave no answer: {}\n", of("engine"), of("engineError"));
    }
    if PROOF_STATUS.iter().any(|status| found["status"] == *status) && found["rule"].is_null() {
        rendered += &demanded(desired);
    }
    if let Some((kind, text)) = found["rule"].as_str().and_then(|name| written(name, desired)) {
        rendered += &format!("\nThe {kind}, as it is configured now:\n{text}");
    }
    if found["rule"] == pins::RULE {
        rendered += "\nThe definition of the tool was not the approved one: see mcpgw pins\n";
    }
    rendered
}

/// Who wants which proof of its callers, as it is configured now.
fn demanded(desired: &Desired) -> String {
    let gateway = desired.settings.gateway.iter();
    let gateway = gateway.map(|gateway| format!("  {} at the gateway\n", gateway.authentication.as_str()));
    let wanting = desired
        .policies
        .iter()
        .filter_map(|policy| Some((policy, policy.authentication.as_ref()?)));
    let policies = wanting.map(|(policy, demand)| {
        let issuers = match &demand.issuers {
            Some(issuers) => format!(", of {}", issuers.join(", ")),
            None => String::new(),
        };
        format!("  {}{issuers} by policy {}\n", demand.mode.as_str(), policy.title())
    });
    let all: String = gateway.chain(policies).collect();
    match all.is_empty() {
        true => all,
        false => format!("\nWhat proof of callers is wanted, as it is configured now (authentication):\n{all}"),
    }
}

/// The rule or limit of this name, and which of both it is.
fn written(name: &str, desired: &Desired) -> Option<(&'static str, String)> {
    let (policy, own) = name.rsplit_once('#')?;
    let policy: &Policy = desired.policies.iter().find(|known| known.title() == policy)?;
    if let Ok(number) = own.parse::<usize>() {
        return Some(("rule", describe(policy.rules.get(number.checked_sub(1)?)?)));
    }
    Some(("limit", described_limit(limit_named(name, desired)?)))
}

/// The limit of this name.
pub(super) fn limit_named<'d>(name: &str, desired: &'d Desired) -> Option<&'d Limit> {
    let (policy, _) = name.rsplit_once('#')?;
    let policy: &Policy = desired.policies.iter().find(|known| known.title() == policy)?;
    let mut limits = policy.limits.iter().enumerate();
    let found = limits.find(|(index, limit)| policy.limit_title(*index, limit) == name);
    found.map(|(_, limit)| limit)
}

/// A limit in a few lines, with the fields that it has.
pub(super) fn described_limit(limit: &Limit) -> String {
    let Limit {
        name: _,
        counts,
        tools,
        rate,
        concurrency,
        key,
        scope,
    } = limit;
    let globs = |patterns: &[Pattern]| patterns.iter().map(Pattern::as_str).collect::<Vec<_>>().join(", ");
    let mut lines = vec![format!("  counts: {}", globs(counts))];
    if !tools.is_empty() {
        lines.push(format!("  tools: {}", globs(tools)));
    }
    if let Some(rate) = rate {
        let per = humantime::format_duration(rate.per);
        lines.push(format!(
            "  requests: {} per {per}, burst: {}",
            rate.requests, rate.burst
        ));
    }
    lines.extend(concurrency.map(|most| format!("  concurrency: {most}")));
    let part = |part: &KeyPart| match part {
        KeyPart::Identity => "identity".to_owned(),
        KeyPart::Namespace => "namespace".to_owned(),
        KeyPart::Server => "server".to_owned(),
        KeyPart::Tool => "tool".to_owned(),
        KeyPart::Claim(path) => format!("claim:{}", path.join(".")),
    };
    if !key.is_empty() {
        let parts: Vec<String> = key.iter().map(part).collect();
        lines.push(format!("  key: {}", parts.join(", ")));
    }
    let scope = match scope {
        Scope::Node => "Node",
        Scope::Cluster { .. } => "Cluster",
    };
    lines.push(format!("  scope: {scope}"));
    lines.join("\n") + "\n"
}

/// A rule in a few lines, with the fields that it has.
fn describe(rule: &Rule) -> String {
    let Rule {
        action,
        from,
        methods,
        tools,
        prompts,
        resources,
        annotations,
        when,
    } = rule;
    let globs = |patterns: &[Pattern]| patterns.iter().map(Pattern::as_str).collect::<Vec<_>>().join(", ");
    let mut lines = vec![format!("  action: {}", action.as_str())];
    for caller in from {
        let accounts: Vec<String> = caller.service_accounts.iter().map(ToString::to_string).collect();
        let claim = |claim: &Claim| format!("{} = {}", claim.path.join("."), globs(&claim.values));
        let claims: Vec<String> = caller.claims.iter().map(claim).collect();
        let parts = [
            ("namespaces", caller.namespaces.join(", ")),
            ("serviceAccounts", accounts.join(", ")),
            ("groups", globs(&caller.groups)),
            ("claims", claims.join("; ")),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| format!("{name}: {text}"))
            .collect();
        lines.push(format!("  from: {}", parts.join("; ")));
    }
    for (name, patterns) in [
        ("methods", methods),
        ("tools", tools),
        ("prompts", prompts),
        ("resources", resources),
    ] {
        if !patterns.is_empty() {
            lines.push(format!("  {name}: {}", globs(patterns)));
        }
    }
    let wanted: Vec<String> = annotations
        .wanted()
        .map(|(name, wanted)| format!("{name}: {wanted}"))
        .collect();
    if !wanted.is_empty() {
        lines.push(format!("  annotations: {}", wanted.join(", ")));
    }
    lines.extend(when.iter().map(|when| format!("  when: {}", when.source())));
    lines.join("\n") + "\n"
}
