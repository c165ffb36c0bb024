//! What a peer got wrong, and we do not: a test for each, here or where it belongs.
//!
//! | there | here |
//! |---|---|
//! | sessions are anybody's | `a_session_belongs_to_the_workload_that_opened_it`, `…_to_the_subject_that_opened_it_…` (both paths) |
//! | session ids can be forged | `what_one_principal_was_given_is_of_no_use_to_another_and_nothing_can_be_forged` |
//! | `nbf` is not looked at | `times_are_exact_to_the_second_on_both_sides_of_the_skew` |
//! | tokens are optional by default | `a_gateway_with_issuers_wants_tokens_unless_it_says_otherwise` |
//! | 401 without `WWW-Authenticate` | `without_a_token_a_client_is_told_which_one_it_needs` |
//! | a `kid` is looked up among all issuers | `headers_that_lie_about_key_and_algorithm_are_refused` ("a key of another issuer") |
//! | an unknown `kid` is not asked for | `keys_are_found_by_discovery_and_an_unknown_one_is_asked_for_once_for_all` |
//! | one budget for a route, spent before MCP is read | below |
//! | 429 as plain text without `Retry-After` | `denials_have_the_status_that_the_policy_asks_for_and_the_same_error` |
//! | each made-up tool is a new series | `a_denied_or_failed_call_makes_no_series_for_a_name_that_nobody_knows` |
//! | what is denied and what is unknown are one in the log | below |
//! | cursors are dropped | below, and `long_lists_come_in_pages_whose_cursors_cannot_be_forged` |
//! | a server that hangs holds up `initialize` and lists | below |
//! | sessions that servers lost stay lost | `a_session_that_the_server_lost_is_opened_again_once_and_unnoticed`, `a_session_goes_on_at_a_server_that_has_moved_…` |
//! | the caller's `Authorization` goes on | below, and `a_direct_dial_keeps_its_own_credentials_unless_a_policy_asks_for_a_token` |
//! | a limit whose key cannot be told is dropped | below |
//! | times in the log are not padded | `the_times_of_lines_have_all_their_digits` |
//! | capabilities that no server has | below |
//! | sampling and elicitation are stripped | `a_legacy_client_is_asked_what_a_modern_server_wants_to_know`, and the matrix of peers |

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    Proxied,
    gateway::{ask, desired as behind_gateway, request, start as gateway},
    name,
    session_server::{Offers, SessionServer},
};
use crate::resources::{Action, KeyPart, Limit, Pattern, Policy, Rate, Rule, Scope};

/// For what is known to be answered at once.
const AT_ONCE: Duration = Duration::from_secs(10);

fn globs(glob: &str) -> Vec<Pattern> {
    vec![Pattern::new(glob).unwrap()]
}

/// So many calls in an hour, for each value of this.
fn hourly(requests: u32, key: KeyPart) -> Policy {
    let requests = NonZeroU32::new(requests).unwrap();
    Policy {
        name: name("tools", "limits"),
        limits: vec![Limit {
            name: Some("hourly".into()),
            counts: globs("tools/call"),
            tools: vec![],
            rate: Some(Rate {
                requests,
                per: Duration::from_secs(3_600),
                burst: requests,
            }),
            concurrency: None,
            key: vec![key],
            scope: Scope::Node,
        }],
        ..Policy::default()
    }
}

async fn with_policy(server: &SessionServer, policy: Policy) -> Proxied {
    let mut desired = behind_gateway(&[server.address]);
    desired.policies = vec![Arc::new(policy)];
    gateway(desired).await
}

fn call(tool: &str) -> Value {
    request("tools/call", json!({"name": tool, "arguments": {}}))
}

fn initialize() -> Value {
    let client = json!({"name": "t", "version": "0"});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
    request("initialize", params)
}

#[tokio::test]
async fn callers_of_one_server_have_budgets_of_their_own_and_only_calls_spend() {
    let server = SessionServer::start().await;
    let proxied = with_policy(&server, hourly(1, KeyPart::Identity)).await;
    for _ in 0..3 {
        for other in [
            initialize(),
            request("tools/list", json!({})),
            request("ping", json!({})),
        ] {
            assert_eq!(ask(&proxied, "", &other).await.code(), None);
        }
    }
    assert_eq!(ask(&proxied, "", &call("a_add")).await.code(), None);
    assert_eq!(ask(&proxied, "", &call("a_add")).await.code(), Some(4290));
    let gateway_address = proxied.plan.load().settings.gateway.as_ref().unwrap().listen[0];
    let other = proxied.of_another_account(gateway_address).await;
    assert_eq!(ask(&other, "", &call("a_add")).await.code(), None);
}

#[tokio::test]
async fn a_limit_by_a_claim_that_a_caller_does_not_have_holds_for_it_all_the_same() {
    let server = SessionServer::start().await;
    let proxied = with_policy(&server, hourly(1, KeyPart::Claim(["team".into()].into()))).await;
    assert_eq!(ask(&proxied, "", &call("a_add")).await.code(), None);
    assert_eq!(ask(&proxied, "", &call("a_add")).await.code(), Some(4290));
}

