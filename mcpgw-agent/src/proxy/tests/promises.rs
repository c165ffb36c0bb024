//! What a peer got wrong, and we do not: a test for each, here or where it belongs.
//!
//! | there | here |
//! |---|---|
//! | sessions are anybody's | `a_session_belongs_to_the_workload_that_opened_it`, `a_session_at_the_gateway_belongs_to_its_owner_…`, `…_to_the_subject_that_opened_it_…` |
//! | session ids can be forged | `what_one_principal_was_given_is_of_no_use_to_another_and_nothing_can_be_forged` |
//! | `nbf` is not looked at | below, and `times_are_exact_to_the_second_on_both_sides_of_the_skew` |
//! | tokens are optional by default | `a_gateway_with_issuers_wants_tokens_unless_it_says_otherwise`, `a_policy_may_ask_for_tokens_of_issuers_that_are_there` ("mode: is required") |
//! | 401 without `WWW-Authenticate` | `without_a_token_a_client_is_told_which_one_it_needs` |
//! | a `kid` is looked up among all issuers | `headers_that_lie_about_key_and_algorithm_are_refused` ("a key of another issuer") |
//! | an unknown `kid` is not asked for | `keys_are_found_by_discovery_and_an_unknown_one_is_asked_for_once_for_all` |
//! | one budget for a route, spent before MCP is read | below |
//! | 429 as plain text without `Retry-After` | `denials_have_the_status_that_the_policy_asks_for_and_the_same_error` |
//! | each made-up tool is a new series | below, `a_call_of_what_nobody_has_…_and_no_series_of_its_own`, `a_denied_or_failed_call_makes_no_series_for_a_name_that_nobody_knows` |
//! | what is denied and what is unknown are one in the log | below |
//! | cursors are dropped | below, and `long_lists_come_in_pages_whose_cursors_cannot_be_forged` |
//! | no deadline by default: a server that hangs holds up `initialize` and lists | below, both |
//! | sessions that servers lost stay lost | `a_session_that_the_server_lost_is_opened_again_once_and_unnoticed`, `a_call_reaches_the_server_under_its_own_name_in_a_session_of_the_client`, `a_session_goes_on_at_a_server_that_has_moved_…` |
//! | the caller's `Authorization` goes on | below, and `a_direct_dial_keeps_its_own_credentials_unless_a_policy_asks_for_a_token` |
//! | a limit whose key cannot be told is dropped | below, and `a_descriptor_names_the_limit_and_each_part_of_its_key` |
//! | times in the log are not padded | `the_times_of_lines_have_all_their_digits` |
//! | capabilities that no server has | below |
//! | sampling and elicitation are stripped | below, `a_legacy_client_is_asked_what_a_modern_server_wants_to_know`, and the matrix of peers |

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpListener, time::Instant};

use super::{
    Answer, Proxied,
    cancellation::{BOTH, modern, send},
    desired as dialled,
    gateway::{ask, desired as behind_gateway, request, start as gateway},
    live_server::LiveServer,
    name, read_until,
    session_server::{Offers, SessionServer},
    tokens::{World, gateway as with_issuers, list},
};
use crate::resources::{Action, Authentication, KeyPart, Limit, Pattern, Policy, Rate, Rule, Scope, Timeouts};

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

/// A policy that allows this tool alone.
fn only(tool: &str) -> Policy {
    Policy {
        name: name("tools", "p"),
        rules: vec![Rule {
            tools: globs(tool),
            ..Rule::new(Action::Allow)
        }],
        ..Policy::default()
    }
}

/// Those who dial the server themselves, under this policy.
async fn dialling(server: &SessionServer, policy: Policy) -> Proxied {
    let mut desired = dialled(server.address);
    desired.policies = vec![Arc::new(policy)];
    Proxied::start_with(desired, Some(server.address)).await
}

fn call(tool: &str) -> Value {
    request("tools/call", json!({"name": tool, "arguments": {}}))
}

fn initialize() -> Value {
    initialize_with(json!({}))
}

fn initialize_with(capabilities: Value) -> Value {
    let client = json!({"name": "t", "version": "0"});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": client});
    request("initialize", params)
}

/// Opens a session of a client with these capabilities; the header that names it.
async fn opened(proxied: &Proxied, capabilities: Value) -> String {
    let opened = ask(proxied, "", &initialize_with(capabilities)).await;
    format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap())
}

