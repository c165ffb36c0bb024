//! The rules that govern one server, and what they decide.

use std::{collections::HashSet, sync::Arc};

use super::{
    Arguments, Ask,
    index::Index,
    rule::{Considered, Rule},
};
use crate::{
    expression::{Failure, Variable},
    identity::Caller,
    mcp::governed::Kind,
    resources::{self, Action, Enforcement, Policy},
};

/// The rule that denies when rules govern a server and none of them permits a request.
pub const DEFAULT_DENY: &str = "default-deny";

/// Which rule: its place in the order of policies and rules.
pub(super) type Number = u32;

/// What a request gets, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes to the server.
    Allow {
        /// The first rule that permits it, as `namespace/policy#n` (`n` from 1); `None` where no policy with
        /// rules governs the server.
        rule: Option<Arc<str>>,
    },
    /// Nothing reaches the server.
    Deny {
        /// The first rule that denies it, or [`DEFAULT_DENY`].
        rule: Arc<str>,
        /// Why, as far as the caller may know.
        because: Because,
    },
}

/// Why a request is denied, as far as its caller may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The caller may not have it at all, and so not know whether it exists.
    Hidden,
    /// The caller may have it, but not with these arguments.
    Arguments,
    /// The caller may have it, once it is approved. No rule decides this.
    NotApproved,
}

/// All that comes of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What the request gets.
    pub decision: Decision,
    /// The rule that would have denied what is allowed, were every policy in force.
    pub would_deny: Option<Arc<str>>,
    /// Rules whose conditions could not be evaluated.
    pub failures: Vec<(Arc<str>, Failure)>,
    /// How many rules were looked at.
    pub looked_at: usize,
}

impl Judgement {
    /// A decision that no rule is behind.
    pub(super) fn of(decision: Decision) -> Self {
        Self {
            decision,
            would_deny: None,
            failures: Vec::new(),
            looked_at: 0,
        }
    }
}

/// Whether a URI has segments that a server may take for another place than a glob does.
fn has_dot_segments(uri: &str) -> bool {
    if !uri.contains(['.', '%']) {
        return false;
    }
    let plain = uri.to_ascii_lowercase();
    let plain = plain.replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\");
    plain
        .split(['/', '\\', '?', '#'])
        .any(|segment| matches!(segment, "." | ".."))
}

/// The rules of some policies.
#[derive(Debug, Default)]
pub(super) struct RuleSet {
    rules: Vec<Rule>,
    deny: Index,
    allow: Index,
    literals: HashSet<Box<str>>,
    reads_arguments: bool,
    names_resources: bool,
    reads_annotations: bool,
}

