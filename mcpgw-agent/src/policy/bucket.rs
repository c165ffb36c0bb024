//! Rules by the caller that they are about.

use std::{collections::HashMap, sync::Arc};

use super::{
    rule::{Rule, texts},
    rules::Number,
};
use crate::{
    identity::Caller,
    resources::{self, Pattern},
};

type ByText = HashMap<Box<str>, Vec<Number>>;

/// Rules of which those that can be about a caller are found without looking at the others. Each is filed under the
/// most telling of what its `from` wants, so that what is found must still be checked.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    everyone: Vec<Number>,
    /// By namespace and name.
    accounts: HashMap<Arc<str>, HashMap<Arc<str>, Vec<Number>>>,
    namespaces: HashMap<Arc<str>, Vec<Number>>,
    groups: ByText,
    /// By the path of the claim.
    claims: HashMap<Vec<Arc<str>>, ByText>,
    /// Denials by groups and claims, which hold for callers whose token tells nothing of them: they have none. Those
    /// of everyone, and those of a namespace.
    untold: Vec<Number>,
    untold_namespaces: HashMap<Arc<str>, Vec<Number>>,
}

impl Bucket {
    pub(super) fn insert(&mut self, number: Number, rule: &Rule) {
        if rule.from.is_empty() {
            self.everyone.push(number);
        }
        for from in &rule.from {
            self.file(number, from);
            if rule.suspects() {
                self.file_untold(number, from);
            }
        }
    }

    /// Once more, where a token would be needed to find it.
    fn file_untold(&mut self, number: Number, from: &resources::Caller) {
        let needs_token =
            literals(&from.groups).is_some() || from.claims.iter().any(|claim| literals(&claim.values).is_some());
        if !from.service_accounts.is_empty() || !needs_token {
            return;
        }
        if from.namespaces.is_empty() {
            self.untold.push(number);
        }
        for namespace in &from.namespaces {
            let known = self.untold_namespaces.entry(Arc::clone(namespace)).or_default();
            known.push(number);
        }
    }

    fn file(&mut self, number: Number, from: &resources::Caller) {
        let resources::Caller {
            namespaces,
            service_accounts,
            groups,
            claims,
        } = from;
        if !service_accounts.is_empty() {
            for account in service_accounts {
                let names = self.accounts.entry(Arc::clone(&account.namespace)).or_default();
                names.entry(Arc::clone(&account.name)).or_default().push(number);
            }
        } else if let Some(groups) = literals(groups) {
            for group in groups {
                self.groups.entry(group).or_default().push(number);
            }
        } else if let Some((path, values)) = claims
            .iter()
            .find_map(|claim| Some((&claim.path, literals(&claim.values)?)))
        {
            let known = self.claims.entry(path.clone()).or_default();
            for value in values {
                known.entry(value).or_default().push(number);
            }
        } else if namespaces.is_empty() {
            self.everyone.push(number);
        } else {
            for namespace in namespaces {
                self.namespaces.entry(Arc::clone(namespace)).or_default().push(number);
            }
        }
    }

    /// Adds the rules that can be about this caller.
    pub(super) fn find(&self, caller: &Caller, found: &mut Vec<Number>) {
        found.extend(&self.everyone);
        let mut add = |numbers: Option<&Vec<Number>>| found.extend(numbers.into_iter().flatten());
        if let Some((namespace, name)) = caller.account() {
            add(self.namespaces.get(namespace));
            add(self.accounts.get(namespace).and_then(|names| names.get(name)));
        }
        let Some(token) = &caller.token else {
            if let Some((namespace, _)) = caller.account() {
                add(self.untold_namespaces.get(namespace));
            }
            return found.extend(&self.untold);
        };
        if !self.groups.is_empty() {
            for group in &token.groups {
                add(self.groups.get(&**group));
            }
        }
        for (path, values) in &self.claims {
            for text in texts(path, caller) {
                add(values.get(text));
            }
        }
    }
}

/// The names that these match; `None` where there are none, or one of them is more than a name.
fn literals(patterns: &[Pattern]) -> Option<Vec<Box<str>>> {
    let literals: Option<Vec<Box<str>>> = patterns
        .iter()
        .map(|pattern| pattern.literal().map(Box::from))
        .collect();
    literals.filter(|literals| !literals.is_empty())
}