#[tokio::test]
async fn a_token_that_does_not_hold_yet_lets_nobody_in() {
    let world = World::new();
    let (proxied, _server) = with_issuers(&world, Authentication::Token, None).await;
    let beginning_in = |seconds: u64| {
        let begins = crate::proxy::now() + seconds;
        world.with(json!({"iss": "https://users.example", "sub": "a", "aud": "mcpgw", "scope": "mcp", "nbf": begins}))
    };
    assert_eq!(list(&proxied, &beginning_in(0)).await.status, 200);
    let early = list(&proxied, &beginning_in(300)).await;
    assert_eq!((early.status, early.code()), (401, Some(40100)));
    let asked = early.header("www-authenticate").unwrap();
    assert!(asked.contains("error=\"invalid_token\""), "{asked}");
    assert_eq!(proxied.finish().await.last().unwrap()["reason"], "token_not_yet");
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
    let proxied = with_policy(&server, only("add")).await;
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
async fn tools_of_made_up_names_that_rules_deny_are_one_series_for_all() {
    let server = SessionServer::start().await;
    for (proxied, prefix) in [
        (dialling(&server, only("add")).await, ""),
        (with_policy(&server, only("add")).await, "a_"),
    ] {
        for number in 0..20 {
            let made_up = ask(&proxied, "", &call(&format!("{prefix}made_up_{number}"))).await;
            assert_eq!(made_up.code(), Some(-32602), "{made_up:?}");
        }
        let metrics = proxied.telemetry.render();
        let series = metrics.lines().filter(|line| line.starts_with("mcp_tool_calls_total{"));
        let series = Vec::from_iter(series);
        assert_eq!(series.len(), 1, "{series:?}");
        assert!(
            series[0].contains(r#"tool_name="_other""#) && series[0].ends_with(" 20"),
            "{series:?}"
        );
        assert!(!metrics.contains("made_up"), "{metrics}");
    }
    assert!(server.called().is_empty());
}

/// A server that lists its two tools on a page each.
async fn in_pages() -> SessionServer {
    SessionServer::offering(Offers {
        tools: r#"{"name":"first","inputSchema":{"type":"object"}}"#.to_owned(),
        more_tools: r#"{"name":"second","inputSchema":{"type":"object"}}"#.to_owned(),
        ..Offers::default()
    })
    .await
}

#[tokio::test]
async fn a_page_of_which_its_caller_sees_nothing_still_says_that_there_is_another() {
    let server = in_pages().await;
    let proxied = dialling(&server, only("second")).await;
    let first = ask(&proxied, "", &request("tools/list", json!({}))).await;
    assert_eq!(first.body["result"], json!({"tools": [], "nextCursor": "p2"}));
    let next = ask(&proxied, "", &request("tools/list", json!({"cursor": "p2"}))).await;
    assert_eq!(next.body["result"]["tools"][0]["name"], "second");
}

#[tokio::test]
async fn every_page_of_a_server_is_listed() {
    let server = in_pages().await;
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
async fn a_server_that_never_answers_is_given_up_though_nobody_set_a_deadline() {
    let server = LiveServer::start().await;
    for (proxied, tool) in [
        (Proxied::start(server.address).await, "hang"),
        (gateway(behind_gateway(&[server.address])).await, "a_hang"),
    ] {
        let session = opened(&proxied, json!({})).await;
        let before = server.got("tools/call").len();
        let mut client = send(&proxied, &session, &call(tool)).await;
        server.gets("tools/call", before + 1).await;
        // From here on only timers move anything, and they are not waited for.
        tokio::time::pause();
        let begun = Instant::now();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        tokio::time::resume();
        let (answer, waited) = (Answer::of(&answer), begun.elapsed());
        assert_eq!((answer.status, answer.code()), (504, Some(50400)), "{answer:?}");
        assert!(waited < 2 * Timeouts::default().first_byte, "{waited:?}");
    }
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
    let (headers, discover) = modern(1, "server/discover", None, json!({}));
    let discovered = ask(&proxied, &headers, &discover).await;
    assert_eq!(discovered.body["result"]["capabilities"], *capabilities);
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

#[tokio::test]
async fn a_legacy_client_is_asked_what_it_can_be_asked_and_its_answers_reach_the_server() {
    let server = LiveServer::start().await;
    for (proxied, way, tool) in [
        (Proxied::start(server.address).await, "redirected", "wait"),
        (gateway(behind_gateway(&[server.address])).await, "gateway", "a_wait"),
    ] {
        let able = json!({"sampling": {}, "elicitation": {}, "roots": {"listChanged": true}});
        let session = opened(&proxied, able.clone()).await;
        let before = server.got("tools/call").len();
        let mut client = send(&proxied, &format!("{BOTH}{session}"), &call(tool)).await;
        let (own_session, called) = server.gets("tools/call", before + 1).await.remove(before);
        let number = own_session.strip_prefix("live-").unwrap().parse::<usize>().unwrap();
        let told = &server.got("initialize")[number - 1].1;
        assert_eq!(told["params"]["capabilities"], able, "{way}");
        for method in ["sampling/createMessage", "elicitation/create", "roots/list"] {
            let own = json!(format!("{way} {method}"));
            let question = json!({"jsonrpc": "2.0", "id": own, "method": method, "params": {"message": "Who?"}});
            server.say_of(&called["id"], &question).await;
            let heard = read_until(&mut client, "\n\n").await;
            let asked = heard.lines().find_map(|line| line.strip_prefix("data: {"));
            let asked: Value = serde_json::from_str(&format!("{{{}", asked.unwrap())).unwrap();
            assert_eq!(asked["method"], method, "{way}");
            let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"answer": method}});
            assert_eq!(ask(&proxied, &session, &answer).await.status, 202, "{way}");
            server.is_answered(&own, "result").await;
        }
    }
}
