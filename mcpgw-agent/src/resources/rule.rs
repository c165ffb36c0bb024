//! One rule of a policy. What could never match is refused: its writer believes that it does something.

use super::{
    Action, Annotated, Pattern, Rule, annotated,
    bounds::MAX_CALLERS,
    caller, condition,
    document::Spot,
    fields::{Field, Fields, Schema, Sink},
    globs,
    problem::quote,
};
use crate::mcp::governed::{Kind, METHODS};

const RULE: Schema = Schema {
    known: &[
        "action",
        "from",
        "methods",
        "tools",
        "prompts",
        "resources",
        "annotations",
        "when",
    ],
    later: &[],
};

/// What lists of a rule are about.
const NAMED: [(&str, Kind); 3] = [
    ("tools", Kind::Tool),
    ("prompts", Kind::Prompt),
    ("resources", Kind::Resource),
];

/// What MCP has beside governed methods, by what stands before the slash.
const UNGOVERNED: [&str; 6] = [
    "initialize",
    "ping",
    "server",
    "logging",
    "notifications",
    "subscriptions",
];

/// A rule, and where its parts stand.
pub(super) struct Parsed {
    pub rule: Rule,
    /// Where each of those stands whom it is about, in their order.
    pub from_spots: Vec<Spot>,
    /// Where its condition stands.
    pub when_spot: Option<Spot>,
}

pub(super) fn read(field: &Field, sink: &mut Sink) -> Option<Parsed> {
    let fields = field.fields(&RULE, sink)?;
    let action = fields
        .required("action", sink)
        .and_then(|field| field.choice(&[("Allow", Action::Allow), ("Deny", Action::Deny)], &[], sink));
    let from = fields
        .optional("from")
        .and_then(|field| field.list(MAX_CALLERS, "leave from out to mean everyone", sink))
        .unwrap_or_default();
    let from = from
        .iter()
        .filter_map(|field| Some((caller::read(field, sink)?, Spot::from(field))));
    let (from, from_spots) = from.unzip();
    let rule = Rule {
        from,
        methods: globs::list(&fields, "methods", "leave methods out to mean every one", sink),
        tools: globs::list(&fields, "tools", "leave tools out to mean every tool", sink),
        prompts: globs::list(&fields, "prompts", "leave prompts out to mean every prompt", sink),
        resources: globs::list(&fields, "resources", "leave resources out to mean every one", sink),
        annotations: annotations(&fields, action, sink)?,
        when: condition::read(&fields, sink),
        // Without an action the rule is refused, whatever it says.
        ..Rule::new(action.unwrap_or(Action::Deny))
    };
    check_methods(&fields, "methods", &rule.methods, sink);
    check_kinds(&fields, &rule, sink);
    action.map(|_| Parsed {
        rule,
        from_spots,
        when_spot: fields.optional("when").as_ref().map(Spot::from),
    })
}

/// `None` where they are wrong: a rule without them would be about more than was meant.
fn annotations(fields: &Fields, action: Option<Action>, sink: &mut Sink) -> Option<Annotated> {
    let Some(field) = fields.optional("annotations") else {
        return Some(Annotated::NOTHING);
    };
    for other in ["prompts", "resources"] {
        if fields.has(other) {
            let reason = format!("are what tools have: give {other} a rule of their own");
            field.report(sink, reason);
        }
    }
    annotated::read(&field, action?, sink)
}

/// A glob that matches no governed method, and can mean no other, is a mistake.
pub(super) fn check_methods(fields: &Fields, name: &str, methods: &[Pattern], sink: &mut Sink) {
    let Some(field) = fields.optional(name) else {
        return;
    };
    for pattern in methods {
        let known = METHODS.iter().any(|(name, _)| pattern.matches(name));
        if !known && !may_be_governed(pattern.as_str()) {
            let names: Vec<&str> = METHODS.iter().map(|(name, _)| *name).collect();
            let reason = format!(
                "{} is no method that rules and limits are about; these are {}, and methods that MCP does not have",
                quote(pattern.as_str()),
                names.join(", ")
            );
            field.report(sink, reason);
        }
    }
}

/// Whether rules can be about a method that is none of [`METHODS`]: about those that MCP does not have, and those of
/// tasks, as extensions have more of these than are known here.
pub(super) fn may_be_governed(method: &str) -> bool {
    let family = |method: &'_ str| method.split('/').next().unwrap_or_default().to_owned();
    let own = family(method);
    let spoken = UNGOVERNED.contains(&&*own) || METHODS.iter().any(|(name, _)| family(name) == own);
    own == "tasks" || !spoken
}

/// What the methods of a rule can be about.
fn kinds(methods: &[Pattern]) -> Vec<Kind> {
    let named = |name: &str| methods.is_empty() || methods.iter().any(|pattern| pattern.matches(name));
    let of_method = METHODS.iter().filter(|(name, _)| named(name));
    of_method.flat_map(|(_, kinds)| kinds.iter().copied()).collect()
}

fn check_kinds(fields: &Fields, rule: &Rule, sink: &mut Sink) {
    let mut possible = kinds(&rule.methods);
    for (name, kind) in NAMED {
        if let Some(field) = fields.optional(name)
            && !possible.contains(&kind)
        {
            let reason = format!("can never match: none of the rule's methods is about {name}");
            field.report(sink, reason);
        }
    }
    if let Some(field) = fields.optional("annotations") {
        if !possible.contains(&Kind::Tool) {
            field.report(sink, "can never match: none of the rule's methods is about tools");
        }
        possible.retain(|kind| *kind == Kind::Tool);
    }
    if NAMED.iter().any(|(name, _)| fields.has(name)) {
        possible.retain(|kind| NAMED.iter().any(|(name, named)| named == kind && fields.has(name)));
    }
    condition::check(fields, rule, &possible, sink);
}
