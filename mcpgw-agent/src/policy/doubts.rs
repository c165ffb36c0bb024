//! What is doubtful about the rules of a server, for the operator: it is in force as it is written, and may not do
//! what its writer believes.

use super::Admission;
use crate::{
    expression::Variable,
    resources::{Action, Caller, Capture, ClientTls, Desired, Enforcement, Expose, KeyPart, Policy, Rule, Server},
};

/// What is doubtful about the rules that govern this server, a sentence each.
pub fn doubts(server: &Server, desired: &Desired) -> Vec<String> {
    let governing = || desired.policies.iter().filter(|policy| policy.governs(server));
    let enforced = || governing().filter(|policy| policy.enforcement == Enforcement::Enforce);
    let admission = Admission::of(server, enforced().map(|policy| &**policy));
    let limited = enforced().any(|policy| !policy.limits.is_empty());
    let mut doubts = Vec::from_iter(unread(server, &admission, limited, desired));
    doubts.extend(closed(enforced().flat_map(|policy| &policy.rules)));
    if !always_brings_a_token(server, &admission, desired) {
        doubts.extend(governing().flat_map(|policy| untold(policy)));
        doubts.extend(governing().flat_map(|policy| shared(policy)));
    }
    doubts.extend(governing().flat_map(|policy| about_no_server(policy, desired)));
    doubts.extend(shown_by_labels_to_nobody(server, desired));
    doubts
}

/// Rules in force that only deny: with them everything is denied.
fn closed<'r>(rules: impl Iterator<Item = &'r Rule>) -> Option<String> {
    let actions = Vec::from_iter(rules.map(|rule| rule.action));
    let closes = !actions.is_empty() && !actions.contains(&Action::Allow);
    closes.then(|| {
        "NothingAllowed: rules govern it and none of them allows anything: every call is denied; add a rule with action: Allow"
            .to_owned()
    })
}

/// TLS that is to go on unread, and cannot because of what must be seen in it.
fn unread(server: &Server, admission: &Admission, limited: bool, desired: &Desired) -> Option<String> {
    let what = match server.client_tls {
        ClientTls::Passthrough if admission.redirected().mode.needs_token() => "tokens are asked for",
        ClientTls::Passthrough if limited => "limits count its calls",
        ClientTls::Passthrough if desired.settings.ext_authz.is_some() => "extAuthz is asked about its calls",
        _ => return None,
    };
    Some(format!(
        "PassthroughRefused: {what}, and clientTLS Passthrough lets nobody see them: TLS connections are refused; use Terminate"
    ))
}

/// Whether nobody gets as far as the rules without a token, whichever way.
fn always_brings_a_token(server: &Server, admission: &Admission, desired: &Desired) -> bool {
    let at_gateway = desired.settings.gateway.as_ref();
    admission.redirected().mode.needs_token()
        || server.capture != Capture::Redirect && at_gateway.is_some_and(|gateway| gateway.authentication.needs_token())
}

/// Denials that only a token can tell whether they are about a caller.
fn untold(policy: &Policy) -> impl Iterator<Item = String> {
    let rules = policy.rules.iter().enumerate();
    rules.filter(|(_, rule)| denies_by_token(rule)).map(|(index, _)| {
        format!(
            "UntoldCallers: {}#{} denies by what a token says, and callers need none here: each that it may be about is denied; ask for tokens by authentication",
            policy.title(),
            index + 1
        )
    })
}

/// Limits that have one budget for all whom no token tells apart.
fn shared(policy: &Policy) -> impl Iterator<Item = String> {
    let limits = policy.limits.iter().enumerate();
    let by_token = limits.filter(|(_, limit)| limit.key.iter().any(|part| matches!(part, KeyPart::Claim(_))));
    by_token.map(|(index, limit)| {
        format!(
            "UntoldCallers: {} tells budgets apart by what a token says, and callers need none here: those whom nothing else in its key tells apart share one; ask for tokens by authentication",
            policy.limit_title(index, limit)
        )
    })
}

/// Rules that are only about servers which are not there: servers come and go, so that this is no mistake for sure.
fn about_no_server(policy: &Policy, desired: &Desired) -> impl Iterator<Item = String> {
    let is_there = |name: &str| {
        let found = desired.servers.iter().find(|server| {
            let own = &server.name;
            name.split_once('/') == Some((&*own.namespace, &*own.name))
        });
        found.is_some_and(|server| policy.governs(server))
    };
    let rules = policy.rules.iter().enumerate();
    rules.filter_map(move |(index, rule)| {
        let never = rule
            .when
            .as_ref()?
            .can_hold(|narrow| narrow.may(Variable::Server, is_there))
            .err()?;
        Some(format!(
            "NoSuchServer: {}#{} never matches: {never}, and the policy governs no such server now",
            policy.title(),
            index + 1
        ))
    })
}

/// A selector that none of the namespaces fits that are known: callers whom a token alone names may be of others, so
/// that this is no mistake for sure.
fn shown_by_labels_to_nobody(server: &Server, desired: &Desired) -> Option<String> {
    let Expose::Selected { by, .. } = &server.expose_to else {
        return None;
    };
    let of_servers = desired.servers.iter().map(|server| &server.name.namespace);
    let of_workloads = desired.workloads.iter().map(|workload| &workload.name.namespace);
    let mut known = desired.namespaces.keys().chain(of_servers).chain(of_workloads);
    let nobody = !known.any(|namespace| by.selects_namespace(namespace, &desired.namespaces));
    nobody.then(|| format!("NoSuchNamespace: exposeTo.selector ({by}) selects none of the namespaces in these files"))
}

fn denies_by_token(rule: &Rule) -> bool {
    let tells = rule.from.iter().any(Caller::is_told_by_token);
    let reads = rule
        .when
        .as_ref()
        .is_some_and(|when| when.reads().has(Variable::Claims));
    rule.action == Action::Deny && (tells || reads)
}
