//! Tasks at the gateway: whose they are, and which server has them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Proxied,
    gateway::{ask, desired, request, start},
    name,
    session_server::SessionServer,
};
use crate::{
    identity::WorkloadIdentity,
    mcp::seal::{Owner, Task, Token as _},
    resources::{Action, Pattern, Policy, Rule},
};

/// The id of a task of server `tools/b`, for this pod.
fn task_of_b(proxied: &Proxied, pod: &str) -> String {
    let identity = WorkloadIdentity {
        workload: name("agents", pod),
        service_account: "ci".into(),
    };
    let owner = format!("{} {pod}", identity.principal());
    let task = Task {
        server: "tools/b".to_owned(),
        task: "t-1".to_owned(),
        owner: Owner::of(&owner),
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
