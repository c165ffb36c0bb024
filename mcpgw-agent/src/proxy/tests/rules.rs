//! Rules about tools, prompts and resources: on the redirected path, at the gateway, through a catalogue.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Answer, Proxied,
    gateway::{ask, desired as behind_gateway, request, start as gateway},
    name, post,
    session_server::{Offers, SessionServer},
};
use crate::{
    expression::Expression,
    resources::{Action, Catalog, CatalogServer, Desired, Enforcement, Pattern, Policy, Rule, Server, Transport},
};

const LISTS: [(&str, &str, &str); 4] = [
    ("tools/list", "tools", "name"),
    ("prompts/list", "prompts", "name"),
    ("resources/list", "resources", "uri"),
    ("resources/templates/list", "resourceTemplates", "uriTemplate"),
];

fn offers() -> Offers {
    Offers {
        tools: r#"{"name":"add","vendor":{"x":1.50e0},"inputSchema":{"type":"object"}}, {"name":"big","inputSchema":{"type":"object"}}"#.to_owned(),
        more_tools: String::new(),
        prompts: r#"{"name":"ask"} ,{"name":"big"}"#.to_owned(),
        resources: r#"{"uri":"demo://open/1","name":"1"},{"uri":"demo://closed/1","name":"2"}"#.to_owned(),
        templates: r#"{"uriTemplate":"demo://open/{id}","name":"o"},{"uriTemplate":"demo://closed/{id}","name":"c"}"#.to_owned(),
        ..Offers::default()
    }
}

fn globs(globs: &[&str]) -> Vec<Pattern> {
    globs.iter().map(|glob| Pattern::new(glob).unwrap()).collect()
}

/// `add`, `ask` and what is open are allowed; `add` with a small number only.
fn policy() -> Policy {
    let when = "!has(mcp.arguments.n) || mcp.arguments.n <= 10";
    Policy {
        name: name("tools", "open"),
        rules: vec![
            Rule {
                tools: globs(&["add"]),
                when: Some(Arc::new(Expression::compile(when).unwrap())),
                ..Rule::new(Action::Allow)
            },
            Rule {
                prompts: globs(&["ask"]),
                resources: globs(&["demo://open/*"]),
                ..Rule::new(Action::Allow)
            },
        ],
        ..Policy::default()
    }
}

fn redirected(server: &SessionServer, policy: Policy) -> Desired {
    Desired {
        generation: 1,
        servers: vec![Arc::new(Server::at(name("tools", "a"), vec![server.address]))],
        policies: vec![Arc::new(policy)],
        ..Desired::default()
    }
}

async fn on_the_redirected_path(server: &SessionServer, policy: Policy) -> Proxied {
    Proxied::start_with(redirected(server, policy), Some(server.address)).await
}

async fn at_the_gateway(server: &SessionServer, policy: Policy) -> Proxied {
    let mut desired = behind_gateway(&[server.address]);
    desired.policies = vec![Arc::new(policy)];
    gateway(desired).await
}

/// The names of what a list shows. What was shortened on its way comes in chunks: here, in one.
async fn names(proxied: &Proxied, request: String, member: &str, key: &str) -> Vec<String> {
    let text = proxied.exchange(request).await;
    let json = &text[text.find('{').unwrap()..=text.rfind('}').unwrap()];
    let answer: Value = serde_json::from_str(json).unwrap();
    let list = answer["result"][member].as_array();
    let list = list.unwrap_or_else(|| panic!("{member}: {text}"));
    list.iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

fn list(method: &str) -> String {
    post("", &request(method, json!({})).to_string())
}

#[tokio::test]
async fn lists_show_what_can_be_asked_for_on_both_paths() {
    let server = SessionServer::offering(offers()).await;
    for (proxied, prefix) in [
        (on_the_redirected_path(&server, policy()).await, ""),
        (at_the_gateway(&server, policy()).await, "a_"),
    ] {
        for ((method, member, key), shown) in LISTS.iter().zip([
            format!("{prefix}add"),
            format!("{prefix}ask"),
            "demo://open/1".to_owned(),
            "demo://open/{id}".to_owned(),
        ]) {
            let names = names(&proxied, list(method), member, key).await;
            assert_eq!(names, [shown], "{method} {prefix}");
        }
    }
}

#[tokio::test]
async fn all_but_what_is_taken_out_of_a_list_is_as_the_server_wrote_it() {
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"add","vendor":{"x":1.50e0},"inputSchema":{"type":"object"}}]}}"#;
    let whole = SessionServer::offering(offers()).await;
    let proxied = on_the_redirected_path(&whole, policy()).await;
    let text = proxied.exchange(post("", list)).await;
    assert!(
        text.contains(&format!("\r\n{answer}\r\n")) && !text.contains("content-length"),
        "{text}"
    );
    let streaming = SessionServer::offering(Offers {
        streams: true,
        ..offers()
    })
    .await;
    let proxied = on_the_redirected_path(&streaming, policy()).await;
    let text = proxied.exchange(post("", list)).await;
    assert!(text.contains(": hello\n\n") && text.contains("id: 7\n"), "{text}");
    assert!(text.contains(&format!("data: {answer}\n\n")), "{text}");
}

