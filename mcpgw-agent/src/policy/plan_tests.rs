use proptest::prelude::*;

use super::*;
use crate::resources::{self, Caller, Pattern, Rule as WantedRule};

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName {
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn caller(namespace: &str, account: &str) -> WorkloadIdentity {
    WorkloadIdentity {
        workload: name(namespace, "pod"),
        service_account: account.into(),
    }
}

fn rule(action: Action, from: Vec<Caller>, tools: &[&str]) -> WantedRule {
    WantedRule {
        action,
        from,
        tools: tools.iter().map(|glob| Pattern::new(glob).unwrap()).collect(),
    }
}

fn account(namespace: &str, account: &str) -> Caller {
    Caller {
        namespaces: vec![],
        service_accounts: vec![name(namespace, account)],
    }
}

fn policy(policy: &str, targets: &[&str], rules: Vec<WantedRule>) -> Arc<Policy> {
    let (namespace, policy) = policy.split_once('/').unwrap();
    let targets = targets.iter().map(|target| Arc::from(*target)).collect();
    Arc::new(Policy {
        name: name(namespace, policy),
        targets,
        authentication: None,
        limits: vec![],
        rules,
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

fn decide(plan: &Plan, caller: &WorkloadIdentity, tool: &str) -> Decision {
    plan.decide(Some(caller), &plan.at("10.0.0.1:80".parse().unwrap())[0], tool)
}

fn deny(rule: &str) -> Decision {
    Decision::Deny { rule: rule.into() }
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
fn all_fields_of_a_caller_must_match_and_one_caller_is_enough() {
    let both = Caller {
        namespaces: vec!["agents".into()],
        service_accounts: vec![name("agents", "ci")],
    };
    let never = Caller {
        namespaces: vec!["agents".into()],
        service_accounts: vec![name("other", "ci")],
    };
    let of = |from| plan(vec![policy("tools/p", &[], vec![rule(Action::Allow, from, &[])])]);
    let allowed = |from, who: &WorkloadIdentity| decide(&of(from), who, "add") == allow("tools/p#1");
    assert!(allowed(vec![both.clone()], &caller("agents", "ci")));
    assert!(!allowed(vec![both.clone()], &caller("agents", "dev")));
    assert!(!allowed(vec![never.clone()], &caller("agents", "ci")));
    assert!(!allowed(vec![never.clone()], &caller("other", "ci")));
    assert!(allowed(vec![never, both], &caller("agents", "ci")));
    assert!(!allowed(vec![account("agents", "ci")], &caller("other", "ci")));
}

#[test]
fn a_server_knows_the_tools_that_its_rules_name() {
    let plan = plan(vec![policy(
        "tools/p",
        &[],
        vec![rule(Action::Deny, vec![], &["big", "get_*"])],
    )]);
    let server = &plan.at("10.0.0.1:80".parse().unwrap())[0];
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
