//! Names that are most like one that nobody has.

use std::collections::BTreeSet;

use strsim::osa_distance;

use crate::resources::{Desired, ObjectName};

/// How many are told.
const MOST: usize = 3;
/// Longest name that is compared: none is longer that could be meant.
const LONGEST: usize = 512;

/// The servers whose names are most like this one.
pub(super) fn servers(wanted: &ObjectName, desired: &Desired) -> String {
    let all = desired.servers.iter().chain(&desired.refused);
    told(
        wanted,
        all.map(|server| server.name.clone()).collect(),
        "there is none at all",
    )
}

/// The workloads and ServiceAccounts whose names are most like this one, unless it is one of them. Any other can be a
/// ServiceAccount as well, that a token names.
pub(super) fn identities(wanted: &ObjectName, desired: &Desired) -> Option<String> {
    let mut known: BTreeSet<ObjectName> = BTreeSet::new();
    for workload in &desired.workloads {
        known.insert(workload.name.clone());
        known.insert(ObjectName {
            namespace: workload.name.namespace.clone(),
            name: workload.service_account.clone(),
        });
    }
    let rules = desired.policies.iter().flat_map(|policy| &policy.rules);
    let callers = rules.flat_map(|rule| &rule.from);
    known.extend(callers.flat_map(|from| from.service_accounts.iter().cloned()));
    (!known.contains(wanted)).then(|| {
        let nearest = told(wanted, known, "they name none");
        format!("No Workload and no rule names {wanted}, which is taken for a ServiceAccount: {nearest}")
    })
}

fn told(wanted: &ObjectName, known: BTreeSet<ObjectName>, none: &str) -> String {
    let mut near: Vec<(usize, ObjectName)> = known.into_iter().map(|name| (distance(wanted, &name), name)).collect();
    near.sort();
    let near: Vec<String> = near.into_iter().take(MOST).map(|(_, name)| name.to_string()).collect();
    match near.is_empty() {
        true => none.to_owned(),
        false => format!("the nearest known: {}", near.join(", ")),
    }
}

/// How many letters differ; the whole namespace counts as one at most, as it is easily forgotten.
fn distance(wanted: &ObjectName, known: &ObjectName) -> usize {
    let cut = |text: &str| text.chars().take(LONGEST).collect::<String>();
    let names = osa_distance(&cut(&wanted.name), &cut(&known.name));
    names + osa_distance(&cut(&wanted.namespace), &cut(&known.namespace)).min(1)
}