#[tokio::test]
async fn what_is_denied_and_what_is_not_there_are_told_apart_in_the_log_and_nowhere_else() {
    let server = SessionServer::start().await;
    let policy = Policy {
        name: name("tools", "p"),
        rules: vec![Rule {
            tools: globs("add"),
            ..Rule::new(Action::Allow)
        }],
        ..Policy::default()
    };
    let proxied = with_policy(&server, policy).await;
    let mut told = Vec::new();
    for tool in ["a_big", "a_bog"] {
        let answer = ask(&proxied, "", &call(tool)).await;
        let id = answer.body["error"]["data"]["decisionId"].as_str().unwrap().to_owned();
        let answer = (
            answer.status,
            answer.body.to_string().replace(&id, "ID").replace(tool, "TOOL"),
        );
        told.push((answer, id));
    }
    assert_eq!(told[0].0, told[1].0);
    let lines = proxied.finish().await;
    let found = |id: &str| lines.iter().find(|line| line["decisionId"] == id).unwrap();
    let (denied, unknown) = (found(&told[0].1), found(&told[1].1));
    assert_eq!(
        (&denied["event"], &denied["decision"], &denied["rule"], &denied["tool"]),
        (
            &json!("tool_call"),
            &json!("deny"),
            &json!("default-deny"),
            &json!("big")
        )
    );
    assert_eq!(
        (&unknown["event"], &unknown["reason"], &unknown["tool"]),
        (&json!("tool_call"), &json!("unknown_tool"), &json!("a_bog"))
    );
}

#[tokio::test]
async fn every_page_of_a_server_is_listed() {
    let server = SessionServer::offering(Offers {
        tools: r#"{"name":"first","inputSchema":{"type":"object"}}"#.to_owned(),
        more_tools: r#"{"name":"second","inputSchema":{"type":"object"}}"#.to_owned(),
        ..Offers::default()
    })
    .await;
    let proxied = gateway(behind_gateway(&[server.address])).await;
    let listed = ask(&proxied, "", &request("tools/list", json!({}))).await;
    let names: Vec<&Value> = listed.body["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert_eq!(names, ["a_first", "a_second"]);
    assert_eq!(ask(&proxied, "", &call("a_second")).await.code(), None);
}

#[tokio::test]
async fn a_server_that_hangs_holds_up_neither_initialize_nor_the_lists_of_others() {
    let good = SessionServer::start().await;
    // It takes connections, and says nothing on them.
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let desired = behind_gateway(&[good.address, hangs.local_addr().unwrap()]);
    let gateway_address = desired.settings.gateway.as_ref().unwrap().listen[0];
    let proxied = Proxied::start_with(desired, Some(gateway_address)).await;
    proxied.knows(1).await;
    let (_held, _) = tokio::time::timeout(AT_ONCE, hangs.accept()).await.unwrap().unwrap();
    let asked = async {
        assert_eq!(ask(&proxied, "", &initialize()).await.code(), None);
        let listed = ask(&proxied, "", &request("tools/list", json!({}))).await;
        assert_eq!(listed.body["result"]["tools"].as_array().unwrap().len(), 2);
        assert_eq!(ask(&proxied, "", &call("a_add")).await.code(), None);
    };
    tokio::time::timeout(AT_ONCE, asked).await.unwrap();
}

#[tokio::test]
async fn what_a_caller_of_the_gateway_shows_goes_to_no_server() {
    let server = SessionServer::start().await;
    let proxied = gateway(behind_gateway(&[server.address])).await;
    let headers = "Authorization: Bearer mine\r\nCookie: mine=1\r\nX-Api-Key: mine\r\n";
    assert_eq!(ask(&proxied, headers, &call("a_add")).await.code(), None);
    assert_eq!(server.called(), ["add"]);
    assert!(server.credentials().is_empty(), "{:?}", server.credentials());
    let others: Vec<String> = server
        .headers()
        .into_iter()
        .filter(|(_, value)| value.contains("mine"))
        .map(|(name, _)| name)
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

#[tokio::test]
async fn capabilities_are_those_that_some_server_has() {
    let tools = SessionServer::start().await;
    let proxied = gateway(behind_gateway(&[tools.address])).await;
    let opened = ask(&proxied, "", &initialize()).await;
    let capabilities = &opened.body["result"]["capabilities"];
    assert_eq!(*capabilities, json!({"tools": {"listChanged": true}, "logging": {}}));
    let prompts = SessionServer::offering(Offers {
        prompts: r#"{"name":"ask"}"#.to_owned(),
        ..Offers::default()
    })
    .await;
    let proxied = gateway(behind_gateway(&[tools.address, prompts.address])).await;
    let opened = ask(&proxied, "", &initialize()).await;
    let capabilities = opened.body["result"]["capabilities"].as_object().unwrap();
    let names: Vec<&String> = capabilities.keys().collect();
    assert_eq!(names, ["completions", "logging", "prompts", "resources", "tools"]);
}
