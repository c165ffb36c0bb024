//! What rules decide.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    expression::Expression,
    identity::{Caller, ServiceAccount, Token, WorkloadIdentity},
    mcp::{
        Envelope,
        annotations::Annotations,
        governed::{Governed, Kind},
    },
    resources::{
        self, Action, Caller as From, Claim, Desired, Enforcement, LabelSelector, ObjectName, Pattern, Policy,
        Rule as WantedRule, Selector,
    },
};

mod annotations;
mod callers;
mod conditions;
mod lists;
mod many;

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName {
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// A caller that the kernel attests.
fn caller(namespace: &str, account: &str) -> Caller {
    Caller {
        workload: Some(Arc::new(WorkloadIdentity::new(name(namespace, "pod"), account.into()))),
        ..nobody()
    }
}

fn nobody() -> Caller {
    Caller {
        workload: None,
        token: None,
        destination: "10.0.0.1:80".parse().unwrap(),
        client: None,
        process: None,
        observed: false,
    }
}

/// A caller with a token that claims this.
fn holder(claims: Json) -> Caller {
    let Json::Object(claims) = claims else {
        panic!("claims are an object")
    };
    let groups = claims.get("groups").and_then(Json::as_array).into_iter().flatten();
    Caller {
        token: Some(Arc::new(Token {
            ends: u64::MAX,
            issuer: "https://issuer.example".into(),
            subject: "ann".into(),
            groups: groups.filter_map(Json::as_str).map(Arc::from).collect(),
            service_account: None,
            claims,
        })),
        ..nobody()
    }
}

fn globs(globs: &[&str]) -> Vec<Pattern> {
    globs.iter().map(|glob| Pattern::new(glob).unwrap()).collect()
}

fn rule(action: Action, from: Vec<From>, tools: &[&str]) -> WantedRule {
    WantedRule {
        from,
        tools: globs(tools),
        ..WantedRule::new(action)
    }
}

fn account(namespace: &str, account: &str) -> From {
    From {
        service_accounts: vec![name(namespace, account)],
        ..From::default()
    }
}

fn when(source: &str) -> Option<Arc<Expression>> {
    Some(Arc::new(Expression::compile(source).unwrap()))
}

fn policy(policy: &str, targets: &[&str], rules: Vec<WantedRule>) -> Arc<Policy> {
    let (namespace, policy) = policy.split_once('/').unwrap();
    let targets = targets.iter().map(|target| Arc::from(*target)).collect();
    Arc::new(Policy {
        name: name(namespace, policy),
        targets,
        rules,
        ..Policy::default()
    })
}

/// A plan with one server, `tools/calc`.
fn plan(policies: Vec<Arc<Policy>>) -> Plan {
    let server = resources::Server::at(
        name("tools", "calc"),
        vec!["10.0.0.1:80".parse().unwrap(), "[fd00::1]:80".parse().unwrap()],
    );
    Plan::compile(&Desired {
        generation: 7,
        servers: vec![Arc::new(server)],
        policies,
        ..Desired::default()
    })
}

fn server(plan: &Plan) -> &Server {
    &plan.at("10.0.0.1:80".parse().unwrap())[0]
}

/// What comes of a request for something, with these arguments.
fn judge(plan: &Plan, caller: &Caller, method: &str, kind: Kind, name: &str, arguments: Option<&str>) -> Judgement {
    let governed = Governed { method, kind, name };
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","arguments":{}}}}}"#,
        arguments.unwrap_or("null")
    );
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    let ask = Ask::new(caller, governed, Annotations::default(), envelope.params.arguments);
    plan.decide(server(plan), &ask)
}

fn decide(plan: &Plan, caller: &Caller, tool: &str) -> Decision {
    judge(plan, caller, "tools/call", Kind::Tool, tool, None).decision
}

fn deny(rule: &str) -> Decision {
    Decision::Deny {
        rule: rule.into(),
        because: Because::Hidden,
    }
}

fn allow(rule: &str) -> Decision {
    Decision::Allow {
        rule: Some(rule.into()),
    }
}

#[test]
fn servers_are_found_by_any_of_their_addresses() {
    let plan = plan(vec![]);
    let found = |address: &str| !plan.at(address.parse().unwrap()).is_empty();
    assert!(found("10.0.0.1:80") && found("[fd00::1]:80") && found("[::ffff:10.0.0.1]:80"));
    assert!(!found("10.0.0.1:81") && !found("10.0.0.2:80"));
    assert_eq!(plan.generation, 7);
}

#[test]
fn without_rules_everything_is_allowed() {
    let elsewhere = policy("other/strict", &[], vec![rule(Action::Deny, vec![], &[])]);
    let not_ours = policy("tools/strict", &["files"], vec![rule(Action::Deny, vec![], &[])]);
    let empty = policy("tools/empty", &[], vec![]);
    let plan = plan(vec![elsewhere, not_ours, empty]);
    assert_eq!(decide(&plan, &caller("a", "b"), "add"), Decision::Allow { rule: None });
}

