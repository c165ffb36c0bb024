//! Rules about what servers say of their tools: from the catalogue, on both paths, in lists as in calls.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Proxied,
    gateway::{ask, desired as behind_gateway, request, start as gateway},
    name,
    session_server::SessionServer,
};
use crate::resources::{Action, Annotated, Desired, Policy, Rule, Server};

const TOOLS: &str = r#"{"name":"get","annotations":{"readOnlyHint":true}},{"name":"put","annotations":{"readOnlyHint":false}},{"name":"mum"}"#;

/// What is read-only is allowed, at servers that are trusted or not.
fn only_reading(mut desired: Desired, trusted: bool) -> Desired {
    for server in &mut desired.servers {
        Arc::make_mut(server).trust_annotations = trusted;
    }
    let rule = Rule {
        annotations: Annotated {
            read_only: Some(true),
            ..Annotated::NOTHING
        },
        ..Rule::new(Action::Allow)
    };
    desired.policies = vec![Arc::new(Policy {
        name: name("tools", "reading"),
        rules: vec![rule],
        ..Policy::default()
    })];
    desired
}

/// Both paths to the server, with the prefix of its tools there.
async fn both(server: &SessionServer, trusted: bool) -> [(Proxied, &'static str); 2] {
    let redirected = Desired {
        generation: 1,
        servers: vec![Arc::new(Server::at(name("tools", "a"), vec![server.address]))],
        ..Desired::default()
    };
    let redirected = Proxied::start_with(only_reading(redirected, trusted), Some(server.address)).await;
    redirected.knows(1).await;
    let gateway = gateway(only_reading(behind_gateway(&[server.address]), trusted)).await;
    [(redirected, ""), (gateway, "a_")]
}

async fn listed(proxied: &Proxied) -> Vec<String> {
    let text = proxied
        .exchange(super::post("", &request("tools/list", json!({})).to_string()))
        .await;
    let json = &text[text.find('{').unwrap()..=text.rfind('}').unwrap()];
    let answer: Value = serde_json::from_str(json).unwrap();
    let tools = answer["result"]["tools"].as_array().unwrap().iter();
    tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_a_trusted_server_says_decides_lists_and_calls_on_both_paths() {
    let server = SessionServer::with_tools(TOOLS).await;
    for (proxied, prefix) in both(&server, true).await {
        assert_eq!(listed(&proxied).await, [format!("{prefix}get")]);
        for (tool, code) in [
            ("get", None),
            ("put", Some(-32602)),
            ("mum", Some(-32602)),
            ("new", Some(-32602)),
        ] {
            let call = json!({"name": format!("{prefix}{tool}"), "annotations": {"readOnlyHint": true}});
            let answer = ask(&proxied, "", &request("tools/call", call)).await;
            assert_eq!(answer.code(), code, "{tool} {answer:?}");
        }
    }
    assert_eq!(server.called(), ["get", "get"]);
}

#[tokio::test]
async fn what_a_server_says_that_is_not_trusted_allows_nothing() {
    let server = SessionServer::with_tools(TOOLS).await;
    for (proxied, prefix) in both(&server, false).await {
        assert!(listed(&proxied).await.is_empty());
        let call = request("tools/call", json!({"name": format!("{prefix}get")}));
        assert_eq!(ask(&proxied, "", &call).await.code(), Some(-32602));
    }
    assert!(server.called().is_empty());
}

#[tokio::test]
async fn a_tool_is_taken_for_the_worst_until_the_catalogue_is_known() {
    let server = SessionServer::with_tools(TOOLS).await;
    let redirected = Desired {
        generation: 1,
        servers: vec![Arc::new(Server::at(name("tools", "a"), vec![server.address]))],
        ..Desired::default()
    };
    let proxied = Proxied::start_with(only_reading(redirected, true), Some(server.address)).await;
    proxied.discovery.put_in_force(&[]);
    let call = request("tools/call", json!({"name": "get"}));
    assert_eq!(ask(&proxied, "", &call).await.code(), Some(-32602));
    assert!(listed(&proxied).await.is_empty());
}
