//! The condition of a rule, and whether it can hold beside what else the rule says.

use std::sync::Arc;

use super::{
    Caller, Pattern, Policy, Rule,
    document::Spot,
    fields::{Fields, Sink},
    name, rule,
};
use crate::{
    expression::{Expression, Narrow, Variable},
    mcp::governed::{Kind, METHODS},
};

/// What a request can be about.
const KINDS: [Kind; 5] = [Kind::Tool, Kind::Prompt, Kind::Resource, Kind::Task, Kind::Other];

/// What begins the principal of a ServiceAccount: its namespace and its name follow.
const ACCOUNT: &str = "system:serviceaccount:";

pub(super) fn read(fields: &Fields, sink: &mut Sink) -> Option<Arc<Expression>> {
    let field = fields.optional("when")?;
    match Expression::compile(field.text(sink)?) {
        Ok(expression) => Some(Arc::new(expression)),
        Err(refused) => {
            field.report(sink, refused.to_string());
            None
        }
    }
}

/// Checks the condition of a rule, which is about these of the kinds that have names.
pub(super) fn check(fields: &Fields, rule: &Rule, possible: &[Kind], sink: &mut Sink) {
    let (Some(field), Some(expression)) = (fields.optional("when"), &rule.when) else {
        return;
    };
    let needs: [(Variable, &str, &[Kind]); 4] = [
        (Variable::Tool, "mcp.tool", &[Kind::Tool]),
        (Variable::Prompt, "mcp.prompt", &[Kind::Prompt]),
        (Variable::Resource, "mcp.resource", &[Kind::Resource]),
        (Variable::Arguments, "mcp.arguments", &[Kind::Tool, Kind::Prompt]),
    ];
    let mut empty = false;
    for (variable, name, kinds) in needs {
        if expression.reads().has(variable) && !kinds.iter().any(|kind| possible.contains(kind)) {
            let reason = format!("{name} is always empty here: the rule is about nothing that has it");
            field.report(sink, reason);
            empty = true;
        }
    }
    let fits = |narrow: &Narrow<'_>| may_be_asked(rule, narrow) && may_ask(&rule.from, narrow);
    if !empty && let Err(never) = expression.can_hold(fits) {
        field.report(
            sink,
            format!("can never match: {never}, and the rule is not about that"),
        );
    }
}

/// Checks that the conditions of a policy's rules can hold for a server that the policy can govern, whether there is
/// one or not: servers come and go.
pub(super) fn check_servers(policy: &Policy, when_spots: &[Option<Spot>], sink: &mut Sink) {
    for (rule, spot) in policy.rules.iter().zip(when_spots) {
        let (Some(when), Some(spot)) = (&rule.when, spot) else {
            continue;
        };
        let fits = |narrow: &Narrow<'_>| narrow.may(Variable::Server, |name| can_be_called(policy, name));
        if let Err(never) = when.can_hold(fits) {
            let reason = format!("can never match: {never}, and the policy governs no server of that name");
            sink.report(spot.at, &spot.path, reason);
        }
    }
}

/// Whether a server that the policy governs can have this name.
fn can_be_called(policy: &Policy, server: &str) -> bool {
    let Some((namespace, own)) = server.split_once('/') else {
        return false;
    };
    let chosen = &policy.selector.namespaces;
    name::is_subdomain(own)
        && (policy.name.namespace.is_empty() || *policy.name.namespace == *namespace)
        && (policy.targets.is_empty() || policy.targets.iter().any(|target| **target == *own))
        && (chosen.is_empty() || chosen.iter().any(|known| **known == *namespace))
}

