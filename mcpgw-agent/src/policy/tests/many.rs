//! Many rules cost no more than few.

use super::*;

/// Rules of which each is about another name, caller, group or claim.
fn many(count: usize) -> Vec<Arc<Policy>> {
    let rules = (0..count).map(|n| {
        let name = format!("t{n}");
        let from = |from: From| rule(Action::Allow, vec![from], &["*"]);
        match n % 6 {
            0 => rule(Action::Deny, vec![], &[&name]),
            1 => rule(Action::Deny, vec![], &[&format!("t{n}-*")]),
            2 => rule(Action::Deny, vec![], &[&format!("*-t{n}")]),
            3 => from(account("agents", &name)),
            4 => from(From {
                groups: globs(&[&name]),
                ..From::default()
            }),
            _ => from(From {
                claims: vec![Claim {
                    path: vec!["role".into()],
                    values: globs(&[&name]),
                }],
                ..From::default()
            }),
        }
    });
    let rules: Vec<WantedRule> = rules.chain([WantedRule::new(Action::Allow)]).collect();
    rules
        .chunks(256)
        .enumerate()
        .map(|(n, rules)| policy(&format!("tools/p{n:03}"), &[], rules.to_vec()))
        .collect()
}

#[test]
fn of_ten_thousand_rules_a_call_looks_at_as_many_as_of_ten() {
    let looked_at = |count| {
        let plan = plan(many(count));
        let holder = holder(json!({"role": "t5", "groups": ["t4"]}));
        [
            (caller("agents", "t3"), "x-t2"),
            (caller("agents", "t3"), "t1-x"),
            (caller("agents", "t3"), "t0"),
            (caller("agents", "other"), "other"),
            (holder, "add"),
        ]
        .map(|(caller, tool)| judge(&plan, &caller, "tools/call", Kind::Tool, tool, None).looked_at)
    };
    let few = looked_at(10);
    assert_eq!(few, looked_at(10_000));
    assert!(few.iter().all(|count| *count <= 3), "{few:?}");
}
