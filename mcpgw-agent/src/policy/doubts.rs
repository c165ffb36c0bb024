//! What is doubtful about the rules of a server, for the operator: it is in force as it is written, and may not do
//! what its writer believes.

use super::Admission;
use crate::{
    expression::Variable,
    resources::{Action, Capture, Desired, Enforcement, Policy, Rule, Server},
};

/// What is doubtful about the rules that govern this server, a sentence each.
pub fn doubts(server: &Server, desired: &Desired) -> Vec<String> {
    let governing = || desired.policies.iter().filter(|policy| policy.governs(server));
    let enforced = governing().filter(|policy| policy.enforcement == Enforcement::Enforce);
    if always_brings_a_token(
        server,
        &Admission::of(server, enforced.map(|policy| &**policy)),
        desired,
    ) {
        return Vec::new();
    }
    governing().flat_map(|policy| untold(policy)).collect()
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

fn denies_by_token(rule: &Rule) -> bool {
    let tells = rule
        .from
        .iter()
        .any(|from| !from.groups.is_empty() || !from.claims.is_empty());
    let reads = rule
        .when
        .as_ref()
        .is_some_and(|when| when.reads().has(Variable::Claims));
    rule.action == Action::Deny && (tells || reads)
}
