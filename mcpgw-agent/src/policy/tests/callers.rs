//! Whom rules are about.

use super::*;

#[test]
fn all_fields_of_a_caller_must_match_and_one_caller_is_enough() {
    let both = From {
        namespaces: vec!["agents".into()],
        service_accounts: vec![name("agents", "ci")],
        ..From::default()
    };
    let never = From {
        namespaces: vec!["agents".into()],
        service_accounts: vec![name("other", "ci")],
        ..From::default()
    };
    let of = |from| plan(vec![policy("tools/p", &[], vec![rule(Action::Allow, from, &[])])]);
    let allowed = |from, who: &Caller| decide(&of(from), who, "add") == allow("tools/p#1");
    assert!(allowed(vec![both.clone()], &caller("agents", "ci")));
    assert!(!allowed(vec![both.clone()], &caller("agents", "dev")));
    assert!(!allowed(vec![never.clone()], &caller("agents", "ci")));
    assert!(!allowed(vec![never.clone()], &caller("other", "ci")));
    assert!(allowed(vec![never, both], &caller("agents", "ci")));
    assert!(!allowed(vec![account("agents", "ci")], &caller("other", "ci")));
}

#[test]
fn groups_and_claims_are_the_tokens() {
    let from = From {
        groups: globs(&["team-*"]),
        claims: vec![
            Claim {
                path: vec!["realm".into(), "roles".into()],
                values: globs(&["admin", "owner"]),
            },
            Claim {
                path: vec!["tenant".into()],
                values: globs(&["blue*"]),
            },
        ],
        ..From::default()
    };
    let plan = plan(vec![policy("tools/p", &[], vec![rule(Action::Allow, vec![from], &[])])]);
    let allowed = |claims: Json| decide(&plan, &holder(claims), "add") == allow("tools/p#1");
    let good = json!({"groups": ["x", "team-a"], "realm": {"roles": ["dev", "admin"]}, "tenant": "blue-1"});
    assert!(allowed(good.clone()));
    for (claim, value) in [
        ("groups", json!(["teams"])),
        ("groups", json!([])),
        ("realm", json!({"roles": ["dev"]})),
        ("realm", json!({"roles": {"admin": true}})),
        ("realm", json!("admin")),
        ("tenant", json!("red")),
        ("tenant", json!(7)),
    ] {
        let mut other = good.clone();
        other[claim] = value;
        assert!(!allowed(other), "{claim}");
    }
    assert_eq!(decide(&plan, &caller("a", "b"), "add"), deny(DEFAULT_DENY));
    assert_eq!(decide(&plan, &nobody(), "add"), deny(DEFAULT_DENY));
}

/// Denials that only a token can tell whether they are about a caller, beside a permission for all else.
fn denials() -> Vec<(&'static str, WantedRule)> {
    let claim = |values: &[&str]| Claim {
        path: vec!["tenant".into()],
        values: globs(values),
    };
    let from = |from: From| rule(Action::Deny, vec![from], &["big"]);
    vec![
        (
            "a group",
            from(From {
                groups: globs(&["contractors"]),
                ..From::default()
            }),
        ),
        (
            "a glob of groups",
            from(From {
                groups: globs(&["contract*"]),
                ..From::default()
            }),
        ),
        (
            "a claim",
            from(From {
                claims: vec![claim(&["red"])],
                ..From::default()
            }),
        ),
        (
            "a group in a namespace",
            from(From {
                groups: globs(&["contractors"]),
                namespaces: vec!["agents".into()],
                ..From::default()
            }),
        ),
        (
            "a claim of an account",
            from(From {
                claims: vec![claim(&["red"])],
                service_accounts: vec![name("agents", "ci")],
                ..From::default()
            }),
        ),
        (
            "an expression",
            WantedRule {
                when: when("jwt.claims.tenant == 'red'"),
                ..rule(Action::Deny, vec![], &["big"])
            },
        ),
    ]
}

