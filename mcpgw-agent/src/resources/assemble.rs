//! What only all documents together can show: names that are used twice, cgroups that belong to two,
//! policies and catalogs for servers that are not there.

use std::{collections::HashMap, path::Path, sync::Arc};

use super::{
    Authentication, Desired, Issuer, NamespaceLabels, ObjectName,
    bounds::{MAX_NAMESPACES, MAX_WORKLOADS},
    catalog, conflicts,
    document::{Document, Origin, Resource, Spot},
    granted, immutable, policy,
    problem::{Problem, quote},
    server, workload,
};

/// Puts documents together, to take the place of what is `in_force`. What is reported makes the result void.
pub(super) fn assemble(documents: Vec<Document>, in_force: Option<&Desired>, problems: &mut Vec<Problem>) -> Desired {
    let mut desired = Desired {
        generation: 1,
        ..Desired::default()
    };
    let mut names: HashMap<String, Origin> = HashMap::new();
    let (mut servers, mut workloads) = (Vec::new(), Vec::new());
    let (mut policies, mut catalogs) = (Vec::new(), Vec::new());
    let mut namespaces = NamespaceLabels::new();
    for Document { origin, resource } in documents {
        if let Some(first) = names.get(&origin.object) {
            let reason = format!("this name is already used at {}", place(first, first.at.line));
            origin.report(&origin.spot(), reason, problems);
            continue;
        }
        names.insert(origin.object.clone(), origin.clone());
        let Some(resource) = resource else { continue };
        match resource {
            Resource::Server(server) => servers.push((origin, server)),
            Resource::Workload(workload) => workloads.push((origin, workload)),
            Resource::Policy(policy) => policies.push((origin, policy)),
            Resource::Catalog(catalog) => catalogs.push((origin, catalog)),
            Resource::Settings(settings) => desired.settings = settings,
            Resource::Namespace(..) if namespaces.len() == MAX_NAMESPACES => {
                let reason = format!("one namespace too many: {MAX_NAMESPACES} are allowed");
                origin.report(&origin.spot(), reason, problems);
            }
            Resource::Namespace(name, labels) => {
                namespaces.insert(name, labels);
            }
        }
    }
    if let Some(in_force) = in_force {
        immutable::check(&servers, in_force, problems);
    }
    let servers = hold_to_grants(servers, &mut desired);
    conflicts::check(&servers, desired.settings.gateway.as_ref(), problems);
    check_cgroups(&workloads, problems);
    check_targets(&policies, &names, problems);
    check_issuers(&policies, &desired.settings.issuers, problems);
    if desired.settings.rate_limit_service.is_none() {
        refuse_cluster_limits(&policies, problems);
    }
    check_catalogs(&catalogs, &names, problems);
    desired.namespaces = Arc::new(namespaces);
    desired.servers = sorted(servers.into_iter().map(|(_, parsed)| parsed.server), |server| {
        &server.name
    });
    desired.workloads = sorted(workloads.into_iter().map(|(_, parsed)| parsed.workload), |workload| {
        &workload.name
    });
    desired.policies = sorted(policies.into_iter().map(|(_, parsed)| parsed.policy), |policy| {
        &policy.name
    });
    desired.catalogs = sorted(catalogs.into_iter().map(|(_, parsed)| parsed.catalog), |catalog| {
        &catalog.name
    });
    desired
}

/// Takes out what the settings don't grant, before anything else: a server that may not be somewhere takes nobody's
/// place there.
fn hold_to_grants(servers: Vec<(Origin, server::Parsed)>, desired: &mut Desired) -> Vec<(Origin, server::Parsed)> {
    let (mut kept, mut refused, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for (origin, mut parsed) in servers {
        match granted::hold(&mut parsed.server, &desired.settings, &mut told) {
            true => kept.push((origin, parsed)),
            false => refused.push(parsed.server),
        }
    }
    told.sort_by(|a, b| a.server.cmp(&b.server));
    desired.not_granted = told;
    desired.refused = sorted(refused.into_iter(), |server| &server.name);
    kept
}

fn sorted<T>(resources: impl Iterator<Item = T>, name: impl Fn(&T) -> &ObjectName) -> Vec<Arc<T>> {
    let mut list: Vec<T> = resources.collect();
    list.sort_by(|a, b| name(a).cmp(name(b)));
    list.into_iter().map(Arc::new).collect()
}

/// Where something stands, as a message names it.
pub(super) fn place(origin: &Origin, line: u64) -> String {
    format!("{}:{line}", origin.file)
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

/// A policy that asks for tokens which nobody can have would refuse every call, a rule about what they say is about
/// nobody, and a limit that tells budgets apart by it has one budget for all.
fn check_issuers(policies: &[(Origin, policy::Parsed)], issuers: &[Arc<Issuer>], problems: &mut Vec<Problem>) {
    for (origin, parsed) in policies {
        for (what, spot) in parsed.token_spots.iter().filter(|_| issuers.is_empty()) {
            let reason = format!("{what} spec.issuers of ClusterMCPSettings: without any, no token tells them");
            origin.report(spot, reason, problems);
        }
        let (Some(demand), Some(spot)) = (&parsed.policy.authentication, &parsed.authentication_spot) else {
            continue;
        };
        if demand.mode != Authentication::Attested && issuers.is_empty() {
            let mode = demand.mode.as_str();
            let reason = format!("{mode} needs spec.issuers of ClusterMCPSettings: without any, no token is believed");
            origin.report(spot, reason, problems);
        }
        for name in demand.issuers.iter().flatten() {
            if !issuers.iter().any(|issuer| issuer.issuer == *name) {
                let reason = format!("{} is not an issuer of ClusterMCPSettings", quote(name));
                origin.report(spot, reason, problems);
            }
        }
    }
}

/// A limit that nobody could count would be none.
fn refuse_cluster_limits(policies: &[(Origin, policy::Parsed)], problems: &mut Vec<Problem>) {
    for (origin, parsed) in policies {
        if let Some(spot) = &parsed.cluster_spot {
            let reason = "Cluster needs spec.rateLimitService of ClusterMCPSettings, which counts for all nodes";
            origin.report(spot, reason.to_owned(), problems);
        }
    }
}

/// A catalog's path has no namespace in it, so its name belongs to one.
fn check_catalogs(
    catalogs: &[(Origin, catalog::Parsed)],
    names: &HashMap<String, Origin>,
    problems: &mut Vec<Problem>,
) {
    let mut owners: HashMap<&str, &Origin> = HashMap::new();
    for (origin, parsed) in catalogs {
        let name = &parsed.catalog.name;
        if let Some(owner) = owners.get(&*name.name) {
            let place = place(owner, owner.at.line);
            let reason = format!("/mcp/{} already belongs to {} ({place})", name.name, owner.object);
            origin.report(&origin.spot(), reason, problems);
        } else {
            owners.insert(&name.name, origin);
        }
        for (entry, spot) in parsed.catalog.servers.iter().zip(&parsed.spots) {
            let object = format!("MCPServer {}", entry.server);
            if !names.contains_key(&object) {
                let reason = format!("there is no {object}; a catalog has servers of its own namespace");
                origin.report(spot, reason, problems);
            }
        }
    }
}
