//! One rule of a policy. What could never match is refused: its writer believes that it does something.

use std::sync::Arc;

use super::{
    Action, Annotated, Pattern, Rule, annotated,
    bounds::MAX_CALLERS,
    caller,
    fields::{Field, Fields, Schema, Sink},
    globs,
    problem::quote,
};
use crate::{
    expression::{Expression, Variable},
    mcp::governed::{Kind, METHODS},
};

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

pub(super) fn read(field: &Field, sink: &mut Sink) -> Option<Rule> {
    let fields = field.fields(&RULE, sink)?;
    let action = fields
        .required("action", sink)
        .and_then(|field| field.choice(&[("Allow", Action::Allow), ("Deny", Action::Deny)], &[], sink));
    let from = fields
        .optional("from")
        .and_then(|field| field.list(MAX_CALLERS, "leave from out to mean everyone", sink))
        .unwrap_or_default();
    let rule = Rule {
        from: from.iter().filter_map(|field| caller::read(field, sink)).collect(),
        methods: globs::list(&fields, "methods", "leave methods out to mean every one", sink),
        tools: globs::list(&fields, "tools", "leave tools out to mean every tool", sink),
        prompts: globs::list(&fields, "prompts", "leave prompts out to mean every prompt", sink),
        resources: globs::list(&fields, "resources", "leave resources out to mean every one", sink),
        annotations: annotations(&fields, action, sink)?,
        when: when(&fields, sink),
        // Without an action the rule is refused, whatever it says.
        ..Rule::new(action.unwrap_or(Action::Deny))
    };
    check_methods(&fields, "methods", &rule.methods, sink);
    check_kinds(&fields, &rule, sink);
    action.map(|_| rule)
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

fn when(fields: &Fields, sink: &mut Sink) -> Option<Arc<Expression>> {
    let field = fields.optional("when")?;
    match Expression::compile(field.text(sink)?) {
        Ok(expression) => Some(Arc::new(expression)),
        Err(refused) => {
            field.report(sink, refused.to_string());
            None
        }
    }
}

/// A glob that matches no governed method, and can mean no other, is a mistake.
pub(super) fn check_methods(fields: &Fields, name: &str, methods: &[Pattern], sink: &mut Sink) {
    let Some(field) = fields.optional(name) else {
        return;
    };
    for pattern in methods {
        let family = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
        let known = METHODS.iter().any(|(name, _)| pattern.matches(name));
        let ours = [
            "initialize",
            "ping",
            "server",
            "logging",
            "notifications",
            "subscriptions",
        ];
        let own = family(pattern.as_str());
        let spoken = ours.contains(&&*own) || METHODS.iter().any(|(name, _)| family(name) == own);
        // Of tasks, extensions have more methods than are known here.
        if !known && spoken && own != "tasks" {
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
    let (Some(field), Some(expression)) = (fields.optional("when"), &rule.when) else {
        return;
    };
    let needs: [(Variable, &str, &[Kind]); 4] = [
        (Variable::Tool, "mcp.tool", &[Kind::Tool]),
        (Variable::Prompt, "mcp.prompt", &[Kind::Prompt]),
        (Variable::Resource, "mcp.resource", &[Kind::Resource]),
        (Variable::Arguments, "mcp.arguments", &[Kind::Tool, Kind::Prompt]),
    ];
    for (variable, name, kinds) in needs {
        if expression.reads().has(variable) && !kinds.iter().any(|kind| possible.contains(kind)) {
            let reason = format!("{name} is always empty here: the rule is about nothing that has it");
            field.report(sink, reason);
        }
    }
}
