//! What only all documents together can show: names that are used twice, addresses and cgroups that belong
//! to two, policies for servers that are not there.

use std::{collections::HashMap, path::Path, sync::Arc};

use super::{
    Desired, ObjectName,
    bounds::{MAX_GOVERNED, MAX_WORKLOADS},
    document::{Document, Origin, Resource, Spot},
    policy,
    problem::Problem,
    server, workload,
};

/// Puts documents together. What is reported makes the result void.
pub(super) fn assemble(documents: Vec<Document>, problems: &mut Vec<Problem>) -> Desired {
    let mut desired = Desired {
        generation: 1,
        ..Desired::default()
    };
    let mut names: HashMap<String, Origin> = HashMap::new();
    let (mut servers, mut workloads, mut policies) = (Vec::new(), Vec::new(), Vec::new());
    for Document { origin, resource } in documents {
        if let Some(first) = names.get(&origin.object) {
            let reason = format!("this name is already used at {}", place(first, first.at.line));
            origin.report(
                &Spot {
                    at: origin.at,
                    path: "metadata.name".to_owned(),
                },
                reason,
                problems,
            );
            continue;
        }
        names.insert(origin.object.clone(), origin.clone());
        let Some(resource) = resource else { continue };
        match resource {
            Resource::Server(server) => servers.push((origin, server)),
            Resource::Workload(workload) => workloads.push((origin, workload)),
            Resource::Policy(policy) => policies.push((origin, policy)),
            Resource::Settings(settings) => desired.settings = settings,
        }
    }
    check_addresses(&servers, problems);
    check_cgroups(&workloads, problems);
    check_targets(&policies, &names, problems);
    desired.servers = sorted(servers.into_iter().map(|(_, parsed)| parsed.server), |server| {
        &server.name
    });
    desired.workloads = sorted(workloads.into_iter().map(|(_, parsed)| parsed.workload), |workload| {
        &workload.name
    });
    desired.policies = sorted(policies.into_iter().map(|(_, parsed)| parsed.policy), |policy| {
        &policy.name
    });
    desired
}

fn sorted<T>(resources: impl Iterator<Item = T>, name: impl Fn(&T) -> &ObjectName) -> Vec<Arc<T>> {
    let mut list: Vec<T> = resources.collect();
    list.sort_by(|a, b| name(a).cmp(name(b)));
    list.into_iter().map(Arc::new).collect()
}

fn place(origin: &Origin, line: u64) -> String {
    format!("{}:{line}", origin.file)
}

fn check_addresses(servers: &[(Origin, server::Parsed)], problems: &mut Vec<Problem>) {
    let mut owners = HashMap::new();
    for (origin, parsed) in servers {
        for (address, spot) in parsed.server.addresses().iter().zip(&parsed.spots) {
            if owners.len() == MAX_GOVERNED && !owners.contains_key(address) {
                let reason = format!("one address too many: all servers together may have {MAX_GOVERNED}");
                origin.report(spot, reason, problems);
                return;
            }
            let (owner, line) = *owners.entry(*address).or_insert((origin, spot.at.line));
            if owner.object != origin.object {
                let place = place(owner, line);
                let reason = format!(
                    "AddressConflict: {address} already belongs to {} ({place})",
                    owner.object
                );
                origin.report(spot, reason, problems);
            }
        }
    }
}

/// A process belongs to one workload, so no cgroup may hold another's.
fn check_cgroups(workloads: &[(Origin, workload::Parsed)], problems: &mut Vec<Problem>) {
    if let Some((origin, parsed)) = workloads.get(MAX_WORKLOADS) {
        let reason = format!("one workload too many: {MAX_WORKLOADS} are allowed");
        origin.report(
            &Spot {
                path: String::new(),
                ..parsed.cgroup_spot.clone()
            },
            reason,
            problems,
        );
        return;
    }
    let owners: HashMap<&Path, usize> = workloads
        .iter()
        .enumerate()
        .rev() // so that the first one in the files is the one that a cgroup is said to belong to
        .map(|(index, (_, parsed))| (parsed.workload.cgroup.as_path(), index))
        .collect();
    for (index, (origin, parsed)) in workloads.iter().enumerate() {
        let cgroup = &parsed.workload.cgroup;
        for ancestor in cgroup.ancestors() {
            let Some(&other) = owners.get(ancestor) else { continue };
            if other == index {
                continue;
            }
            let (owner, owned) = &workloads[other];
            let place = place(owner, owned.cgroup_spot.at.line);
            let reason = if ancestor == cgroup {
                format!("already the cgroup of {} ({place})", owner.object)
            } else {
                format!(
                    "lies inside {}, the cgroup of {} ({place})",
                    ancestor.display(),
                    owner.object
                )
            };
            origin.report(&parsed.cgroup_spot, reason, problems);
            break;
        }
    }
}

fn check_targets(policies: &[(Origin, policy::Parsed)], names: &HashMap<String, Origin>, problems: &mut Vec<Problem>) {
    for (origin, parsed) in policies {
        for (target, spot) in parsed.policy.targets.iter().zip(&parsed.spots) {
            let object = format!("MCPServer {}/{target}", parsed.policy.name.namespace);
            if !names.contains_key(&object) {
                let reason = format!("there is no {object}; a policy governs servers of its own namespace");
                origin.report(spot, reason, problems);
            }
        }
    }
}
