//! `denialStatus: http`: denials by the HTTP status, with the same JSON-RPC error, on both paths and in both eras.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    Answer, Proxied, call,
    gateway::{ask, desired as behind_gateway, request, start as gateway},
    name, post,
    session_server::SessionServer,
};
use crate::{
    expression::Expression,
    resources::{
        Action, DenialStatus, Desired, Enforcement, KeyPart, Limit, Pattern, Policy, Rate, Rule, Scope, Server,
    },
};

fn glob(glob: &str) -> Vec<Pattern> {
    vec![Pattern::new(glob).unwrap()]
}

/// Allows `add` with small numbers, once an hour.
fn policy(denial_status: DenialStatus) -> Policy {
    let one = NonZeroU32::MIN;
    Policy {
        name: name("tools", "p"),
        rules: vec![Rule {
            tools: glob("add"),
            when: Some(Arc::new(
                Expression::compile("!has(mcp.arguments.n) || mcp.arguments.n < 10").unwrap(),
            )),
            ..Rule::new(Action::Allow)
        }],
        limits: vec![Limit {
            name: Some("once".into()),
            counts: glob("tools/call"),
            tools: vec![],
            rate: Some(Rate {
                requests: one,
                per: Duration::from_secs(3_600),
                burst: one,
            }),
            concurrency: None,
            key: vec![KeyPart::Identity],
            scope: Scope::Node,
        }],
        denial_status,
        ..Policy::default()
    }
}

async fn redirected(server: &SessionServer, policies: Vec<Policy>) -> Proxied {
    let desired = Desired {
        generation: 1,
        servers: vec![Arc::new(Server::at(name("tools", "a"), vec![server.address]))],
        policies: policies.into_iter().map(Arc::new).collect(),
        ..Desired::default()
    };
    Proxied::start_with(desired, Some(server.address)).await
}

async fn at_gateway(servers: &[&SessionServer], policies: Vec<Policy>) -> Proxied {
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let mut desired = behind_gateway(&addresses);
    desired.policies = policies.into_iter().map(Arc::new).collect();
    gateway(desired).await
}

/// A call of the legacy or of the modern era.
async fn tell(proxied: &Proxied, modern: bool, tool: &str, arguments: Value) -> Answer {
    let mut params = json!({"name": tool, "arguments": arguments});
    let mut headers = String::new();
    if modern {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        headers = format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n");
    }
    ask(proxied, &headers, &request("tools/call", params)).await
}

fn told(answer: &Answer) -> (u16, Option<i64>) {
    (answer.status, answer.code())
}

#[tokio::test]
async fn denials_have_the_status_that_the_policy_asks_for_and_the_same_error() {
    let server = SessionServer::start().await;
    for (denial_status, denied, limited) in [(DenialStatus::Ok, 200, 200), (DenialStatus::Http, 403, 429)] {
        for (proxied, prefix) in [
            (redirected(&server, vec![policy(denial_status)]).await, ""),
            (at_gateway(&[&server], vec![policy(denial_status)]).await, "a_"),
        ] {
            let add = format!("{prefix}add");
            let first = tell(&proxied, false, &add, json!({})).await;
            assert_eq!(told(&first), (200, None), "{first:?}");
            for modern in [false, true] {
                let hidden = tell(&proxied, modern, &format!("{prefix}big"), json!({})).await;
                assert_eq!(told(&hidden), (denied, Some(-32602)), "{modern} {hidden:?}");
                let arguments = tell(&proxied, modern, &add, json!({"n": 10})).await;
                assert_eq!(told(&arguments), (denied, Some(4030)), "{modern} {arguments:?}");
                let over = tell(&proxied, modern, &add, json!({})).await;
                assert_eq!(told(&over), (limited, Some(4290)), "{modern} {over:?}");
                assert!(over.header("retry-after").is_some(), "{over:?}");
                assert_eq!(over.body["error"]["data"]["reason"], "limited");
            }
            let lines = proxied.finish().await;
            let statuses: Vec<&Value> = lines.iter().map(|line| &line["status"]).collect();
            let expected = [200, denied, denied, limited, denied, denied, limited];
            assert_eq!(statuses, expected.map(Value::from).iter().collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn at_the_gateway_the_status_does_not_tell_which_server_has_what_is_hidden() {
    let (a, b) = (SessionServer::start().await, SessionServer::start().await);
    let only_a = Policy {
        targets: vec!["a".into()],
        ..policy(DenialStatus::Http)
    };
    let only_b = Policy {
        name: name("tools", "q"),
        targets: vec!["b".into()],
        ..policy(DenialStatus::Ok)
    };
    let proxied = at_gateway(&[&a, &b], vec![only_a, only_b]).await;
    for tool in ["a_big", "b_big", "a_bog", "b_bog", "nothing"] {
        let answer = tell(&proxied, false, tool, json!({})).await;
        assert_eq!(told(&answer), (403, Some(-32602)), "{tool} {answer:?}");
    }
    assert!(a.called().is_empty() && b.called().is_empty());
}

#[tokio::test]
async fn a_policy_that_is_only_tried_changes_no_status() {
    let server = SessionServer::start().await;
    let tried = Policy {
        name: name("tools", "tried"),
        enforcement: Enforcement::DryRun,
        ..policy(DenialStatus::Http)
    };
    let proxied = redirected(&server, vec![policy(DenialStatus::Ok), tried]).await;
    assert_eq!(told(&proxied.call("big").await), (200, Some(-32602)));
}

#[tokio::test]
async fn one_answer_of_a_batch_has_no_status_of_its_own() {
    let server = SessionServer::start().await;
    let proxied = redirected(&server, vec![policy(DenialStatus::Http)]).await;
    let body = format!("[{},{}]", call("add"), call("big").replace("r1", "r2"));
    let headers = "MCP-Protocol-Version: 2025-03-26\r\n";
    let answer = Answer::of(&proxied.exchange(post(headers, &body)).await);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body[1]["error"]["code"], -32602);
    let lines = proxied.finish().await;
    assert!(lines.iter().all(|line| line["status"] == 200), "{lines:?}");
}
