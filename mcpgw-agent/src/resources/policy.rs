//! `MCPPolicy` and `ClusterMCPPolicy`: who may do what at which servers.

use std::sync::Arc;

use super::{
    DenialStatus, Enforcement, ObjectName, Policy, PolicyAudit, Selector, authentication,
    bounds::{MAX_RULES, MAX_SELECTED_NAMESPACES, MAX_TARGETS},
    condition,
    document::Spot,
    fields::{Field, Fields, Schema, Sink},
    limit, name, payloads,
    problem::quote,
    rule, selector,
};

const SPEC: Schema = Schema {
    known: &[
        "targetRefs",
        "selector",
        "authentication",
        "limits",
        "rules",
        "enforcement",
        "denialStatus",
        "audit",
    ],
    later: &[],
};
const CLUSTER_SPEC: Schema = Schema {
    known: &[
        "selector",
        "authentication",
        "limits",
        "rules",
        "enforcement",
        "denialStatus",
        "audit",
    ],
    later: &[],
};
/// Fields that mean something where there are no rules.
const ENOUGH: [&str; 4] = ["authentication", "limits", "denialStatus", "audit"];
const TARGET: Schema = Schema {
    known: &["kind", "name"],
    later: &[],
};
const CLUSTER_SELECTOR: Schema = Schema {
    known: &["namespaces", "matchLabels", "matchExpressions"],
    later: &[],
};

/// Whose servers a policy governs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of its namespace.
    Namespace,
    /// Those of all namespaces.
    Cluster,
}

/// A policy, and where its targets stand (in their order).
pub(super) struct Parsed {
    pub policy: Policy,
    pub spots: Vec<Spot>,
    /// Where its authentication stands.
    pub authentication_spot: Option<Spot>,
    /// Where a limit of it says that it counts for the whole cluster.
    pub cluster_spot: Option<Spot>,
    /// What of its rules and limits only tokens can tell, and where it stands.
    pub token_spots: Vec<(&'static str, Spot)>,
}

pub(super) fn read(name: ObjectName, scope: Scope, spec: &Field, sink: &mut Sink) -> Option<Parsed> {
    let schema = match scope {
        Scope::Namespace => &SPEC,
        Scope::Cluster => &CLUSTER_SPEC,
    };
    let spec = spec.fields(schema, sink)?;
    let (targets, spots) = match spec.optional("targetRefs") {
        Some(field) => targets(&field, sink),
        None => Default::default(),
    };
    let selector = match spec.optional("selector") {
        Some(field) => governed(&field, scope, sink)?,
        None => Selector::default(),
    };
    if spec.has("targetRefs") && spec.has("selector") {
        spec.report(sink, "must not have both targetRefs and selector");
    }
    let choices = [("Enforce", Enforcement::Enforce), ("DryRun", Enforcement::DryRun)];
    let enforcement = match spec.optional("enforcement") {
        Some(field) => field.choice(&choices, &[], sink),
        None => Some(Enforcement::default()),
    };
    let (authentication, authentication_spot) = match spec.optional("authentication") {
        Some(field) => (Some(authentication::demand(&field, sink)?), Some(Spot::from(&field))),
        None => (None, None),
    };
    let denial_status = match spec.optional("denialStatus") {
        Some(field) => field.choice(&[("ok", DenialStatus::Ok), ("http", DenialStatus::Http)], &[], sink),
        None => Some(DenialStatus::default()),
    };
    let limits = match spec.optional("limits") {
        Some(field) => limit::list(&field, sink),
        None => Default::default(),
    };
    if let (Some(spot), Some(Enforcement::DryRun)) = (&authentication_spot, enforcement) {
        let reason = "cannot be tried only: DryRun is about rules and limits; give it a policy of its own";
        sink.report(spot.at, &spot.path, reason);
    }
    let audit = match spec.optional("audit") {
        Some(field) => payloads::of_policy(&field, sink)?,
        None => PolicyAudit::default(),
    };
    if let (Some(field), Some(Enforcement::DryRun)) = (spec.optional("audit"), enforcement) {
        let reason = "cannot be tried only: DryRun is about rules and limits; give it a policy of its own";
        field.report(sink, reason);
    }
    let rules = rules(&spec, sink)?;
    let mut token_spots = limits.token_spots;
    token_spots.extend(rules.iter().flat_map(condition::told_by_tokens));
    let (rules, when_spots): (Vec<_>, Vec<_>) = rules.into_iter().map(|parsed| (parsed.rule, parsed.when_spot)).unzip();
    let policy = Policy {
        name,
        targets,
        selector,
        authentication,
        limits: limits.limits,
        rules,
        audit,
        enforcement: enforcement?,
        denial_status: denial_status?,
    };
    condition::check_servers(&policy, &when_spots, sink);
    Some(Parsed {
        policy,
        spots,
        authentication_spot,
        cluster_spot: limits.cluster_spot,
        token_spots,
    })
}

fn rules(spec: &Fields, sink: &mut Sink) -> Option<Vec<rule::Parsed>> {
    let advice = "to deny every call, write one rule: {action: Deny}";
    let field = match ENOUGH.iter().any(|field| spec.has(field)) {
        true => spec.optional("rules"),
        false => Some(spec.required("rules", sink)?),
    };
    let Some(field) = field else { return Some(Vec::new()) };
    let rules = field.list(MAX_RULES, advice, sink)?;
    Some(rules.iter().filter_map(|field| rule::read(field, sink)).collect())
}

fn targets(field: &Field, sink: &mut Sink) -> (Vec<Arc<str>>, Vec<Spot>) {
    let advice = "leave targetRefs out to govern every server of the namespace";
    let list = field.list(MAX_TARGETS, advice, sink).unwrap_or_default();
    let mut targets: (Vec<Arc<str>>, Vec<Spot>) = Default::default();
    for field in &list {
        let Some(fields) = field.fields(&TARGET, sink) else {
            continue;
        };
        let kind = fields
            .required("kind", sink)
            .and_then(|kind| kind.choice(&[("MCPServer", ())], &["MCPCatalog"], sink));
        let Some(name_field) = fields.required("name", sink) else {
            continue;
        };
        let Some(name) = name::name(&name_field, sink) else {
            continue;
        };
        if targets.0.iter().any(|target| **target == *name) {
            name_field.report(sink, format!("{} is listed twice", quote(name)));
        } else if kind.is_some() {
            targets.0.push(name.into());
            targets.1.push(Spot::from(&name_field));
        }
    }
    targets
}

fn governed(field: &Field, scope: Scope, sink: &mut Sink) -> Option<Selector> {
    let schema = match scope {
        Scope::Namespace => &selector::SELECTOR,
        Scope::Cluster => &CLUSTER_SELECTOR,
    };
    let fields = field.fields(schema, sink)?;
    let namespaces = fields
        .optional("namespaces")
        .and_then(|field| field.list(MAX_SELECTED_NAMESPACES, "leave namespaces out to mean all", sink))
        .unwrap_or_default();
    let namespaces = namespaces
        .iter()
        .filter_map(|field| name::namespace(field, sink))
        .map(Arc::from)
        .collect();
    let labels = selector::of(&fields, sink)?;
    let nothing = !schema.known.iter().any(|name| fields.has(name));
    if nothing {
        fields.report(sink, "selects by nothing; leave selector out to govern every server");
    }
    Some(Selector { namespaces, labels })
}
