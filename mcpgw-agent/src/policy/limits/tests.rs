use std::{num::NonZeroU32, sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::*;
use crate::{
    identity::{Caller, ServiceAccount, Token, WorkloadIdentity},
    resources::{self, Asking, KeyPart, ObjectName, Pattern, Rate, Scope},
};

#[path = "cluster_tests.rs"]
mod cluster;

const SECOND: u64 = 1_000_000_000;

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName {
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn attested(namespace: &str, workload: &str, account: &str) -> Caller {
    Caller {
        workload: Some(Arc::new(WorkloadIdentity::new(
            name(namespace, workload),
            account.into(),
        ))),
        ..stranger()
    }
}

fn stranger() -> Caller {
    Caller {
        workload: None,
        token: None,
        destination: "10.0.0.1:80".parse().unwrap(),
        client: None,
        process: None,
        observed: false,
    }
}

fn with_token(subject: &str, claims: serde_json::Value, account: Option<ObjectName>) -> Caller {
    let serde_json::Value::Object(claims) = claims else {
        panic!("claims are an object")
    };
    Caller {
        token: Some(Arc::new(Token {
            ends: u64::MAX,
            issuer: "https://issuer.example".into(),
            subject: subject.into(),
            groups: vec![],
            claims,
            service_account: account.map(|name| ServiceAccount {
                name,
                pod: None,
                pod_uid: None,
            }),
        })),
        ..stranger()
    }
}

struct Call<'a> {
    caller: &'a Caller,
    server: ObjectName,
    tool: &'a str,
}

impl<'a> Call<'a> {
    fn of(caller: &'a Caller) -> Self {
        Self {
            caller,
            server: name("tools", "calc"),
            tool: "add",
        }
    }

    fn spender(&self) -> Spender<'_> {
        Spender {
            caller: self.caller,
            server: &self.server,
            method: "tools/call",
            tool: Some(self.tool),
            tool_key: self.tool,
        }
    }
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn wanted(requests: u32, per: u64, burst: u32, key: &[KeyPart]) -> resources::Limit {
    resources::Limit {
        name: None,
        counts: vec![Pattern::new("tools/call").unwrap()],
        tools: vec![],
        rate: Some(Rate {
            requests: count(requests),
            per: Duration::from_secs(per),
            burst: count(burst),
        }),
        concurrency: None,
        key: key.to_vec(),
        scope: Scope::Node,
    }
}

fn at_a_time(most: u32, key: &[KeyPart]) -> resources::Limit {
    resources::Limit {
        rate: None,
        concurrency: Some(count(most)),
        ..wanted(1, 1, 1, key)
    }
}

fn limit(number: usize, wanted: &resources::Limit) -> Limit {
    let name = wanted.name.as_ref();
    let name = name.map_or_else(|| format!("limit-{}", number + 1), ToString::to_string);
    Limit::compile(format!("tools/fair#{name}"), wanted, false, Asking::InLine)
}

/// How many calls pass at this moment.
fn passing(budgets: &Arc<Budgets>, now: u64, limit: &Limit, call: &Call<'_>) -> usize {
    (0..1_000)
        .take_while(|_| budgets.take_at(now, &[limit], &call.spender()).is_ok())
        .count()
}

#[test]
fn a_hundred_a_minute_are_a_hundred_and_then_one_each_600_ms() {
    let budgets = Arc::new(Budgets::default());
    let limit = limit(0, &wanted(100, 60, 100, &[KeyPart::Identity]));
    let (one, other) = (attested("agents", "a", "ci"), attested("agents", "b", "research"));
    assert_eq!(passing(&budgets, 0, &limit, &Call::of(&one)), 100);
    let refused = budgets.take_at(0, &[&limit], &Call::of(&one).spender()).unwrap_err();
    let expected = Limited {
        limit: "tools/fair#limit-1".into(),
        wait: Duration::from_millis(600),
        policy: "\"tools/fair#limit-1\";q=100;w=60".to_owned(),
        by_service: false,
    };
    assert_eq!(refused, expected);
    assert_eq!(
        passing(&budgets, 0, &limit, &Call::of(&other)),
        100,
        "another's budget is his own"
    );
    assert_eq!(passing(&budgets, SECOND * 6 / 10, &limit, &Call::of(&one)), 1);
    assert_eq!(passing(&budgets, SECOND * 60, &limit, &Call::of(&one)), 99);
    assert_eq!(
        passing(&budgets, SECOND * 600, &limit, &Call::of(&one)),
        100,
        "no more than the burst"
    );
}

#[test]
fn a_service_account_has_one_budget_whoever_vouches_for_it_and_whichever_pod_calls() {
    let budgets = Arc::new(Budgets::default());
    let limit = limit(0, &wanted(4, 60, 4, &[KeyPart::Identity]));
    let account = Some(name("agents", "ci"));
    let callers = [
        attested("agents", "a", "ci"),
        attested("agents", "b", "ci"),
        with_token("system:serviceaccount:agents:ci", json!({}), account),
    ];
    let spent: usize = callers
        .iter()
        .map(|caller| usize::from(budgets.take_at(0, &[&limit], &Call::of(caller).spender()).is_ok()))
        .sum();
    assert_eq!(spent, 3);
    assert_eq!(passing(&budgets, 0, &limit, &Call::of(&callers[2])), 1);
    let others = [
        attested("other", "a", "ci"),
        with_token("ci", json!({}), None),
        stranger(),
    ];
    for other in &others {
        assert_eq!(passing(&budgets, 0, &limit, &Call::of(other)), 4);
    }
}

#[test]
fn every_part_of_a_key_tells_budgets_apart_and_nothing_else_does() {
    let path = vec!["team".into(), "name".into()];
    let red = with_token("a", json!({"team": {"name": "red"}}), None);
    let blue = with_token("b", json!({"team": {"name": "blue"}}), None);
    let none = with_token("c", json!({"team": "red"}), None);
    let nobody = stranger();
    let (agents, others) = (attested("agents", "a", "x"), attested("others", "a", "x"));
    let plain = Call::of(&agents);
    let elsewhere = Call {
        server: name("tools", "files"),
        ..Call::of(&agents)
    };
    let subtract = Call {
        tool: "subtract",
        ..Call::of(&agents)
    };
    let foreign = Call::of(&others);
    let (red, blue, none, nobody) = (Call::of(&red), Call::of(&blue), Call::of(&none), Call::of(&nobody));
    let cases: [(&[KeyPart], &Call<'_>, &Call<'_>, bool); 9] = [
        (&[KeyPart::Server], &plain, &elsewhere, false),
        (&[KeyPart::Server], &plain, &subtract, true),
        (&[KeyPart::Tool], &plain, &subtract, false),
        (&[KeyPart::Tool], &plain, &foreign, true),
        (&[KeyPart::Namespace], &plain, &foreign, false),
        (&[KeyPart::Claim(path.clone())], &red, &blue, false),
        (&[KeyPart::Claim(path.clone())], &none, &nobody, true),
        (&[KeyPart::Claim(path)], &red, &none, false),
        (&[], &red, &plain, true),
    ];
    for (key, first, second, is_one) in cases {
        let budgets = Arc::new(Budgets::default());
        let limit = limit(0, &wanted(3, 60, 3, key));
        assert_eq!(passing(&budgets, 0, &limit, first), 3);
        assert_eq!(
            passing(&budgets, 0, &limit, second),
            if is_one { 0 } else { 3 },
            "{key:?}"
        );
    }
}

#[test]
fn a_call_that_one_limit_refuses_spends_nothing_of_the_others() {
    let budgets = Arc::new(Budgets::default());
    let (wide, narrow) = (
        limit(0, &wanted(10, 60, 10, &[])),
        limit(1, &wanted(1, 60, 1, &[KeyPart::Identity])),
    );
    let places = limit(2, &at_a_time(3, &[]));
    let caller = attested("agents", "a", "ci");
    let call = Call::of(&caller);
    let all = [&wide, &places, &narrow];
    drop(budgets.take_at(0, &all, &call.spender()).unwrap());
    for _ in 0..50 {
        let refused = budgets.take_at(0, &all, &call.spender()).unwrap_err();
        assert_eq!((&*refused.limit, refused.wait.as_secs()), ("tools/fair#limit-2", 60));
    }
    assert_eq!(passing(&budgets, 0, &wide, &call), 9);
    let held: Vec<Taken> = (0..3)
        .map(|_| budgets.take_at(0, &[&places], &call.spender()).unwrap())
        .collect();
    assert_eq!(held.len(), 3);
}

#[test]
fn calls_at_a_time_give_their_places_back_when_they_end() {
    let budgets = Arc::new(Budgets::default());
    let limit = limit(0, &at_a_time(2, &[KeyPart::Identity]));
    let (one, other) = (attested("agents", "a", "ci"), attested("agents", "b", "research"));
    let take = |caller| budgets.take_at(0, &[&limit], &Call::of(caller).spender());
    let (first, _second) = (take(&one).unwrap(), take(&one).unwrap());
    let refused = take(&one).unwrap_err();
    assert_eq!(refused.policy, "\"tools/fair#limit-1\";q=2;qu=\"concurrent-requests\"");
    let _others = take(&other).unwrap();
    drop(first);
    let _third = take(&one).unwrap();
    take(&one).unwrap_err();
}

#[test]
fn a_changed_quota_gives_nobody_a_fresh_burst() {
    let budgets = Arc::new(Budgets::default());
    let caller = attested("agents", "a", "ci");
    let call = Call::of(&caller);
    let before = limit(0, &wanted(60, 60, 60, &[KeyPart::Identity]));
    assert_eq!(passing(&budgets, 0, &before, &call), 60);
    // All is spent: of a quota of twice as much, what a minute takes to be forgiven is all as well.
    let after = limit(0, &wanted(120, 60, 120, &[KeyPart::Identity]));
    assert_eq!(passing(&budgets, 0, &after, &call), 0);
    assert_eq!(passing(&budgets, 10 * SECOND, &after, &call), 20);
    let renamed = Limit::compile(
        "tools/fairer#limit-1",
        &wanted(60, 60, 60, &[KeyPart::Identity]),
        false,
        Asking::InLine,
    );
    assert_eq!(
        passing(&budgets, 0, &renamed, &call),
        60,
        "another limit is another budget"
    );
}

#[test]
fn newcomers_share_one_budget_where_there_is_no_room_and_what_is_forgiven_makes_room() {
    let budgets = Arc::new(Budgets::with_room_for(64));
    let limit = limit(0, &wanted(1, 60, 1, &[KeyPart::Identity]));
    let passed = |now, from: usize| -> usize {
        let callers = (from..from + 2_000).map(|number| with_token(&number.to_string(), json!({}), None));
        callers
            .filter(|caller| budgets.take_at(now, &[&limit], &Call::of(caller).spender()).is_ok())
            .count()
    };
    let first = passed(0, 0);
    assert!(
        (64..=66).contains(&first),
        "{first} had a budget of their own, or the one of the rest"
    );
    assert!(budgets.len() <= 66, "{}", budgets.len());
    assert_eq!(passed(0, 10_000), 0, "the rest have spent theirs");
    let later = passed(61 * SECOND, 20_000);
    assert!((64..=66).contains(&later), "{later}");
}

#[test]
fn what_is_forgiven_is_forgotten() {
    let budgets = Arc::new(Budgets::default());
    let fast = limit(0, &wanted(1_000_000, 1, 1, &[KeyPart::Identity]));
    let places = limit(1, &at_a_time(1, &[]));
    let caller = stranger();
    let held = budgets.take(&[&fast, &places], &Call::of(&caller).spender()).unwrap();
    assert_eq!(budgets.len(), 2);
    std::thread::sleep(Duration::from_millis(1));
    budgets.sweep();
    assert_eq!(budgets.len(), 1, "a call in flight is remembered");
    drop(held);
    budgets.sweep();
    assert!(budgets.is_empty());
}

#[test]
fn a_limit_counts_the_methods_and_tools_that_it_names() {
    let caller = stranger();
    let call = Call::of(&caller);
    let spender = call.spender();
    let list = Spender {
        method: "tools/list",
        tool: None,
        ..spender
    };
    let globs = |globs: &[&str]| globs.iter().map(|glob| Pattern::new(glob).unwrap()).collect();
    let of = |counts: &[&str], tools: &[&str]| {
        let wanted = resources::Limit {
            counts: globs(counts),
            tools: globs(tools),
            ..wanted(1, 1, 1, &[])
        };
        let limit = limit(0, &wanted);
        (limit.counts(&spender), limit.counts(&list))
    };
    assert_eq!(of(&["tools/call"], &[]), (true, false));
    assert_eq!(of(&["*"], &[]), (true, true));
    assert_eq!(of(&["*"], &["add", "b*"]), (true, false));
    assert_eq!(of(&["tools/*"], &["b*"]), (false, false));
}

proptest! {
    /// Whatever is asked in whatever order, a call spends from all of its limits or from none.
    #[test]
    fn spending_is_all_or_nothing(
        quotas in vec((1_u32..5, 1_u32..4), 1..5),
        calls in vec((0_u64..3, vec(any::<prop::sample::Index>(), 1..4), any::<bool>()), 1..80),
    ) {
        let budgets = Arc::new(Budgets::default());
        let limits: Vec<Limit> = quotas
            .iter()
            .enumerate()
            .map(|(number, (requests, most))| {
                let wanted = resources::Limit {
                    concurrency: Some(count(*most)),
                    ..wanted(*requests, 1_000_000, *requests, &[])
                };
                limit(number, &wanted)
            })
            .collect();
        let caller = stranger();
        let call = Call::of(&caller);
        let mut left: Vec<(u32, u32)> = quotas.clone();
        let mut held: Vec<(Taken, Vec<usize>)> = Vec::new();
        for (end, chosen, drops_first) in calls {
            if drops_first && !held.is_empty() {
                let (taken, of) = held.remove(usize::try_from(end).unwrap() % held.len());
                drop(taken);
                for index in of {
                    left[index].1 += 1;
                }
            }
            let mut chosen: Vec<usize> = chosen.iter().map(|index| index.index(limits.len())).collect();
            chosen.sort_unstable();
            chosen.dedup();
            let asked: Vec<&Limit> = chosen.iter().map(|index| &limits[*index]).collect();
            let expected = chosen.iter().all(|index| left[*index].0 > 0 && left[*index].1 > 0);
            match budgets.take_at(0, &asked, &call.spender()) {
                Ok(taken) => {
                    prop_assert!(expected);
                    for index in &chosen {
                        left[*index].0 -= 1;
                        left[*index].1 -= 1;
                    }
                    held.push((taken, chosen));
                }
                Err(_) => prop_assert!(!expected),
            }
        }
    }
}

/// Threads that spend from overlapping limits at once spend no more and no less than there is.
#[test]
fn threads_spend_exactly_what_there_is() {
    let budgets = Arc::new(Budgets::default());
    let limits: Vec<Limit> = (0..4)
        .map(|number| limit(number, &wanted(1_000, 1_000_000, 1_000, &[])))
        .collect();
    let passed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (budgets, limits) = (&budgets, &limits);
                scope.spawn(move || {
                    let caller = stranger();
                    let call = Call::of(&caller);
                    let pair = [&limits[thread], &limits[(thread + 1) % 4]];
                    (0..2_000)
                        .filter(|_| budgets.take_at(0, &pair, &call.spender()).is_ok())
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    // Each call takes one from two of four budgets of a thousand; a thread stops where its neighbours have spent.
    let caller = stranger();
    let left: usize = limits
        .iter()
        .map(|limit| passing(&budgets, 0, limit, &Call::of(&caller)))
        .sum();
    assert_eq!(2 * passed + left, 4_000);
}