impl RuleSet {
    /// `trusts`: whether what the server says of its tools is believed.
    pub(super) fn compile<'p>(policies: impl Iterator<Item = &'p Arc<Policy>>, trusts: bool) -> Self {
        let mut set = Self::default();
        for policy in policies {
            for index in 0..policy.rules.len() {
                set.add(Rule::compile(policy, index, trusts));
            }
        }
        set
    }

    fn add(&mut self, rule: Rule) {
        // Bounds of the resources keep this far below the limit.
        let number = Number::try_from(self.rules.len()).unwrap_or(Number::MAX);
        let index = match rule.action {
            Action::Deny => &mut self.deny,
            Action::Allow => &mut self.allow,
        };
        index.insert(number, &rule);
        self.names_resources |= rule.names(Kind::Resource).is_some_and(|names| !names.is_empty());
        self.literals.extend(rule.literals().map(Box::from));
        let reads = |variable| rule.when.as_ref().is_some_and(|when| when.reads().has(variable));
        self.reads_arguments |= reads(Variable::Arguments);
        self.reads_annotations |= !rule.annotations.is_nothing();
        self.rules.push(rule);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// Whether a rule looks at what a server says of its tools.
    pub(super) fn reads_annotations(&self) -> bool {
        self.reads_annotations
    }

    /// Whether a rule looks at what a caller's token says.
    pub(super) fn reads_token(&self) -> bool {
        let reads = |rule: &Rule| {
            rule.when
                .as_ref()
                .is_some_and(|when| when.reads().has(Variable::Claims))
        };
        let tells = resources::Caller::is_told_by_token;
        self.rules.iter().any(|rule| reads(rule) || rule.from.iter().any(tells))
    }

    /// Whether a rule names this tool outright.
    pub(super) fn names_tool(&self, tool: &str) -> bool {
        self.literals.contains(tool)
    }

    pub(super) fn decide(&self, ask: &Ask<'_>, server: &str, default_deny: &Arc<str>) -> Judgement {
        let mut judgement = Judgement::of(Decision::Allow { rule: None });
        if self.is_empty() {
            return judgement;
        }
        if self.names_resources && ask.kind == Kind::Resource && has_dot_segments(ask.name) {
            judgement.decision = Decision::Deny {
                rule: Arc::clone(default_deny),
                because: Because::Hidden,
            };
            return judgement;
        }
        judgement.decision = self.outcome(ask, server, default_deny, &mut judgement);
        if let Decision::Deny { because, .. } = &mut judgement.decision
            && self.reads_arguments
            && ask.arguments.are_known()
        {
            let whether = Ask {
                arguments: Arguments::unknown(),
                ..*ask
            };
            let mut aside = Judgement::of(Decision::Allow { rule: None });
            if let Decision::Allow { .. } = self.outcome(&whether, server, default_deny, &mut aside) {
                *because = Because::Arguments;
            }
        }
        judgement
    }

    /// What is open because arguments are not known counts for the request: it could be allowed.
    fn outcome(&self, ask: &Ask<'_>, server: &str, default_deny: &Arc<str>, notes: &mut Judgement) -> Decision {
        let deny = |rule: &Arc<str>| Decision::Deny {
            rule: Arc::clone(rule),
            because: Because::Hidden,
        };
        let mut consider = |number: &Number| {
            notes.looked_at += 1;
            let rule = &self.rules[*number as usize];
            let considered = rule.consider(ask, server);
            if let Considered::Fails(failure) = &considered {
                notes.failures.push((Arc::clone(&rule.name), failure.clone()));
            }
            (rule, considered)
        };
        for number in &self.deny.find(ask) {
            if let (rule, Considered::Matches | Considered::Fails(_)) = consider(number) {
                return deny(&rule.name);
            }
        }
        for number in &self.allow.find(ask) {
            if let (rule, Considered::Matches | Considered::Open) = consider(number) {
                let rule = Some(Arc::clone(&rule.name));
                return Decision::Allow { rule };
            }
        }
        deny(default_deny)
    }

    /// Whether everything is allowed to this caller, whatever it asks for.
    pub(super) fn decide_unseen(&self, caller: &Caller, server: &str, default_deny: &Arc<str>) -> Decision {
        if self.is_empty() {
            return Decision::Allow { rule: None };
        }
        let of = |action: Action| self.rules.iter().filter(move |rule| rule.action == action);
        let deny = |rule: &Arc<str>| Decision::Deny {
            rule: Arc::clone(rule),
            because: Because::Hidden,
        };
        if let Some(rule) = of(Action::Deny).find(|rule| rule.may_be_about(caller, server)) {
            return deny(&rule.name);
        }
        match of(Action::Allow).find(|rule| rule.is_about_all_of(caller, server)) {
            Some(rule) => Decision::Allow {
                rule: Some(Arc::clone(&rule.name)),
            },
            None => deny(default_deny),
        }
    }

    /// What each rule says about a request, in their order.
    pub(super) fn consider(&self, ask: &Ask<'_>, server: &str) -> Vec<(Arc<str>, Action, Enforcement, Considered)> {
        let consider = |rule: &Rule| {
            let considered = rule.consider(ask, server);
            (Arc::clone(&rule.name), rule.action, rule.enforcement, considered)
        };
        self.rules.iter().map(consider).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_that_lead_elsewhere_are_found_in_any_spelling() {
        for uri in [
            "file:///public/../etc/passwd",
            "file:///public/..",
            "file:///public/./x",
            "file:///public/%2e%2E/etc",
            "file:///public%2f..%2fetc",
            "file:///public\\..\\etc",
            "../x",
        ] {
            assert!(has_dot_segments(uri), "{uri}");
        }
        for uri in ["file:///public/a..b/.c", "demo://x/1", "demo://x/1.5?y=...", "a%20b"] {
            assert!(!has_dot_segments(uri), "{uri}");
        }
    }
}