#[test]
fn a_policy_with_rules_turns_the_default_to_deny() {
    let plan = plan(vec![policy(
        "tools/restrict",
        &["calc"],
        vec![rule(Action::Allow, vec![], &["add", "get_*"])],
    )]);
    assert_eq!(decide(&plan, &caller("a", "b"), "get_x"), allow("tools/restrict#1"));
    assert_eq!(decide(&plan, &caller("a", "b"), "big"), deny(DEFAULT_DENY));
}

#[test]
fn a_denial_wins_over_every_permission() {
    let plan = plan(vec![
        policy("tools/allow", &[], vec![rule(Action::Allow, vec![], &[])]),
        policy(
            "tools/restrict",
            &[],
            vec![
                rule(Action::Allow, vec![], &["*"]),
                rule(Action::Deny, vec![], &["big"]),
            ],
        ),
    ]);
    assert_eq!(decide(&plan, &caller("a", "b"), "big"), deny("tools/restrict#2"));
    assert_eq!(decide(&plan, &caller("a", "b"), "add"), allow("tools/allow#1"));
}

#[test]
fn a_server_knows_the_tools_that_its_rules_name() {
    let plan = plan(vec![policy(
        "tools/p",
        &[],
        vec![rule(Action::Deny, vec![], &["big", "get_*"])],
    )]);
    let server = server(&plan);
    assert!(server.names_tool("big") && !server.names_tool("get_*") && !server.names_tool("get_x"));
}

fn any_rule() -> impl Strategy<Value = WantedRule> {
    let action = prop_oneof![Just(Action::Allow), Just(Action::Deny)];
    let from = prop::collection::vec(prop::sample::select(vec![account("a", "x"), account("b", "x")]), 0..2);
    let tools = prop::collection::vec(prop::sample::select(vec!["add", "big", "b*", "*"]), 0..3);
    (action, from, tools).prop_map(|(action, from, tools)| rule(action, from, &tools))
}

proptest! {
    #[test]
    fn the_decision_is_what_governance_says(
        rules in prop::collection::vec(prop::collection::vec(any_rule(), 0..3), 0..4),
        namespace in "[ab]", tool in prop::sample::select(vec!["add", "big", "boo"]),
    ) {
        let policies = rules.iter().enumerate().map(|(n, rules)| policy(&format!("tools/p{n}"), &[], rules.clone()));
        let plan = plan(policies.collect());
        let matching = |action| rules.iter().flatten().any(|rule| {
            rule.action == action
                && (rule.from.is_empty() || rule.from.iter().any(|c| *c.service_accounts[0].namespace == *namespace))
                && (rule.tools.is_empty() || rule.tools.iter().map(Pattern::as_str).any(|glob| {
                    glob == "*" || glob == tool || glob.strip_suffix('*').is_some_and(|stem| tool.starts_with(stem))
                }))
        });
        let governed = rules.iter().any(|rules| !rules.is_empty());
        let expected = !matching(Action::Deny) && (!governed || matching(Action::Allow));
        let decision = decide(&plan, &caller(&namespace, "x"), tool);
        prop_assert_eq!(matches!(decision, Decision::Allow { .. }), expected, "{:?}", decision);
    }
}

#[test]
fn a_rule_about_tools_is_about_calls_of_tools_alone_and_the_rest_is_denied() {
    let plan = plan(vec![policy("tools/p", &[], vec![rule(Action::Allow, vec![], &["*"])])]);
    let of = |method, kind, name| judge(&plan, &caller("a", "b"), method, kind, name, None).decision;
    assert_eq!(of("tools/call", Kind::Tool, "add"), allow("tools/p#1"));
    for (method, kind) in [
        ("prompts/get", Kind::Prompt),
        ("resources/read", Kind::Resource),
        ("completion/complete", Kind::Prompt),
        ("tasks/get", Kind::Task),
        ("vendor/own", Kind::Other),
    ] {
        assert_eq!(of(method, kind, "add"), deny(DEFAULT_DENY), "{method}");
    }
}

#[test]
fn a_rule_without_names_is_about_every_method_or_those_that_it_names() {
    let everything = plan(vec![policy("tools/p", &[], vec![WantedRule::new(Action::Allow)])]);
    let reading = plan(vec![policy(
        "tools/p",
        &[],
        vec![WantedRule {
            methods: globs(&["resources/*", "tasks/*"]),
            ..WantedRule::new(Action::Allow)
        }],
    )]);
    for (method, kind, read) in [
        ("tools/call", Kind::Tool, false),
        ("prompts/get", Kind::Prompt, false),
        ("resources/read", Kind::Resource, true),
        ("resources/subscribe", Kind::Resource, true),
        ("tasks/cancel", Kind::Task, true),
        ("vendor/own", Kind::Other, false),
    ] {
        let allowed = |plan| judge(plan, &caller("a", "b"), method, kind, "x", None).decision == allow("tools/p#1");
        assert!(allowed(&everything), "{method}");
        assert_eq!(allowed(&reading), read, "{method}");
    }
}