#[test]
fn who_brings_no_token_cannot_leave_a_group_that_is_denied_by_not_saying_so() {
    for (what, denial) in denials() {
        let plan = plan(vec![policy(
            "tools/p",
            &[],
            vec![denial, WantedRule::new(Action::Allow)],
        )]);
        let agent = caller("agents", "ci");
        let judged = judge(&plan, &agent, "tools/call", Kind::Tool, "big", None);
        assert_eq!(judged.decision, deny("tools/p#1"), "{what}");
        assert_eq!(
            judged.failures.len(),
            1,
            "{what}: it is counted as a rule that could not be evaluated"
        );
        assert_eq!(decide(&plan, &agent, "add"), allow("tools/p#2"), "{what}");
        let shown = |tool| plan.shows(server(&plan), &agent, Kind::Tool, tool, Annotations::default());
        assert!(!shown("big") && shown("add"), "{what}: what is denied is not listed");
        let unseen = plan.decide_connection(server(&plan), &agent);
        assert_eq!(unseen, deny("tools/p#1"), "{what}: nor may it go on unread");
        let told = holder(json!({"groups": ["staff"], "tenant": "blue"}));
        assert_eq!(decide(&plan, &told, "big"), allow("tools/p#2"), "{what}");
        if what.contains("account") || what.contains("namespace") {
            assert_eq!(
                decide(&plan, &caller("others", "ci"), "big"),
                allow("tools/p#2"),
                "{what}"
            );
        } else {
            let told = holder(json!({"groups": ["contractors"], "tenant": "red"}));
            assert_eq!(decide(&plan, &told, "big"), deny("tools/p#1"), "{what}");
        }
    }
}

#[test]
fn rules_that_only_deny_are_pointed_out_where_they_govern() {
    let server = resources::Server::at(name("tools", "calc"), vec!["10.0.0.1:80".parse().unwrap()]);
    let doubts = |policies: &[(&str, Action)]| {
        let policies = policies
            .iter()
            .map(|(title, action)| policy(title, &[], vec![WantedRule::new(*action)]));
        let desired = Desired {
            policies: policies.collect(),
            ..Desired::default()
        };
        super::super::doubts(&server, &desired)
    };
    let (deny, allow) = (("tools/no", Action::Deny), ("tools/yes", Action::Allow));
    let found = doubts(&[deny]);
    assert!(
        found.len() == 1 && found[0].starts_with("NothingAllowed: "),
        "{found:?}"
    );
    for allowed in [&[deny, allow][..], &[], &[("agents/no", Action::Deny)]] {
        assert_eq!(doubts(allowed), Vec::<String>::new(), "{allowed:?}");
    }
}

#[test]
fn a_denial_by_token_where_callers_need_none_is_pointed_out() {
    use resources::{Authentication, Capture, Demand, Gateway, Server};
    for (what, denial) in denials() {
        let doubts = |mode: Option<Authentication>, capture, gateway| {
            let mut denying = policy("tools/p", &[], vec![WantedRule::new(Action::Allow), denial.clone()]);
            Arc::make_mut(&mut denying).authentication = mode.map(|mode| Demand { mode, issuers: None });
            let server = Server {
                capture,
                ..Server::at(name("tools", "calc"), vec!["10.0.0.1:80".parse().unwrap()])
            };
            let mut desired = Desired {
                policies: vec![denying],
                ..Desired::default()
            };
            desired.settings.gateway = Some(Gateway {
                listen: vec![],
                tls: None,
                allowed_origins: vec![],
                authentication: gateway,
            });
            super::super::doubts(&server, &desired)
        };
        use Authentication::{Any, Attested, Token};
        let found = doubts(None, Capture::Redirect, Token);
        assert_eq!(found.len(), 1, "{what}");
        assert!(
            found[0].starts_with("UntoldCallers: tools/p#2 denies"),
            "{what}: {found:?}"
        );
        assert_eq!(doubts(Some(Any), Capture::Redirect, Token).len(), 1, "{what}");
        assert_eq!(doubts(None, Capture::GatewayOnly, Attested).len(), 1, "{what}");
        assert!(doubts(None, Capture::GatewayOnly, Token).is_empty(), "{what}");
        assert!(doubts(Some(Token), Capture::Redirect, Attested).is_empty(), "{what}");
    }
}

