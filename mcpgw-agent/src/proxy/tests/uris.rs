//! Resources of which two servers have the same URI.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Proxied, gateway, name, read_until,
    session_server::{Offers, SessionServer},
    streams::{get, listen, send, session, updated},
};
use crate::{
    discovery::{MAX_TEMPLATE, MAX_TEMPLATES},
    resources::{Action, Pattern, Policy, Rule},
};

/// What the younger server's URIs begin with.
const OTHER: &str = "mcpgw+tools+b+";

fn offers() -> Offers {
    Offers {
        tools: r#"{"name":"link","inputSchema":{"type":"object"}}"#.to_owned(),
        prompts: r#"{"name":"p"}"#.to_owned(),
        resources: r#"{"uri":"demo://1","name":"r"},{"uri":"https://a.example/1","name":"h"}"#.to_owned(),
        templates: r#"{"uriTemplate":"demo://of/{id}","name":"t"}"#.to_owned(),
        unasked: updated("demo://1"),
        ..Offers::default()
    }
}

fn all<'a>(answer: &'a super::Answer, list: &str, key: &str) -> Vec<&'a str> {
    let items = answer.body["result"][list].as_array().unwrap();
    items.iter().map(|item| item[key].as_str().unwrap()).collect()
}

#[tokio::test]
async fn no_server_has_a_uri_that_is_anothers_at_the_gateway() {
    let thief = Offers {
        resources: format!(r#"{{"uri":"demo://1","name":"r"}},{{"uri":"{OTHER}demo://1","name":"stolen"}}"#),
        templates: r#"{"uriTemplate":"MCPGW+tools+b+{+rest}","name":"t"}"#.to_owned(),
        ..offers()
    };
    let (a, b) = (
        SessionServer::offering(thief).await,
        SessionServer::offering(offers()).await,
    );
    let desired = gateway::desired(&[a.address, b.address]);
    let proxied = gateway::start(desired.clone()).await;
    let told = &proxied.discovery.offers(&desired)[0].problems;
    assert_eq!(
        told.iter()
            .filter(|problem| problem.starts_with("ReservedUri: "))
            .count(),
        2,
        "{told:?}"
    );
    let read = gateway::request("resources/read", json!({ "uri": format!("{OTHER}demo://1") }));
    gateway::ask(&proxied, "", &read).await;
    assert_eq!((a.called(), b.called()), (vec![], vec!["demo://1".to_owned()]));
}

#[tokio::test]
async fn the_younger_servers_uri_is_another_at_the_gateway_and_works_like_any() {
    let (a, b) = (
        SessionServer::offering(offers()).await,
        SessionServer::offering(offers()).await,
    );
    let desired = gateway::desired(&[a.address, b.address]);
    let proxied = gateway::start(desired.clone()).await;
    let offers = proxied.discovery.offers(&desired);
    assert!(offers[0].problems.is_empty(), "{offers:?}");
    let expected = [
        "UriConflict: demo://1 is a resource of tools/a already; at the gateway it is mcpgw+tools+b+demo://1",
        "UriConflict: https://a.example/1 is a resource of tools/a already, and goes there at the gateway",
        "UriConflict: demo://of/{id} is a resource of tools/a already; at the gateway it is mcpgw+tools+b+demo://of/{id}",
    ];
    assert!(
        expected
            .iter()
            .all(|problem| offers[1].problems.iter().any(|told| told == problem)),
        "{offers:?}"
    );
    let listed = gateway::ask(&proxied, "", &gateway::request("resources/list", json!({}))).await;
    let other = format!("{OTHER}demo://1");
    // What clients fetch themselves stays, and is the older one's.
    assert_eq!(
        all(&listed, "resources", "uri"),
        ["demo://1", "https://a.example/1", &other]
    );
    let templates = gateway::ask(&proxied, "", &gateway::request("resources/templates/list", json!({}))).await;
    let template = format!("{OTHER}demo://of/{{id}}");
    assert_eq!(
        all(&templates, "resourceTemplates", "uriTemplate"),
        ["demo://of/{id}", &template]
    );
    let headers = session(&proxied, "").await;
    let read = async |uri: &str| {
        let read = gateway::request("resources/read", json!({ "uri": uri }));
        let answer = gateway::ask(&proxied, &headers, &read).await;
        assert_eq!(answer.body["result"]["contents"][0]["uri"], uri, "{answer:?}");
    };
    read(&other).await;
    read(&format!("{OTHER}demo://of/7")).await;
    assert_eq!(
        (a.called(), b.called()),
        (vec![], vec!["demo://1".to_owned(), "demo://of/7".to_owned()])
    );
    read("demo://1").await;
    read("demo://of/7").await;
    read("https://a.example/1").await;
    assert_eq!((a.called().len(), b.called().len()), (3, 2));
    for (method, params) in [
        ("resources/subscribe", json!({ "uri": other })),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/resource", "uri": template}, "argument": {"name": "id", "value": ""}}),
        ),
    ] {
        let answer = gateway::ask(&proxied, &headers, &gateway::request(method, params)).await;
        assert!(answer.body["result"].is_object(), "{method}: {answer:?}");
    }
    assert_eq!(b.called()[2..], ["demo://1".to_owned(), "demo://of/{id}".to_owned()]);
    // Both tell of theirs, each by the URI that it has here.
    let mut stream = send(&proxied, get(&headers)).await;
    read_until(&mut stream, &format!(r#""uri":"{other}""#)).await;
    read_until(&mut stream, r#""uri":"demo://1""#).await;
    let lines = proxied.finish().await;
    let named: Vec<&Value> = lines
        .iter()
        .filter(|line| line["called_as"] == other.as_str())
        .collect();
    assert!(
        !named.is_empty() && named.iter().all(|line| line["resource"] == "demo://1"),
        "{named:?}"
    );
}

#[tokio::test]
async fn a_modern_client_listens_to_the_younger_servers_resource_by_its_uri_at_the_gateway() {
    let (a, b) = (
        SessionServer::offering(offers()).await,
        SessionServer::offering(offers()).await,
    );
    let proxied = gateway::start(gateway::desired(&[a.address, b.address])).await;
    let other = format!("{OTHER}demo://1");
    let mut stream = send(&proxied, listen(&[&other])).await;
    let heard = read_until(&mut stream, &format!(r#""uri":"{other}""#)).await;
    assert!(
        heard.contains(&format!(r#"{{"resourceSubscriptions":["{other}"]}}"#)),
        "{heard}"
    );
    assert_eq!((a.called(), b.called()), (vec![], vec!["demo://1".to_owned()]));
}

/// What `a` has is hidden, but for its tools.
fn hidden_at_a() -> Policy {
    Policy {
        name: name("tools", "no-resources"),
        targets: vec!["a".into()],
        rules: vec![Rule {
            tools: vec![Pattern::new("*").unwrap()],
            ..Rule::new(Action::Allow)
        }],
        ..Policy::default()
    }
}

#[tokio::test]
async fn that_a_server_has_something_that_is_hidden_nobody_learns_from_what_another_one_has() {
    let mut seen = Vec::new();
    let empty = Offers {
        resources: String::new(),
        templates: String::new(),
        ..offers()
    };
    for at_a in [offers(), empty] {
        let (a, b) = (
            SessionServer::offering(at_a).await,
            SessionServer::offering(offers()).await,
        );
        let mut desired = gateway::desired(&[a.address, b.address]);
        desired.policies = vec![Arc::new(hidden_at_a())];
        let proxied = gateway::start(desired).await;
        let mut told = Vec::new();
        for (method, params) in [
            ("resources/list", json!({})),
            ("resources/templates/list", json!({})),
            ("resources/read", json!({"uri": "demo://1"})),
            ("resources/read", json!({"uri": "demo://of/7"})),
            ("resources/read", json!({"uri": "https://a.example/1"})),
            ("resources/read", json!({"uri": format!("{OTHER}demo://1")})),
            ("resources/read", json!({"uri": "mcpgw+tools+a+demo://1"})),
            ("resources/read", json!({"uri": "demo://elsewhere"})),
        ] {
            let answer = gateway::ask(&proxied, "", &gateway::request(method, params)).await;
            let mut body = answer.body;
            // Another one for each agent.
            body.pointer_mut("/error/data/decisionId").map(Value::take);
            told.push((answer.status, body));
        }
        assert_eq!((a.called().len(), b.called().len()), (0, 3));
        seen.push(told);
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn of_very_many_templates_the_first_are_looked_at_and_another_servers_are_too() {
    let many = |count: usize| -> String {
        let of = |number: usize| format!(r#"{{"uriTemplate":"demo://{number}/{{id}}","name":"t"}}"#);
        (0..count).map(of).collect::<Vec<_>>().join(",")
    };
    let greedy = Offers {
        templates: many(2_000),
        ..offers()
    };
    let modest = Offers {
        templates: r#"{"uriTemplate":"demo://modest/{id}","name":"t"}"#.to_owned(),
        ..offers()
    };
    let (a, b) = (
        SessionServer::offering(greedy).await,
        SessionServer::offering(modest).await,
    );
    let proxied = gateway::start(gateway::desired(&[a.address, b.address])).await;
    for uri in ["demo://63/x", "demo://64/x", "demo://modest/x"] {
        gateway::ask(&proxied, "", &gateway::request("resources/read", json!({ "uri": uri }))).await;
    }
    assert_eq!(
        (a.called(), b.called()),
        (vec!["demo://63/x".to_owned()], vec!["demo://modest/x".to_owned()])
    );
}

#[tokio::test]
async fn templates_beyond_the_bound_are_neither_listed_nor_followed_and_that_is_told() {
    let template = |number: usize| format!(r#"{{"uriTemplate":"many://{number}/{{id}}","name":"t"}}"#);
    let long = format!(
        r#"{{"uriTemplate":"many://long/{{id}}{}","name":"t"}}"#,
        "x".repeat(MAX_TEMPLATE)
    );
    let many = (0..MAX_TEMPLATES + 6).map(template);
    let many = Offers {
        templates: [long].into_iter().chain(many).collect::<Vec<_>>().join(","),
        ..offers()
    };
    let (a, b) = (
        SessionServer::offering(many).await,
        SessionServer::offering(offers()).await,
    );
    let desired = gateway::desired(&[a.address, b.address]);
    let proxied = gateway::start(desired.clone()).await;
    let problems = &proxied.discovery.offers(&desired)[0].problems;
    let told = "TemplateLimit: 7 of its resource templates are not offered: the first 64 of at most 1024 bytes are";
    assert_eq!(problems, &[told.to_owned()]);
    let list = gateway::request("resources/templates/list", json!({}));
    let listed = gateway::ask(&proxied, "", &list).await;
    let listed = all(&listed, "resourceTemplates", "uriTemplate");
    for (number, is_offered) in [(0, true), (MAX_TEMPLATES - 1, true), (MAX_TEMPLATES, false)] {
        let template = format!("many://{number}/{{id}}");
        assert_eq!(listed.contains(&&*template), is_offered, "{template}");
        let read = gateway::request("resources/read", json!({ "uri": format!("many://{number}/7") }));
        let answer = gateway::ask(&proxied, "", &read).await;
        assert_eq!(answer.body["result"].is_object(), is_offered, "{answer:?}");
    }
}

#[tokio::test]
async fn a_uri_goes_to_no_server_that_did_not_offer_it_while_it_is_not_known_what_another_offers() {
    let greedy = Offers {
        templates: r#"{"uriTemplate":"demo://of/{id}","name":"t"},{"uriTemplate":"{+any}a","name":"all"}"#.to_owned(),
        ..offers()
    };
    let (gone, b) = (
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
        SessionServer::offering(greedy).await,
    );
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let desired = gateway::desired(&[nobody, b.address]);
    let proxied = Proxied::start_with(desired.clone(), Some(gateway::GATEWAY.parse().unwrap())).await;
    proxied.knows(1).await;
    let headers = session(&proxied, "").await;
    let mut told = Vec::new();
    for uri in ["secret://of/the/other", "mcpgw+tools+a+demo://a"] {
        for method in ["resources/read", "resources/subscribe"] {
            let asked = gateway::request(method, json!({ "uri": uri }));
            let refused = gateway::ask(&proxied, &headers, &asked).await;
            assert_eq!(refused.status, 503, "{refused:?}");
            assert!(refused.body.to_string().contains("MCP server tools/a"), "{refused:?}");
            told.push(refused.body["error"]["data"]["decisionId"].clone());
        }
    }
    assert_eq!(b.called(), Vec::<String>::new());
    for uri in ["demo://1", "demo://of/7", "any://a"] {
        let read = gateway::request("resources/read", json!({ "uri": uri }));
        assert_eq!(gateway::ask(&proxied, &headers, &read).await.code(), None);
    }
    let lines = proxied.finish().await;
    let recorded = lines.iter().filter(|line| line["reason"] == "unknown_owner");
    let recorded: Vec<Value> = recorded.map(|line| line["decisionId"].clone()).collect();
    assert_eq!(recorded, told, "the client is told what the line is found by");
    // Where there is no other, what is not listed may well be there.
    let mut alone = desired;
    alone.servers.remove(0);
    let proxied = gateway::start(alone).await;
    let read = gateway::request("resources/read", json!({ "uri": "secret://of/the/other" }));
    assert_eq!(gateway::ask(&proxied, "", &read).await.code(), None);
}
