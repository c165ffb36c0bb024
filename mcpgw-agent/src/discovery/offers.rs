//! How well each server is known, and what it offers, for the operator.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{Catalogue, Discovery, MAX_TEMPLATE, MAX_TEMPLATES, State, names};
use crate::{
    mcp::version::Revision,
    resources::{Authentication, Desired, ObjectName, Pattern, Policy, Server},
};

/// Problems with names that are told of one server; the others are counted.
const MAX_PROBLEMS: usize = 20;

/// What a server offers, as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offers {
    /// The server, as `namespace/name`.
    pub server: String,
    /// `Ready`, `Partial` (some lists cannot be had; what was last seen of them is still offered), `LastGood` (it
    /// cannot be asked; what was last seen is still offered), `Unreachable` or `Unknown`.
    pub state: String,
    /// Why it cannot be asked, and since how many seconds.
    pub reason: Option<(String, u64)>,
    /// The revisions that it speaks: one of the eras with sessions, the one without, or both.
    pub revisions: Vec<String>,
    /// Number of its tools.
    pub tools: usize,
    /// Number of its prompts.
    pub prompts: usize,
    /// Number of its resources.
    pub resources: usize,
    /// Number of its resource templates.
    pub templates: usize,
    /// What is wrong with the names that its tools and prompts get at the gateway (`PrefixConflict: …`), which of its
    /// URIs an older server has already (`UriConflict: …`), how many of its resource templates are not offered on, and why
    /// (`TemplateLimit: …`), and what is wrong with names in rules (`PrefixedRule: …`).
    pub problems: Vec<String>,
}

impl Discovery {
    /// What the servers of these resources offer, in their order; with what is odd about their names and the rules
    /// about them.
    pub fn offers(&self, desired: &Desired) -> Vec<Offers> {
        let (servers, policies) = (&desired.servers, &desired.policies);
        // Who need not say who it is sees all.
        let gateway = desired.settings.gateway.as_ref();
        let all_meet = gateway.is_some_and(|gateway| gateway.authentication == Authentication::None);
        let (snapshot, states) = (self.snapshot(), self.states());
        let known = || {
            servers
                .iter()
                .filter_map(|server| Some((server, snapshot.get(&server.name)?)))
        };
        let conflicts = |items: fn(&Catalogue) -> &[super::Item]| {
            let offered = known().map(|(server, catalogue)| (&**server, items(catalogue)));
            names::conflicts(offered, |one, other| all_meet || one.meets(other))
        };
        let mut problems: HashMap<ObjectName, Vec<names::Conflict>> = conflicts(|catalogue| &catalogue.tools);
        for (server, more) in conflicts(|catalogue| &catalogue.prompts) {
            problems.entry(server).or_default().extend(more);
        }
        let lists: [fn(&Catalogue) -> &[super::Item]; 2] =
            [|catalogue| &catalogue.resources, |catalogue| &catalogue.templates];
        for items in lists {
            let resources = known().map(|(server, catalogue)| (&server.name, items(catalogue)));
            for (server, more) in names::uri_conflicts(resources) {
                problems.entry(server).or_default().extend(more);
            }
        }
        let offers = |server: &Arc<Server>| {
            let catalogue = snapshot.get(&server.name);
            let count = |items: fn(&Catalogue) -> usize| catalogue.map_or(0, |catalogue| items(catalogue));
            let speaks = catalogue.map(|catalogue| catalogue.speaks).unwrap_or_default();
            let modern = speaks.modern.then_some(Revision::MODERN);
            let (state, reason) = described(states.get(&server.name));
            Offers {
                server: server.name.to_string(),
                state,
                reason,
                revisions: speaks
                    .legacy
                    .into_iter()
                    .chain(modern)
                    .map(|revision| revision.as_str().to_owned())
                    .collect(),
                tools: count(|catalogue| catalogue.tools.len()),
                prompts: count(|catalogue| catalogue.prompts.len()),
                resources: count(|catalogue| catalogue.resources.len()),
                templates: count(|catalogue| catalogue.templates.len()),
                problems: {
                    let conflicts = problems
                        .get(&server.name)
                        .into_iter()
                        .flatten()
                        .map(ToString::to_string);
                    let odd = catalogue.map(|catalogue| prefixed_rules(server, catalogue, policies));
                    let conflicts = catalogue
                        .and_then(|catalogue| left_out(catalogue))
                        .into_iter()
                        .chain(conflicts);
                    told(conflicts.chain(odd.unwrap_or_default()).collect())
                },
            }
        };
        servers.iter().map(offers).collect()
    }
}

fn described(state: Option<&State>) -> (String, Option<(String, u64)>) {
    let ago = |since: &SystemTime| since.elapsed().unwrap_or(Duration::ZERO).as_secs();
    match state {
        None => ("Unknown".to_owned(), None),
        Some(State::Ready) => ("Ready".to_owned(), None),
        Some(State::Partial { reason, since }) => ("Partial".to_owned(), Some((reason.clone(), ago(since)))),
        Some(State::LastGood { reason, since }) => ("LastGood".to_owned(), Some((reason.clone(), ago(since)))),
        Some(State::Unreachable { reason, since }) => ("Unreachable".to_owned(), Some((reason.clone(), ago(since)))),
    }
}

/// What is not offered on of a server's resource templates.
fn left_out(catalogue: &Catalogue) -> Option<String> {
    let more = catalogue.templates_left_out;
    (more > 0).then(|| {
        format!(
            "TemplateLimit: {more} of its resource templates are not offered: the first {MAX_TEMPLATES} of at most {MAX_TEMPLATE} bytes are"
        )
    })
}

/// Rules that name a server's tools as the gateway does, and so match none of them.
fn prefixed_rules(server: &Server, catalogue: &Catalogue, policies: &[Arc<Policy>]) -> Vec<String> {
    let prefix = &*server.prefix;
    let mut odd = Vec::new();
    if prefix.is_empty() {
        return odd;
    }
    for policy in policies.iter().filter(|policy| policy.governs(server)) {
        for (index, rule) in policy.rules.iter().enumerate() {
            let matches = |pattern: &Pattern| catalogue.tools.iter().any(|tool| pattern.matches(&tool.name));
            let prefixed = |pattern: &&Pattern| pattern.as_str().starts_with(prefix) && !matches(pattern);
            odd.extend(rule.tools.iter().filter(prefixed).map(|pattern| {
                format!(
                    "PrefixedRule: {:?} of {}#{} matches no tool of the server: rules see its own names, without {prefix:?}",
                    pattern.as_str(),
                    policy.title(),
                    index + 1
                )
            }));
        }
    }
    odd
}

fn told(mut problems: Vec<String>) -> Vec<String> {
    if let Some(more) = problems.len().checked_sub(MAX_PROBLEMS).filter(|more| *more > 0) {
        problems.truncate(MAX_PROBLEMS);
        problems.push(format!("and {more} more"));
    }
    problems
}