#[test]
fn a_limit_by_token_where_callers_need_none_is_pointed_out() {
    use resources::{Authentication, Demand, Enforcement, KeyPart, Limit, Scope, Server};
    let doubts = |mode: Option<Authentication>, part, enforcement| {
        let limit = Limit {
            name: None,
            counts: vec![],
            tools: vec![],
            rate: None,
            concurrency: std::num::NonZeroU32::new(1),
            key: vec![KeyPart::Identity, part],
            scope: Scope::Node,
        };
        let mut limiting = policy("tools/p", &[], vec![]);
        let changed = Arc::make_mut(&mut limiting);
        (changed.limits, changed.enforcement) = (vec![limit], enforcement);
        changed.authentication = mode.map(|mode| Demand { mode, issuers: None });
        let server = Server::at(name("tools", "calc"), vec!["10.0.0.1:80".parse().unwrap()]);
        let desired = Desired {
            policies: vec![limiting],
            ..Desired::default()
        };
        super::super::doubts(&server, &desired)
    };
    let claim = || KeyPart::Claim(vec!["team".into()]);
    for enforcement in [Enforcement::Enforce, Enforcement::DryRun] {
        let found = doubts(None, claim(), enforcement);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("UntoldCallers: tools/p#limit-1 tells budgets apart"),
            "{found:?}"
        );
    }
    let of = |mode, part| doubts(mode, part, Enforcement::Enforce);
    assert_eq!(of(Some(Authentication::Any), claim()).len(), 1);
    assert!(of(Some(Authentication::Token), claim()).is_empty());
    assert!(of(None, KeyPart::Namespace).is_empty());
}

#[test]
fn a_rule_about_a_server_that_is_not_there_is_pointed_out() {
    use resources::Server;
    let only_about = |server: &str| WantedRule {
        when: Some(Arc::new(
            crate::expression::Expression::compile(&format!("mcp.server == '{server}' && mcp.tool == 'add'")).unwrap(),
        )),
        ..WantedRule::new(Action::Deny)
    };
    let at = |own: &str| Arc::new(Server::at(name("tools", own), vec!["10.0.0.1:80".parse().unwrap()]));
    let calc = at("calc");
    let mut desired = Desired {
        policies: vec![policy(
            "tools/p",
            &[],
            vec![
                only_about("tools/calc"),
                only_about("tools/clac"),
                WantedRule::new(Action::Allow),
            ],
        )],
        servers: vec![calc.clone()],
        ..Desired::default()
    };
    let found = super::super::doubts(&calc, &desired);
    let expected = "NoSuchServer: tools/p#2 never matches: mcp.server would have to be \"tools/clac\", and the policy \
                    governs no such server now";
    assert_eq!(found, [expected]);
    desired.servers.push(at("clac"));
    assert!(super::super::doubts(&calc, &desired).is_empty());
}

#[test]
fn a_selector_that_shows_a_server_to_no_namespace_that_is_known_is_pointed_out() {
    use resources::{
        Expose, LabelSelector, Labels, Mode, NAME_OF_NAMESPACE, Namespaces, NetworkNamespace, Server, Workload,
    };
    let shown_by = |key: &str, value: &str| {
        let by = LabelSelector {
            labels: Labels::from([(key.into(), value.into())]),
            ..LabelSelector::default()
        };
        let within = Namespaces::All;
        let mut server = Server::at(name("tools", "calc"), vec!["10.0.0.1:80".parse().unwrap()]);
        server.expose_to = Expose::Selected { by, within };
        server
    };
    let agent = Arc::new(Workload {
        name: name("agents", "a"),
        service_account: "a".into(),
        cgroup: "/a".into(),
        network_namespace: NetworkNamespace::OfCgroup,
        mode: Mode::Enforce,
    });
    let desired = Desired {
        namespaces: Arc::new([("blue".into(), Labels::from([("team".into(), "blue".into())]))].into()),
        workloads: vec![agent],
        ..Desired::default()
    };
    let doubts = |key: &str, value: &str| super::super::doubts(&shown_by(key, value), &desired);
    let expected = "NoSuchNamespace: exposeTo.selector (team=bleu) selects none of the namespaces in these files";
    assert_eq!(doubts("team", "bleu"), [expected]);
    assert!(doubts("team", "blue").is_empty());
    // One that has no labels is known by a workload of it.
    assert!(doubts(NAME_OF_NAMESPACE, "agents").is_empty());
    assert_eq!(doubts(NAME_OF_NAMESPACE, "agent").len(), 1);
}

