//! What rules and admission can tell callers apart by. Callers with the same face see the same.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use super::rule::{Rule, value};
use crate::{expression::Variable, identity::Caller, resources::ObjectName};

/// A caller, as far as the rules of a plan look at it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Face {
    account: Option<(Arc<str>, Arc<str>)>,
    /// Whether the kernel vouches for it.
    attested: bool,
    /// Who issued its token.
    issuer: Option<Arc<str>>,
    strangers_token: bool,
    observed: bool,
    workload: Option<ObjectName>,
    principal: Option<String>,
    groups: Vec<Arc<str>>,
    /// In the order of [`Looks::claims`], as JSON.
    claims: Vec<Option<String>>,
    process: Option<(u32, Option<PathBuf>)>,
}

/// What the rules of a plan look at, beside the ServiceAccount.
#[derive(Clone, Debug, Default)]
pub(super) struct Looks {
    groups: bool,
    claims: BTreeSet<Vec<Arc<str>>>,
    workload: bool,
    principal: bool,
    process: bool,
}

impl Looks {
    /// Adds what a rule looks at.
    pub(super) fn add(&mut self, rule: &Rule) {
        for from in &rule.from {
            self.groups |= !from.groups.is_empty();
            self.claims.extend(from.claims.iter().map(|claim| claim.path.clone()));
        }
        let Some(when) = &rule.when else { return };
        let reads = when.reads();
        self.claims.extend(reads.claims.iter().cloned());
        self.workload |= reads.has(Variable::Workload);
        self.principal |= reads.has(Variable::Principal);
        self.process |= reads.has(Variable::Executable) || reads.has(Variable::Pid);
    }

    pub(super) fn face(&self, caller: &Caller) -> Face {
        let own = |(namespace, name): (&Arc<str>, &Arc<str>)| (Arc::clone(namespace), Arc::clone(name));
        let claim = |path: &Vec<Arc<str>>| match path.is_empty() {
            true => serde_json::to_string(&caller.token.as_ref()?.claims).ok(),
            false => value(path, caller).map(ToString::to_string),
        };
        let process = caller.process.as_ref().filter(|_| self.process);
        Face {
            account: caller.account().map(own),
            attested: caller.workload.is_some(),
            issuer: caller.token.as_ref().map(|token| Arc::clone(&token.issuer)),
            strangers_token: caller.brings_a_strangers_token(),
            observed: caller.observed,
            workload: match &caller.workload {
                Some(workload) if self.workload => Some(workload.workload.clone()),
                _ => None,
            },
            principal: self.principal.then(|| caller.principal()),
            groups: match &caller.token {
                Some(token) if self.groups => token.groups.clone(),
                _ => Vec::new(),
            },
            claims: self.claims.iter().map(claim).collect(),
            process: process.map(|process| (process.pid, process.executable.clone())),
        }
    }
}