#[tokio::test]
async fn a_list_that_comes_on_another_stream_is_filtered_too() {
    let server = SessionServer::offering(Offers {
        streams: true,
        ..offers()
    })
    .await;
    for transport in [Transport::StreamableHttp, Transport::Sse] {
        let mut desired = redirected(&server, policy());
        Arc::make_mut(&mut desired.servers[0]).transport = transport;
        let proxied = Proxied::start_with(desired, Some(server.address)).await;
        let get = "GET /mcp HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n";
        let text = proxied.exchange(get).await;
        assert!(
            text.contains(r#""name":"add""#) && !text.contains(r#""name":"big""#),
            "{transport:?} {text}"
        );
        // Also what only names a place in the stream.
        for kept in [": hello\n\n", "id: 6\n", "id: 7\n"] {
            assert!(text.contains(kept), "{transport:?} {text}");
        }
    }
}

#[tokio::test]
async fn what_is_not_listed_is_refused_and_does_not_reach_the_server() {
    let server = SessionServer::offering(offers()).await;
    for (proxied, prefix) in [
        (on_the_redirected_path(&server, policy()).await, ""),
        (at_the_gateway(&server, policy()).await, "a_"),
    ] {
        let big = format!("{prefix}big");
        let prompt = json!({"ref": {"type": "ref/prompt", "name": big}, "argument": {"name": "x", "value": "y"}});
        for (method, params, code, message) in [
            (
                "tools/call",
                json!({"name": big}),
                -32602,
                format!("Unknown tool: {big}"),
            ),
            (
                "prompts/get",
                json!({"name": big}),
                -32602,
                format!("Unknown prompt: {big}"),
            ),
            (
                "resources/read",
                json!({"uri": "demo://closed/1"}),
                -32002,
                "Resource not found: demo://closed/1".to_owned(),
            ),
            (
                "resources/subscribe",
                json!({"uri": "demo://closed/7"}),
                -32002,
                "Resource not found: demo://closed/7".to_owned(),
            ),
            (
                "completion/complete",
                prompt,
                -32602,
                "Unknown prompt or resource template".to_owned(),
            ),
            (
                "vendor/own",
                json!({}),
                -32601,
                "Method not found: vendor/own".to_owned(),
            ),
        ] {
            let answer = ask(&proxied, "", &request(method, params)).await;
            let error = &answer.body["error"];
            assert_eq!((answer.status, answer.code()), (200, Some(code)), "{method} {answer:?}");
            assert_eq!(error["message"], message);
            assert_eq!(error["data"]["reason"], "denied", "{answer:?}");
        }
        assert!(server.called().is_empty(), "{:?}", server.called());
        let lines = proxied.finish().await;
        let events: Vec<&Value> = lines.iter().map(|line| &line["event"]).collect();
        assert_eq!(events[..2], ["tool_call", "mcp_request"]);
        assert_eq!(
            (&lines[1]["prompt"], &lines[1]["method"]),
            (&"big".into(), &"prompts/get".into())
        );
        assert_eq!(
            (&lines[2]["resource"], &lines[2]["rule"]),
            (&"demo://closed/1".into(), &"default-deny".into())
        );
        assert!(lines.iter().all(|line| line["decision"] == "deny"), "{lines:?}");
    }
}

#[tokio::test]
async fn what_is_listed_reaches_the_server_and_is_recorded() {
    let server = SessionServer::offering(offers()).await;
    for (proxied, prefix) in [
        (on_the_redirected_path(&server, policy()).await, ""),
        (at_the_gateway(&server, policy()).await, "a_"),
    ] {
        let before = server.called().len();
        for (method, params) in [
            (
                "tools/call",
                json!({"name": format!("{prefix}add"), "arguments": {"n": 10}}),
            ),
            ("prompts/get", json!({"name": format!("{prefix}ask")})),
            ("resources/read", json!({"uri": "demo://open/1"})),
            ("resources/subscribe", json!({"uri": "demo://open/2"})),
        ] {
            let answer = ask(&proxied, "", &request(method, params)).await;
            assert!(answer.body["result"].is_object(), "{method} {answer:?}");
        }
        assert_eq!(
            server.called()[before..],
            ["add", "ask", "demo://open/1", "demo://open/2"]
        );
        let metrics = proxied.telemetry.render();
        assert!(metrics.contains(r#"mcp_method_name="resources/read""#), "{metrics}");
        let lines = proxied.finish().await;
        let rules: Vec<&str> = lines.iter().map(|line| line["rule"].as_str().unwrap()).collect();
        assert_eq!(rules, ["tools/open#1", "tools/open#2", "tools/open#2", "tools/open#2"]);
        assert!(lines.iter().all(|line| line["outcome"] == "ok"), "{lines:?}");
    }
}

#[tokio::test]
async fn arguments_that_are_not_allowed_are_refused_as_such() {
    let server = SessionServer::offering(offers()).await;
    for (proxied, prefix) in [
        (on_the_redirected_path(&server, policy()).await, ""),
        (at_the_gateway(&server, policy()).await, "a_"),
    ] {
        let call = |n: Value| {
            request(
                "tools/call",
                json!({"name": format!("{prefix}add"), "arguments": {"n": n}}),
            )
        };
        for n in [json!(11), json!("x"), json!([1])] {
            let answer = ask(&proxied, "", &call(n)).await;
            assert_eq!((answer.status, answer.code()), (200, Some(4030)), "{answer:?}");
            assert_eq!(answer.body["error"]["data"]["reason"], "arguments");
        }
        assert!(server.called().is_empty());
        let metrics = proxied.telemetry.render();
        assert!(
            metrics.contains(r#"mcpgw_policy_expression_errors_total{rule="tools/open#1"} 2"#),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn a_tool_that_is_denied_and_one_that_is_not_there_get_the_same_answer() {
    let server = SessionServer::offering(offers()).await;
    let proxied = at_the_gateway(&server, policy()).await;
    for (method, denied, unknown) in [
        ("tools/call", json!({"name": "a_big"}), json!({"name": "a_bog"})),
        ("prompts/get", json!({"name": "a_big"}), json!({"name": "a_bog"})),
    ] {
        let mut answers = Vec::new();
        for params in [denied, unknown] {
            let answer = ask(&proxied, "", &request(method, params)).await;
            let id = answer.body["error"]["data"]["decisionId"].as_str().unwrap().to_owned();
            let text = answer.body.to_string().replace("bog", "big").replace(&id, "ID");
            answers.push((text, id));
        }
        assert_eq!(answers[0].0, answers[1].0);
    }
    let lines = proxied.finish().await;
    assert!(lines.iter().all(|line| line["decisionId"].is_string()), "{lines:?}");
}

#[tokio::test]
async fn a_catalogue_refuses_what_rules_deny() {
    let server = SessionServer::offering(offers()).await;
    let mut desired = behind_gateway(&[server.address]);
    desired.policies = vec![Arc::new(policy())];
    desired.catalogs = vec![Arc::new(Catalog {
        name: name("tools", "all"),
        servers: vec![CatalogServer {
            server: name("tools", "a"),
            include: vec![],
            exclude: vec![],
        }],
    })];
    let proxied = gateway(desired).await;
    let through = |body: Value| post("", &body.to_string()).replace("/mcp ", "/mcp/all ");
    let called = Answer::of(
        &proxied
            .exchange(through(request("tools/call", json!({"name": "a_big"}))))
            .await,
    );
    assert_eq!(called.body["error"]["message"], "Unknown tool: a_big");
    let listed = names(&proxied, through(request("tools/list", json!({}))), "tools", "name").await;
    assert_eq!(listed, ["a_add"]);
    assert!(server.called().is_empty());
}

#[tokio::test]
async fn a_rule_that_names_a_tool_as_the_gateway_does_is_reported() {
    let server = SessionServer::offering(offers()).await;
    let mut policy = policy();
    policy.rules[0].tools = globs(&["a_add", "add", "a_*"]);
    let mut desired = behind_gateway(&[server.address]);
    desired.policies = vec![Arc::new(policy)];
    let proxied = gateway(desired.clone()).await;
    let offers = proxied.discovery.offers(&desired);
    let problem = |glob: &str| {
        format!(
            "PrefixedRule: {glob:?} of tools/open#1 matches no tool of the server: rules see its own names, without \"a_\""
        )
    };
    assert_eq!(offers[0].problems, [problem("a_add"), problem("a_*")]);
}

#[tokio::test]
async fn a_dry_run_records_what_it_would_deny_and_changes_nothing() {
    let server = SessionServer::offering(offers()).await;
    let trial = Policy {
        enforcement: Enforcement::DryRun,
        ..policy()
    };
    for (proxied, prefix) in [
        (on_the_redirected_path(&server, trial.clone()).await, ""),
        (at_the_gateway(&server, trial).await, "a_"),
    ] {
        assert_eq!(names(&proxied, list("tools/list"), "tools", "name").await.len(), 2);
        let big = ask(
            &proxied,
            "",
            &request("tools/call", json!({"name": format!("{prefix}big")})),
        )
        .await;
        assert!(big.body["result"].is_object(), "{big:?}");
        let lines = proxied.finish().await;
        assert_eq!(
            (&lines[1]["decision"], &lines[1]["rule"], &lines[1]["outcome"]),
            (&"would_deny".into(), &"default-deny".into(), &"ok".into())
        );
    }
}
