//! Conditions of rules.

use super::*;

#[test]
fn a_condition_on_arguments_shows_the_tool_and_refuses_other_arguments() {
    let plan = plan(vec![policy(
        "tools/p",
        &[],
        vec![
            WantedRule {
                tools: globs(&["read"]),
                when: when("mcp.arguments.path.startsWith('/data/')"),
                ..WantedRule::new(Action::Allow)
            },
            WantedRule {
                tools: globs(&["write"]),
                when: when("identity.namespace == 'agents' && mcp.arguments.path == '/data/x'"),
                ..WantedRule::new(Action::Allow)
            },
            WantedRule {
                tools: globs(&["read"]),
                when: when("mcp.arguments.path.contains('..')"),
                ..WantedRule::new(Action::Deny)
            },
        ],
    )]);
    let agent = caller("agents", "ci");
    let of = |caller: &Caller, tool: &str, arguments: &str| {
        judge(&plan, caller, "tools/call", Kind::Tool, tool, Some(arguments))
    };
    let refused = |rule: &str| Decision::Deny {
        rule: rule.into(),
        because: Because::Arguments,
    };
    let shown = |caller: &Caller, tool| plan.shows(server(&plan), caller, Kind::Tool, tool, Annotations::default());
    assert_eq!(of(&agent, "read", r#"{"path":"/data/a"}"#).decision, allow("tools/p#1"));
    assert_eq!(
        of(&agent, "read", r#"{"path":"/etc/a"}"#).decision,
        refused(DEFAULT_DENY)
    );
    assert_eq!(
        of(&agent, "read", r#"{"path":"/data/../etc"}"#).decision,
        refused("tools/p#3")
    );
    // What cannot be evaluated is not allowed: the Deny rule comes first.
    for arguments in ["{}", r#"{"path":7}"#, "null", r#"{"path":"/data/a","path":"/data/b"}"#] {
        let judgement = of(&agent, "read", arguments);
        assert_eq!(judgement.decision, refused("tools/p#3"), "{arguments}");
        assert_eq!(judgement.failures.len(), 1);
    }
    assert!(shown(&agent, "read") && shown(&agent, "write") && shown(&caller("b", "c"), "read"));
    // Who could not write whatever the arguments are does not see the tool, and is not told why.
    assert!(!shown(&caller("b", "c"), "write"));
    assert_eq!(
        of(&caller("b", "c"), "write", r#"{"path":"/data/x"}"#).decision,
        deny(DEFAULT_DENY)
    );
    assert_eq!(
        of(&agent, "write", r#"{"path":"/data/y"}"#).decision,
        refused(DEFAULT_DENY)
    );
}

#[test]
fn a_condition_that_fails_allows_nothing_and_denies() {
    let of = |action| {
        let conditional = WantedRule {
            when: when("jwt.claims.role == 'admin'"),
            ..WantedRule::new(action)
        };
        let plan = plan(vec![policy(
            "tools/p",
            &[],
            vec![conditional, WantedRule::new(Action::Allow)],
        )]);
        judge(&plan, &caller("a", "b"), "tools/call", Kind::Tool, "add", None)
    };
    let denied = of(Action::Deny);
    assert_eq!(denied.decision, deny("tools/p#1"));
    assert_eq!(&*denied.failures[0].0, "tools/p#1");
    assert_eq!(denied.failures[0].1.to_string(), "there is no \"role\"");
    let allowed = of(Action::Allow);
    assert_eq!((allowed.decision, allowed.failures.len()), (allow("tools/p#2"), 1));
}

#[test]
fn what_a_rule_that_is_only_tried_cannot_evaluate_is_told_once_with_what_the_others_cannot() {
    let failing = |action, source: &str| WantedRule {
        when: when(source),
        ..WantedRule::new(action)
    };
    let enforced = vec![
        failing(Action::Allow, "jwt.claims.role == 'admin'"),
        WantedRule::new(Action::Allow),
    ];
    let trial = Policy {
        enforcement: Enforcement::DryRun,
        ..(*policy(
            "tools/trial",
            &[],
            vec![failing(Action::Deny, "jwt.claims.tier == 'gold'")],
        ))
        .clone()
    };
    let plan = plan(vec![policy("tools/p", &[], enforced), Arc::new(trial)]);
    let judgement = judge(&plan, &caller("a", "b"), "tools/call", Kind::Tool, "add", None);
    assert_eq!(judgement.decision, allow("tools/p#2"));
    assert_eq!(judgement.would_deny.as_deref(), Some("tools/trial#1"));
    let mut failed: Vec<&str> = judgement.failures.iter().map(|(rule, _)| &**rule).collect();
    failed.sort_unstable();
    assert_eq!(failed, ["tools/p#1", "tools/trial#1"]);
}

#[test]
fn arguments_are_read_only_for_a_rule_about_the_tool_that_looks_at_them() {
    let plan = plan(vec![policy(
        "tools/p",
        &[],
        vec![
            WantedRule {
                tools: globs(&["read"]),
                when: when("mcp.arguments.path == 'x'"),
                ..WantedRule::new(Action::Deny)
            },
            WantedRule::new(Action::Allow),
        ],
    )]);
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"path":"y"}}}"#;
    let envelope = Envelope::parse(body).unwrap();
    let caller = caller("a", "b");
    for (name, read) in [("read", true), ("other", false)] {
        let governed = Governed {
            method: "tools/call",
            kind: Kind::Tool,
            name,
        };
        let ask = Ask::new(&caller, governed, Annotations::default(), envelope.params.arguments);
        assert_eq!(plan.decide(server(&plan), &ask).decision, allow("tools/p#2"));
        assert_eq!(ask.arguments.were_read(), read, "{name}");
    }
}

#[test]
fn arguments_that_are_too_large_are_not_looked_into() {
    let plan = plan(vec![policy(
        "tools/p",
        &[],
        vec![WantedRule {
            when: when("mcp.arguments.a != 'x'"),
            ..WantedRule::new(Action::Allow)
        }],
    )]);
    let of = |size: usize| {
        let arguments = format!(r#"{{"a":"{}"}}"#, "y".repeat(size));
        judge(
            &plan,
            &caller("a", "b"),
            "tools/call",
            Kind::Tool,
            "t",
            Some(&arguments),
        )
        .decision
    };
    assert_eq!(of(MAX_ARGUMENTS - 8), allow("tools/p#1"));
    assert!(matches!(
        of(MAX_ARGUMENTS),
        Decision::Deny {
            because: Because::Arguments,
            ..
        }
    ));
}

#[test]
fn an_argument_in_another_case_is_no_way_round_a_condition() {
    let plan = plan(vec![policy(
        "tools/p",
        &[],
        vec![
            WantedRule {
                tools: globs(&["read"]),
                when: when("!has(mcp.arguments.path) || mcp.arguments.path.startsWith('/data/')"),
                ..WantedRule::new(Action::Allow)
            },
            WantedRule {
                tools: globs(&["list"]),
                ..WantedRule::new(Action::Allow)
            },
            WantedRule {
                tools: globs(&["list"]),
                when: when("'all' in mcp.arguments.options || mcp.arguments.options[\"deep\"] == true"),
                ..WantedRule::new(Action::Deny)
            },
        ],
    )]);
    let of = |tool: &str, arguments: &str| {
        let judgement = judge(
            &plan,
            &caller("agents", "ci"),
            "tools/call",
            Kind::Tool,
            tool,
            Some(arguments),
        );
        matches!(judgement.decision, Decision::Allow { .. })
    };
    assert!(of("read", "{}") && of("read", r#"{"path":"/data/a","other":1}"#));
    // A server in Go takes each of these for `path`, the last of them.
    for arguments in [
        r#"{"Path":"/etc/shadow"}"#,
        r#"{"path":"/data/a","PATH":"/etc/shadow"}"#,
        r#"{"\u0050ath":"/etc/shadow","path":"/data/a"}"#,
    ] {
        assert!(!of("read", arguments), "{arguments}");
    }
    assert!(of("list", r#"{"options":{"deep":false}}"#));
    for arguments in [
        r#"{"options":{"deep":false,"ALL":1}}"#,
        r#"{"options":{"deep":false,"Deep":true}}"#,
        r#"{"options":{"deep":false},"Options":{"all":1}}"#,
    ] {
        assert!(!of("list", arguments), "{arguments}");
    }
}