/// Whether something that the rule is about can be so.
fn may_be_asked(rule: &Rule, narrow: &Narrow<'_>) -> bool {
    KINDS.into_iter().any(|kind| {
        let named = [&rule.tools, &rule.prompts, &rule.resources];
        let all = named.iter().all(|list| list.is_empty());
        let lists = [
            (Kind::Tool, Variable::Tool, &rule.tools),
            (Kind::Prompt, Variable::Prompt, &rule.prompts),
            (Kind::Resource, Variable::Resource, &rule.resources),
        ];
        let names_fit = lists.iter().all(|(own, variable, patterns)| {
            narrow.may(*variable, |text| match *own == kind {
                true => patterns.is_empty() || matches(patterns, text),
                false => text.is_empty(),
            })
        });
        let meant = match rule.annotations.is_nothing() {
            false => kind == Kind::Tool,
            true => {
                all || lists
                    .iter()
                    .any(|(own, _, patterns)| *own == kind && !patterns.is_empty())
            }
        };
        let method_fits = |method: &str| {
            let listed = rule.methods.is_empty() || matches(&rule.methods, method);
            listed && is_about(method, kind)
        };
        meant && names_fit && narrow.may(Variable::Method, method_fits) && has_method(&rule.methods, kind)
    })
}

/// Whether requests of this kind come by one of these methods.
fn has_method(methods: &[Pattern], kind: Kind) -> bool {
    let known = || METHODS.iter().filter(|(_, kinds)| kinds.contains(&kind));
    // Of tasks and of what MCP does not have, not all methods are known.
    let open = matches!(kind, Kind::Task | Kind::Other);
    methods.is_empty() || open || known().any(|(name, _)| matches(methods, name))
}

fn is_about(method: &str, kind: Kind) -> bool {
    match METHODS.iter().find(|(name, _)| *name == method) {
        Some((_, kinds)) => kinds.contains(&kind),
        None => matches!(kind, Kind::Task | Kind::Other) && rule::may_be_governed(method),
    }
}

/// Whether somebody whom the rule is about can be so.
fn may_ask(from: &[Caller], narrow: &Narrow<'_>) -> bool {
    from.is_empty() || from.iter().any(|caller| may_be(caller, narrow))
}

fn may_be(caller: &Caller, narrow: &Narrow<'_>) -> bool {
    let Caller {
        namespaces,
        service_accounts,
        groups: _,
        claims: _,
    } = caller;
    if namespaces.is_empty() && service_accounts.is_empty() {
        return true;
    }
    let in_namespaces = |namespace: &str| namespaces.is_empty() || namespaces.iter().any(|known| **known == *namespace);
    let fits = |namespace: Option<&str>, name: Option<&str>| {
        let namespace_fits = |text: &str| in_namespaces(text) && namespace.is_none_or(|known| known == text);
        let name_fits = |text: &str| name.is_none_or(|known| known == text);
        let principal_fits = |text: &str| {
            let account = text.strip_prefix(ACCOUNT).and_then(|account| account.split_once(':'));
            account.is_some_and(|(namespace, name)| namespace_fits(namespace) && name_fits(name))
        };
        narrow.may(Variable::Namespace, namespace_fits)
            && narrow.may(Variable::ServiceAccount, name_fits)
            && narrow.may(Variable::Principal, principal_fits)
    };
    match service_accounts.is_empty() {
        true => fits(None, None),
        false => service_accounts
            .iter()
            .any(|account| fits(Some(&account.namespace), Some(&account.name))),
    }
}

fn matches(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

/// What of a rule only tokens can tell, and where it stands.
pub(super) fn told_by_tokens(parsed: &rule::Parsed) -> Vec<(&'static str, Spot)> {
    let rule::Parsed {
        rule,
        from_spots,
        when_spot,
    } = parsed;
    let from = rule.from.iter().zip(from_spots);
    let from = from.filter(|(from, _)| from.is_told_by_token());
    let reads = |when: &Arc<Expression>| when.reads().has(Variable::Claims);
    let when = when_spot.iter().filter(|_| rule.when.as_ref().is_some_and(reads));
    from.map(|(_, spot)| ("groups and claims need", spot.clone()))
        .chain(when.map(|spot| ("jwt.claims needs", spot.clone())))
        .collect()
}
