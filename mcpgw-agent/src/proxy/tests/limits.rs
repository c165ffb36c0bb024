//! Limits: one budget over both paths, answers that say when to try again, places that calls give back.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    Answer, Proxied, call, desired as redirected,
    gateway::{ask, desired as behind_gateway, request, start as gateway},
    name, post, post_and_stay,
    session_server::SessionServer,
    upstreams::Scripted,
};
use crate::resources::{Action, Enforcement, KeyPart, Limit, Pattern, Policy, Rate, Rule, Scope};

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

pub(super) fn an_hour(requests: u32) -> Limit {
    Limit {
        name: Some("fair".into()),
        counts: vec![Pattern::new("tools/call").unwrap()],
        tools: vec![],
        rate: Some(Rate {
            requests: count(requests),
            per: Duration::from_secs(3_600),
            burst: count(requests),
        }),
        concurrency: None,
        key: vec![KeyPart::Identity, KeyPart::Tool],
        scope: Scope::Node,
    }
}

pub(super) fn policy(limit: Limit) -> Policy {
    Policy {
        name: name("tools", "limits"),
        limits: vec![limit],
        ..Policy::default()
    }
}

async fn call_at_gateway(proxied: &Proxied, tool: &str) -> Answer {
    let params = json!({"name": tool, "arguments": {}});
    ask(proxied, "", &request("tools/call", params)).await
}

fn is_result(answer: &Answer) -> bool {
    answer.body.get("result").is_some()
}

#[tokio::test]
async fn a_service_account_has_one_budget_on_both_paths_and_learns_when_to_try_again() {
    let server = SessionServer::start().await;
    let mut desired = behind_gateway(&[server.address]);
    desired.policies = vec![Arc::new(policy(an_hour(3)))];
    let at_gateway = gateway(desired).await;
    // Another pod of the same ServiceAccount, which dials the server itself.
    let direct = at_gateway.of_another_workload(server.address).await;
    assert!(is_result(&call_at_gateway(&at_gateway, "a_add").await));
    assert!(is_result(&direct.call("add").await));
    assert!(is_result(&direct.call("add").await));
    for answer in [call_at_gateway(&at_gateway, "a_add").await, direct.call("add").await] {
        assert_eq!((answer.status, answer.code()), (200, Some(4290)), "{answer:?}");
        let data = &answer.body["error"]["data"];
        assert_eq!(data["reason"], "limited");
        let wait = data["retryAfterMs"].as_u64().unwrap();
        assert!((1_100_000..=1_200_000).contains(&wait), "{wait}");
        let seconds = wait.div_ceil(1_000).to_string();
        assert_eq!(answer.header("retry-after"), Some(&*seconds));
        let state = format!("\"tools/limits#fair\";r=0;t={seconds}");
        assert_eq!(answer.header("ratelimit"), Some(&*state));
        let rule = "\"tools/limits#fair\";q=3;w=3600";
        assert_eq!(answer.header("ratelimit-policy"), Some(rule));
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert_eq!(message, format!("Too many requests: try again in {seconds} s"));
    }
    assert!(
        is_result(&call_at_gateway(&at_gateway, "a_big").await),
        "another tool, another budget"
    );
    let metrics = at_gateway.telemetry.render();
    let limited = |path: &str| {
        let of = |line: &&str| line.starts_with("mcp_tool_calls_total{") && line.contains("outcome=\"limited\"");
        let mut lines = metrics.lines().filter(of).filter(|line| line.contains(path));
        lines.next().and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    };
    assert_eq!(limited("redirected").as_deref(), Some("1"), "{metrics}");
    assert_eq!(limited("gateway").as_deref(), Some("1"));
    drop(direct);
    let lines = at_gateway.finish().await;
    let refused: Vec<&Value> = lines.iter().filter(|line| line["decision"] == "limit").collect();
    assert_eq!(refused.len(), 2);
    for line in refused {
        assert_eq!(
            (&line["rule"], &line["outcome"]),
            (&json!("tools/limits#fair"), &json!("limited"))
        );
    }
}

#[tokio::test]
async fn a_denied_call_spends_nothing() {
    let server = SessionServer::start().await;
    let mut desired = redirected(server.address);
    let mut limits = policy(Limit {
        key: vec![],
        ..an_hour(1)
    });
    limits.name = name("tools", "zlimits");
    desired.policies.push(Arc::new(limits));
    let proxied = Proxied::start_with(desired, Some(server.address)).await;
    for _ in 0..3 {
        assert_eq!(proxied.call("big").await.code(), Some(-32602));
    }
    assert!(is_result(&proxied.call("add").await));
    assert_eq!(proxied.call("add").await.code(), Some(4290));
    assert_eq!(
        proxied.call("big").await.code(),
        Some(-32602),
        "it is as unknown as before"
    );
}

#[tokio::test]
async fn a_limit_that_is_only_tried_is_recorded_and_refuses_nobody() {
    let server = SessionServer::start().await;
    let mut desired = redirected(server.address);
    desired.policies = vec![Arc::new(Policy {
        enforcement: Enforcement::DryRun,
        ..policy(an_hour(1))
    })];
    let proxied = Proxied::start_with(desired, Some(server.address)).await;
    for _ in 0..3 {
        assert!(is_result(&proxied.call("add").await));
    }
    let decisions: Vec<Value> = proxied
        .finish()
        .await
        .iter()
        .map(|line| line["decision"].clone())
        .collect();
    // Until it has run once, what a client calls may be a name that it made up: those share one budget.
    assert_eq!(decisions, ["allow", "allow", "would_deny"]);
}

#[tokio::test]
async fn a_call_in_flight_takes_a_place_until_its_answer_has_been_passed_on() {
    let (slow, address) = Scripted::start().await;
    let mut desired = redirected(address);
    desired.policies = vec![Arc::new(policy(Limit {
        rate: None,
        concurrency: Some(count(1)),
        key: vec![KeyPart::Identity],
        ..an_hour(1)
    }))];
    let proxied = Proxied::start_with(desired, Some(address)).await;
    let mut first = proxied.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut first, post_and_stay(&call("add")).as_bytes())
        .await
        .unwrap();
    let arrived = slow.asked().await;
    let second = proxied.call("add").await;
    assert_eq!((second.code(), second.header("retry-after")), (Some(4290), Some("1")));
    drop((first, arrived));
    let mut codes = Vec::new();
    for _ in 0..200 {
        let third = tokio::time::timeout(Duration::from_millis(200), proxied.exchange(post("", &call("add")))).await;
        match third.map(|text| Answer::of(&text).code()) {
            Ok(Some(4290)) => codes.push(4290),
            // It waits for the server, or the server has gone.
            Ok(_) | Err(_) => return,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the place was never given back: {codes:?}");
}

#[tokio::test]
async fn a_reload_gives_nobody_a_fresh_burst() {
    let server = SessionServer::start().await;
    let of = |requests: u32, generation: u64| {
        let mut desired = redirected(server.address);
        desired.generation = generation;
        desired.policies = vec![Arc::new(Policy {
            rules: vec![Rule::new(Action::Allow)],
            ..policy(Limit {
                key: vec![KeyPart::Identity],
                ..an_hour(requests)
            })
        })];
        desired
    };
    let proxied = Proxied::start_with(of(2, 1), Some(server.address)).await;
    assert!(is_result(&proxied.call("add").await) && is_result(&proxied.call("add").await));
    proxied.plan.store(Arc::new(crate::policy::Plan::compile(&of(4, 2))));
    assert_eq!(proxied.call("add").await.code(), Some(4290));
}