#[test]
fn names_and_methods_of_a_rule_must_both_fit() {
    let plan = plan(vec![policy(
        "tools/p",
        &[],
        vec![WantedRule {
            methods: globs(&["resources/read", "prompts/*"]),
            resources: globs(&["file:///data/*"]),
            prompts: globs(&["ask"]),
            ..WantedRule::new(Action::Allow)
        }],
    )]);
    let allowed =
        |method, kind, name| judge(&plan, &caller("a", "b"), method, kind, name, None).decision == allow("tools/p#1");
    assert!(allowed("resources/read", Kind::Resource, "file:///data/a"));
    assert!(!allowed("resources/subscribe", Kind::Resource, "file:///data/a"));
    assert!(!allowed("resources/read", Kind::Resource, "file:///data/../etc/a"));
    assert!(!allowed("resources/read", Kind::Resource, "file:///etc/a"));
    assert!(allowed("prompts/get", Kind::Prompt, "ask") && !allowed("prompts/get", Kind::Prompt, "other"));
    assert!(!allowed("completion/complete", Kind::Prompt, "ask"));
}

#[test]
fn policies_select_servers_by_label_and_those_of_the_cluster_by_namespace_too() {
    let labels = |value: &str| [(Arc::from("tier"), Arc::from(value))].into();
    let mut labelled = resources::Server::at(name("tools", "calc"), vec!["10.0.0.1:80".parse().unwrap()]);
    labelled.labels = labels("gold");
    let other = resources::Server::at(name("other", "calc"), vec!["10.0.0.2:80".parse().unwrap()]);
    let governed = |policy: Policy| {
        let plan = Plan::compile(&Desired {
            servers: vec![Arc::new(labelled.clone()), Arc::new(other.clone())],
            policies: vec![Arc::new(Policy {
                rules: vec![WantedRule::new(Action::Deny)],
                ..policy
            })],
            ..Desired::default()
        });
        [0, 1].map(|index| plan.servers()[index].is_governed())
    };
    let select = |namespace: &str, namespaces: &[&str], tier: Option<&str>| Policy {
        name: name(namespace, "p"),
        selector: Selector {
            namespaces: namespaces.iter().map(|name| Arc::from(*name)).collect(),
            labels: LabelSelector {
                labels: tier.map(labels).unwrap_or_default(),
                expressions: vec![],
            },
        },
        ..Policy::default()
    };
    assert_eq!(governed(select("tools", &[], Some("gold"))), [true, false]);
    assert_eq!(governed(select("tools", &[], Some("silver"))), [false, false]);
    assert_eq!(governed(select("other", &[], None)), [false, true]);
    assert_eq!(governed(select("", &[], None)), [true, true]);
    assert_eq!(governed(select("", &["other", "x"], None)), [false, true]);
    assert_eq!(governed(select("", &[], Some("gold"))), [true, false]);
    assert_eq!(governed(select("", &["other"], Some("gold"))), [false, false]);
}

#[test]
fn a_policy_of_the_cluster_is_named_without_a_namespace() {
    let mut everywhere = policy("/everywhere", &[], vec![WantedRule::new(Action::Deny)]);
    Arc::make_mut(&mut everywhere).name.namespace = "".into();
    assert_eq!(
        decide(&plan(vec![everywhere]), &caller("a", "b"), "add"),
        deny("everywhere#1")
    );
}

#[test]
fn a_dry_run_decides_and_changes_nothing() {
    let trial = |rules| {
        let mut policy = policy("tools/trial", &[], rules);
        Arc::make_mut(&mut policy).enforcement = Enforcement::DryRun;
        policy
    };
    let of = |policies, tool| {
        let plan = plan(policies);
        let shown = plan.shows(
            server(&plan),
            &caller("a", "b"),
            Kind::Tool,
            tool,
            Annotations::default(),
        );
        let Judgement {
            decision, would_deny, ..
        } = judge(&plan, &caller("a", "b"), "tools/call", Kind::Tool, tool, None);
        (decision, would_deny, shown)
    };
    let denies_big = || {
        trial(vec![
            rule(Action::Deny, vec![], &["big"]),
            rule(Action::Allow, vec![], &["*"]),
        ])
    };
    let nothing = Decision::Allow { rule: None };
    assert_eq!(
        of(vec![denies_big()], "big"),
        (nothing.clone(), Some("tools/trial#1".into()), true)
    );
    assert_eq!(of(vec![denies_big()], "add"), (nothing.clone(), None, true));
    let strict = || trial(vec![rule(Action::Allow, vec![], &["add"])]);
    assert_eq!(of(vec![strict()], "big"), (nothing, Some(DEFAULT_DENY.into()), true));
    let enforced = || policy("tools/p", &[], vec![rule(Action::Allow, vec![], &["b*"])]);
    assert_eq!(of(vec![enforced(), strict()], "add"), (deny(DEFAULT_DENY), None, false));
    // What a trial permits helps nobody.
    assert_eq!(
        of(vec![enforced(), denies_big()], "boo"),
        (allow("tools/p#1"), None, true)
    );
}
