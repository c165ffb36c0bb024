//! Limits that the whole cluster shares, as far as this node goes.

use super::*;
use crate::resources::Unit;

fn of_the_cluster(requests: u32, key: &[KeyPart]) -> Limit {
    let wanted = resources::Limit {
        name: Some("all_nodes".into()),
        scope: Scope::Cluster {
            unit: Unit::Minute,
            mode: None,
        },
        ..wanted(requests, 60, requests, key)
    };
    limit(0, &wanted)
}

fn entries(key: &[KeyPart], spender: &Spender<'_>) -> Vec<String> {
    let descriptor = Descriptor::of(&of_the_cluster(7, key), spender).unwrap();
    let written = descriptor.entries.iter();
    written.map(|(key, value)| format!("{key}={value}")).collect()
}

#[test]
fn a_descriptor_names_the_limit_and_each_part_of_its_key() {
    let pod = attested("agents", "pod-1", "ci");
    let call = Call::of(&pod);
    let claim = |path: &str| KeyPart::Claim(path.split('.').map(Box::from).collect());
    let key = [KeyPart::Tool, KeyPart::Identity, KeyPart::Namespace, KeyPart::Server];
    assert_eq!(
        entries(&key, &call.spender()),
        [
            "limit=tools/fair#all%5Fnodes",
            "tool=add",
            "identity=system:serviceaccount:agents:ci",
            "namespace=agents",
            "server=tools/calc",
        ]
    );
    let user = with_token("alice", json!({"team": "blue", "org": {"unit_id": [1, "a b"]}}), None);
    let call = Call::of(&user);
    let key = [claim("team"), claim("org.unit_id"), claim("absent"), KeyPart::Namespace];
    assert_eq!(
        entries(&key, &call.spender())[1..],
        [
            "claim:team=\"blue\"",
            "claim:org.unit%5Fid=[1,\"a%20b\"]",
            "claim:absent=-",
            "namespace=-",
        ]
    );
    assert_eq!(
        Descriptor::of(&of_the_cluster(7, &[]), &call.spender())
            .unwrap()
            .quota
            .requests,
        count(7)
    );
    let own = limit(0, &wanted(7, 60, 7, &[]));
    assert_eq!(Descriptor::of(&own, &call.spender()), None);
}

#[test]
fn nobody_can_choose_a_name_that_comes_to_somebody_elses_budget() {
    let key = [KeyPart::Identity, KeyPart::Tool];
    let of = |subject: &str, tool: &str| {
        let caller = with_token(subject, json!({}), None);
        let call = Call {
            tool,
            ..Call::of(&caller)
        };
        // As services put them together.
        entries(&key, &call.spender()).join("_").replace('=', "_")
    };
    let long = "x".repeat(10_000);
    let names = [
        "a",
        "a_tool_b",
        "a%5Ftool%5Fb",
        "a\u{e9}",
        "a\n",
        "-",
        "%2D",
        "a_",
        &long,
        &format!("{long}x"),
    ];
    let mut seen = std::collections::HashSet::new();
    for subject in names {
        for tool in names {
            let written = of(subject, tool);
            assert!(written.is_ascii() && written.len() < 1_000, "{written}");
            assert!(seen.insert(written), "{subject:.40?} {tool:.40?}");
        }
    }
    // What a caller does not have is nobody's name.
    assert!(of("a", "-").ends_with("_tool_%2D"), "{}", of("a", "-"));
    assert!(of("a", "").ends_with("_tool_-"));
}

#[test]
fn a_budget_that_the_cluster_has_spent_is_closed_until_it_is_whole_again() {
    let budgets = Arc::new(Budgets::default());
    let limit = of_the_cluster(100, &[KeyPart::Identity]);
    let (one, other) = (attested("agents", "a", "ci"), attested("agents", "b", "research"));
    let (call, others) = (Call::of(&one), Call::of(&other));
    let taken = budgets.take(&[&limit], &call.spender()).unwrap();
    taken.budget(0).unwrap().close(Duration::from_secs(1_000));
    // A shorter time says no more than the longer one.
    taken.budget(0).unwrap().close(Duration::from_secs(10));
    drop(taken);
    budgets.sweep();
    let refused = budgets.take(&[&limit], &call.spender()).unwrap_err();
    assert!(
        refused.by_service && refused.wait > Duration::from_secs(990),
        "{refused:?}"
    );
    assert!(budgets.take(&[&limit], &others.spender()).is_ok(), "another budget");
    assert_eq!(passing(&budgets, 2_000 * SECOND, &limit, &call), 100);
}

#[test]
fn a_call_that_does_not_happen_gives_back_what_it_spent_of_every_limit() {
    let budgets = Arc::new(Budgets::default());
    let shared = of_the_cluster(3, &[]);
    let own = limit(1, &wanted(3, 60, 3, &[]));
    let places = limit(2, &at_a_time(1, &[]));
    let caller = stranger();
    let call = Call::of(&caller);
    for _ in 0..10 {
        let taken = budgets.take_at(0, &[&own, &shared, &places], &call.spender()).unwrap();
        taken.give_back();
    }
    assert_eq!(passing(&budgets, 0, &shared, &call), 3);
    assert_eq!(passing(&budgets, 0, &own, &call), 3);
}
