//! `MCPPolicy`: which tools a caller may use.

use std::sync::Arc;

use super::{
    Action, Caller, ObjectName, Policy, Rule, authentication,
    bounds::{MAX_CALLERS, MAX_RULES, MAX_TARGETS},
    document::Spot,
    fields::{Field, Schema, Sink},
    globs, limit, name,
    problem::quote,
};

const SPEC: Schema = Schema {
    known: &["targetRefs", "authentication", "limits", "rules"],
    later: &["selector", "audit", "enforcement", "denialStatus"],
};
const TARGET: Schema = Schema {
    known: &["kind", "name"],
    later: &[],
};
const RULE: Schema = Schema {
    known: &["action", "from", "tools"],
    later: &["methods", "prompts", "resources", "when"],
};
const CALLER: Schema = Schema {
    known: &["namespaces", "serviceAccounts"],
    later: &["groups", "claims"],
};

/// A policy, and where its targets stand (in their order).
pub(super) struct Parsed {
    pub policy: Policy,
    pub spots: Vec<Spot>,
    /// Where its authentication stands.
    pub authentication_spot: Option<Spot>,
}

pub(super) fn read(name: ObjectName, spec: &Field, sink: &mut Sink) -> Option<Parsed> {
    let spec = spec.fields(&SPEC, sink)?;
    let (targets, spots) = match spec.optional("targetRefs") {
        Some(field) => targets(&field, sink),
        None => Default::default(),
    };
    let (authentication, authentication_spot) = match spec.optional("authentication") {
        Some(field) => (Some(authentication::demand(&field, sink)?), Some(Spot::from(&field))),
        None => (None, None),
    };
    let limits = spec.optional("limits").map(|field| limit::list(&field, sink));
    let advice = "to deny every call, write one rule: {action: Deny}";
    let rules = match (spec.optional("rules"), authentication.is_some() || limits.is_some()) {
        (Some(field), _) => field.list(MAX_RULES, advice, sink)?,
        // Nobody is denied by a policy without rules.
        (None, true) => Vec::new(),
        (None, false) => spec.required("rules", sink)?.list(MAX_RULES, advice, sink)?,
    };
    let rules = rules.iter().filter_map(|field| rule(field, sink)).collect();
    Some(Parsed {
        policy: Policy {
            name,
            targets,
            authentication,
            limits: limits.unwrap_or_default(),
            rules,
        },
        spots,
        authentication_spot,
    })
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

fn rule(field: &Field, sink: &mut Sink) -> Option<Rule> {
    let fields = field.fields(&RULE, sink)?;
    let action = fields
        .required("action", sink)
        .and_then(|field| field.choice(&[("Allow", Action::Allow), ("Deny", Action::Deny)], &[], sink));
    let from = fields
        .optional("from")
        .and_then(|field| field.list(MAX_CALLERS, "leave from out to mean everyone", sink))
        .unwrap_or_default();
    let from = from.iter().filter_map(|field| caller(field, sink)).collect();
    let tools = globs::list(&fields, "tools", "leave tools out to mean every tool", sink);
    Some(Rule {
        action: action?,
        from,
        tools,
    })
}

fn caller(field: &Field, sink: &mut Sink) -> Option<Caller> {
    let fields = field.fields(&CALLER, sink)?;
    if !fields.has("namespaces") && !fields.has("serviceAccounts") {
        fields.report(
            sink,
            "must name namespaces or serviceAccounts; leave from out to mean everyone",
        );
        return None;
    }
    let list = |name: &str, sink: &mut Sink| {
        fields
            .optional(name)
            .and_then(|field| field.list(MAX_CALLERS, "leave it out to mean any", sink))
            .unwrap_or_default()
    };
    let namespaces = list("namespaces", sink);
    let namespaces = namespaces
        .iter()
        .filter_map(|field| name::namespace(field, sink))
        .map(Arc::from)
        .collect();
    let service_accounts = list("serviceAccounts", sink);
    let service_accounts = service_accounts
        .iter()
        .filter_map(|field| name::qualified(field, sink))
        .collect();
    Some(Caller {
        namespaces,
        service_accounts,
    })
}