#[test]
fn tls_that_can_never_go_on_unread_is_pointed_out() {
    use resources::{ClientTls, Server};
    let doubts = |client_tls, limited, enforcement| {
        let mut limits = policy("tools/p", &[], vec![]);
        let wanted = Arc::make_mut(&mut limits);
        wanted.enforcement = enforcement;
        if limited {
            wanted.limits = vec![resources::Limit {
                name: None,
                counts: globs(&["tools/call"]),
                tools: vec![],
                rate: None,
                concurrency: std::num::NonZeroU32::new(1),
                key: vec![],
                scope: resources::Scope::Node,
            }];
        }
        let server = Server {
            client_tls,
            ..Server::at(name("tools", "calc"), vec!["10.0.0.1:80".parse().unwrap()])
        };
        let desired = Desired {
            policies: vec![limits],
            ..Desired::default()
        };
        super::super::doubts(&server, &desired)
    };
    use Enforcement::{DryRun, Enforce};
    let found = doubts(ClientTls::Passthrough, true, Enforce);
    assert!(
        found.len() == 1 && found[0].starts_with("PassthroughRefused: limits"),
        "{found:?}"
    );
    assert!(doubts(ClientTls::Refuse, true, Enforce).is_empty());
    assert!(doubts(ClientTls::Passthrough, true, DryRun).is_empty());
    assert!(doubts(ClientTls::Passthrough, false, Enforce).is_empty());
}

#[test]
fn a_service_account_is_the_kernels_word_before_the_tokens() {
    let plan = plan(vec![policy(
        "tools/p",
        &[],
        vec![rule(Action::Allow, vec![account("agents", "ci")], &[])],
    )]);
    let token = |account| {
        let mut holder = holder(json!({}));
        let mut token = (**holder.token.as_ref().unwrap()).clone();
        token.service_account = Some(ServiceAccount {
            name: name("agents", account),
            pod: None,
            pod_uid: None,
        });
        holder.token = Some(Arc::new(token));
        holder
    };
    let allowed = |caller: &Caller| decide(&plan, caller, "add") == allow("tools/p#1");
    assert!(allowed(&token("ci")) && !allowed(&token("dev")));
    let both = |seen, said| Caller {
        workload: caller("agents", seen).workload,
        ..token(said)
    };
    assert!(allowed(&both("ci", "dev")) && !allowed(&both("dev", "ci")));
}

#[test]
fn callers_that_rules_cannot_tell_apart_have_one_face() {
    let claims = |role: &str, id: &str| holder(json!({"role": role, "jti": id}));
    let by_role = plan(vec![policy(
        "tools/p",
        &[],
        vec![WantedRule {
            when: when("jwt.claims.role == 'admin'"),
            ..WantedRule::new(Action::Allow)
        }],
    )]);
    assert_eq!(by_role.face(&claims("a", "1")), by_role.face(&claims("a", "2")));
    assert_ne!(by_role.face(&claims("a", "1")), by_role.face(&claims("b", "1")));
    assert_ne!(by_role.face(&caller("a", "b")), by_role.face(&caller("a", "c")));
    let by_all = plan(vec![policy(
        "tools/p",
        &[],
        vec![WantedRule {
            when: when("'x' in jwt.claims || jwt.claims.role == 'admin'"),
            ..WantedRule::new(Action::Allow)
        }],
    )]);
    assert_ne!(by_all.face(&claims("a", "1")), by_all.face(&claims("a", "2")));
}
