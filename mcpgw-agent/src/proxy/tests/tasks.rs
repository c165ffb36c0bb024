//! Tasks at the gateway: whose they are, and which server has them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Proxied,
    gateway::{ask, desired, request, start},
    modern_server::ModernServer,
    name, post, read_until,
    session_server::{Offers, SessionServer},
    streams::send,
};
use crate::{
    identity::WorkloadIdentity,
    mcp::seal::{Task, Token as _},
    resources::{Action, Pattern, Policy, Rule},
};

/// The id of a task of server `tools/b`, for this pod.
fn task_of_b(proxied: &Proxied, pod: &str) -> String {
    let identity = WorkloadIdentity::new(name("agents", pod), "ci".into());
    let task = Task {
        server: "tools/b".to_owned(),
        task: "t-1".to_owned(),
        owner: identity.owner(),
    };
    task.seal(&proxied.shared.gateway.sealer).unwrap()
}

async fn get(proxied: &Proxied, id: &str) -> Value {
    ask(proxied, "", &request("tasks/get", json!({ "taskId": id })))
        .await
        .body
}

#[tokio::test]
async fn a_task_is_asked_for_at_its_server_under_the_servers_own_id() {
    let (a, b) = (SessionServer::start().await, SessionServer::start().await);
    let proxied = start(desired(&[a.address, b.address])).await;
    let id = task_of_b(&proxied, "pod-1");
    let answer = get(&proxied, &id).await;
    assert_eq!(answer["result"], json!({}), "{answer}");
    assert_eq!((a.called(), b.called()), (vec![], vec!["t-1".to_owned()]));
}

#[tokio::test]
async fn a_task_of_somebody_else_or_of_nobody_is_unknown_and_no_server_hears_of_it() {
    let (a, b) = (SessionServer::start().await, SessionServer::start().await);
    let proxied = start(desired(&[a.address, b.address])).await;
    let own = task_of_b(&proxied, "pod-1");
    let mut forged = own.clone();
    forged.pop();
    for id in [task_of_b(&proxied, "pod-2"), forged, "t-1".to_owned(), String::new()] {
        let answer = get(&proxied, &id).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert_eq!(answer["error"]["message"], format!("Unknown task: {id}"));
    }
    assert_eq!((a.called(), b.called()), (vec![], vec![]));
}

#[tokio::test]
async fn rules_that_do_not_allow_it_make_a_task_unknown_to_its_owner_too() {
    let (a, b) = (SessionServer::start().await, SessionServer::start().await);
    let mut desired = desired(&[a.address, b.address]);
    desired.policies = vec![Arc::new(Policy {
        name: name("tools", "restrict"),
        rules: vec![Rule {
            tools: vec![Pattern::new("*").unwrap()],
            ..Rule::new(Action::Allow)
        }],
        ..Policy::default()
    })];
    let proxied = start(desired).await;
    let id = task_of_b(&proxied, "pod-1");
    let answer = get(&proxied, &id).await;
    assert_eq!(answer["error"]["message"], format!("Unknown task: {id}"), "{answer}");
    assert!(b.called().is_empty());
    let lines = proxied.finish().await;
    assert_eq!(
        (&lines[0]["decision"], &lines[0]["rule"]),
        (&json!("deny"), &json!("default-deny"))
    );
}

/// The ids of the tasks that a caller is shown.
async fn listed(proxied: &Proxied) -> Vec<Value> {
    let answer = ask(proxied, "", &request("tasks/list", json!({}))).await;
    let tasks = answer.body["result"]["tasks"].as_array();
    let tasks = tasks.unwrap_or_else(|| panic!("{answer:?}"));
    tasks.iter().map(|task| task["taskId"].clone()).collect()
}

/// Has a task made, and tells its id.
async fn make(proxied: &Proxied) -> String {
    let called = request(
        "tools/call",
        json!({"name": "a_add", "arguments": {}, "task": {"ttl": 60_000}}),
    );
    let answer = ask(proxied, "", &called).await;
    let id = answer.body["result"]["task"]["taskId"].as_str();
    id.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

#[tokio::test]
async fn a_server_that_lists_the_tasks_of_all_its_clients_shows_each_caller_its_own_alone() {
    let server = SessionServer::offering(Offers {
        tools: r#"{"name":"add","inputSchema":{"type":"object"}}"#.to_owned(),
        tasks: true,
        ..Offers::default()
    })
    .await;
    let proxied = start(desired(&[server.address])).await;
    let other = proxied.of_another_workload("10.9.9.9:8080".parse().unwrap()).await;
    let own = make(&proxied).await;
    assert!(listed(&other).await.is_empty(), "the task of another");
    let others = make(&other).await;
    let (mine, theirs) = (listed(&proxied).await, listed(&other).await);
    assert_eq!((mine.len(), theirs.len()), (1, 1), "{mine:?} {theirs:?}");
    // Each is good for its owner.
    for (whose, id) in [
        (&proxied, own.into()),
        (&proxied, mine[0].clone()),
        (&other, others.into()),
        (&other, theirs[0].clone()),
    ] {
        let answer = get(whose, id.as_str().unwrap()).await;
        assert_eq!(answer["result"], json!({}), "{answer}");
    }
    assert_eq!(server.called(), ["t-0", "t-0", "t-1", "t-1"]);
}

#[tokio::test]
async fn a_modern_client_hears_of_its_own_tasks_by_the_ids_that_it_knows() {
    let server = ModernServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let meta = |capabilities: Value| {
        json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        })
    };
    let known = || json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let called = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: a_greet\r\n";
    let mut ids = Vec::new();
    for task in ["mine", "unheard"] {
        let params = json!({"_meta": meta(known()), "name": "a_greet", "arguments": {"later": task}});
        let made = proxied
            .exchange(post(called, &request("tools/call", params).to_string()))
            .await;
        let (_, id) = made.split_once(r#""taskId":""#).unwrap_or_else(|| panic!("{made}"));
        ids.push(id.split('"').next().unwrap().to_owned());
    }
    let listening = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\n";
    let listen = |capabilities: Value| {
        let asked = json!({"taskIds": [&ids[0], &ids[1], "mine", "forged"]});
        request(
            "subscriptions/listen",
            json!({"_meta": meta(capabilities), "notifications": asked}),
        )
    };
    let refused = ask(&proxied, listening, &listen(json!({}))).await;
    assert_eq!((refused.status, refused.code()), (400, Some(-32021)), "{refused:?}");
    let mut stream = send(&proxied, post(listening, &listen(known()).to_string())).await;
    let heard = read_until(&mut stream, "\"completed\"").await;
    assert!(!heard.contains("\"mine\"") && !heard.contains("others"), "{heard}");
    let said: Vec<Value> = heard
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .collect();
    assert_eq!(
        said[0]["params"]["notifications"],
        json!({"taskIds": [&ids[0]]}),
        "{heard}"
    );
    assert_eq!(said[1]["params"]["taskId"], *ids[0]);
    assert_eq!(said[1]["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 7);
}
