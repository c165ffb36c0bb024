//! One rule, compiled.

use std::sync::Arc;

use crate::{
    identity::WorkloadIdentity,
    resources::{self, Action, Pattern},
};

/// A rule with its name.
#[derive(Debug)]
pub(super) struct Rule {
    /// `namespace/policy#n`, `n` counting from 1.
    pub(super) name: Arc<str>,
    pub(super) action: Action,
    from: Vec<resources::Caller>,
    tools: Vec<Pattern>,
}

impl Rule {
    /// Compiles rule number `index` (from 0) of a policy.
    pub(super) fn compile(policy: &resources::Policy, index: usize) -> Self {
        let rule = &policy.rules[index];
        Self {
            name: format!("{}#{}", policy.name, index + 1).into(),
            action: rule.action,
            from: rule.from.clone(),
            tools: rule.tools.clone(),
        }
    }

    /// Whether the rule is about this caller and tool.
    pub(super) fn matches(&self, caller: Option<&WorkloadIdentity>, tool: &str) -> bool {
        let is_from = |caller| self.from.iter().any(|from| is_from(from, caller));
        let from = self.from.is_empty() || caller.is_some_and(is_from);
        from && (self.tools.is_empty() || self.tools.iter().any(|pattern| pattern.matches(tool)))
    }

    /// The tools that it names outright.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().filter_map(Pattern::literal)
    }
}

fn is_from(from: &resources::Caller, caller: &WorkloadIdentity) -> bool {
    let resources::Caller {
        namespaces,
        service_accounts,
    } = from;
    let namespace = &caller.workload.namespace;
    let in_namespace = namespaces.is_empty() || namespaces.contains(namespace);
    let as_account = service_accounts.is_empty()
        || service_accounts
            .iter()
            .any(|account| account.namespace == *namespace && account.name == caller.service_account);
    in_namespace && as_account
}
