//! Lists show what can be called.

use super::*;

/// Rules over several kinds of names, callers and conditions, without arguments.
fn any_rule_without_arguments() -> impl Strategy<Value = WantedRule> {
    let action = prop_oneof![Just(Action::Allow), Just(Action::Deny)];
    let from = prop::sample::select(vec![
        account("a", "x"),
        account("b", "x"),
        From {
            namespaces: vec!["a".into()],
            ..From::default()
        },
        From {
            groups: globs(&["g*"]),
            ..From::default()
        },
        From {
            claims: vec![Claim {
                path: vec!["role".into()],
                values: globs(&["admin"]),
            }],
            ..From::default()
        },
    ]);
    let names = || {
        let glob = prop::sample::select(vec!["add", "big", "b*", "*g", "*", "?dd", "{add,boo}"]);
        prop::collection::vec(glob, 0..2).prop_map(|list| globs(&list))
    };
    let methods = prop::sample::select(vec![vec![], vec!["tools/*"], vec!["*/get"], vec!["resources/read"]]);
    let condition = prop::option::weighted(
        0.3,
        prop::sample::select(vec![
            "mcp.tool == 'add'",
            "identity.namespace == 'a'",
            "jwt.claims.role == 'admin'",
            "mcp.method != 'prompts/get'",
            "has(jwt.claims.role) && mcp.resource.startsWith('b')",
        ]),
    );
    let parts = (
        action,
        prop::collection::vec(from, 0..2),
        methods,
        names(),
        names(),
        names(),
        condition,
    );
    parts.prop_map(
        |(action, from, methods, tools, prompts, resources, condition)| WantedRule {
            from,
            methods: globs(&methods),
            tools,
            prompts,
            resources,
            when: condition.and_then(when),
            ..WantedRule::new(action)
        },
    )
}

fn any_caller() -> impl Strategy<Value = Caller> {
    prop::sample::select(vec![0, 1, 2, 3, 4]).prop_map(|which| match which {
        0 => caller("a", "x"),
        1 => caller("b", "x"),
        2 => nobody(),
        3 => holder(json!({"role": "admin", "groups": ["g1"]})),
        _ => holder(json!({"role": "dev", "groups": []})),
    })
}

proptest! {
    #[test]
    fn what_is_listed_can_be_called_and_nothing_else(
        rules in prop::collection::vec(prop::collection::vec(any_rule_without_arguments(), 0..4), 0..4),
        caller in any_caller(),
        kind in prop::sample::select(vec![Kind::Tool, Kind::Prompt, Kind::Resource]),
        name in prop::sample::select(vec!["add", "big", "boo", "other"]),
    ) {
        let policies = rules.iter().enumerate().map(|(n, rules)| policy(&format!("tools/p{n}"), &[], rules.clone()));
        let plan = plan(policies.collect());
        let listed = plan.shows(server(&plan), &caller, kind, name, Annotations::default());
        let judgement = judge(&plan, &caller, kind.main_method(), kind, name, Some("{}"));
        prop_assert_eq!(listed, matches!(judgement.decision, Decision::Allow { .. }), "{:?}", judgement);
        // The index finds what looking at every rule finds; and any denial denies.
        let governed = Governed { method: kind.main_method(), kind, name };
        let all = server(&plan).consider(&Ask::new(&caller, governed, Annotations::default(), None));
        let says = |wanted: Action| all.iter().any(|(_, action, _, considered)| match considered {
            Considered::Matches => *action == wanted,
            Considered::Fails(_) => wanted == Action::Deny && *action == Action::Deny,
            Considered::Other | Considered::Open => false,
        });
        let expected = !says(Action::Deny) && (all.is_empty() || says(Action::Allow));
        prop_assert_eq!(listed, expected, "{:?} {:?}", judgement, all);
    }
}
