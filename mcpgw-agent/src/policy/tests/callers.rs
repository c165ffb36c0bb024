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
