//! Servers whose policies want more of their callers than the gateway does.

use serde_json::json;

use super::{
    tokens::{GATEWAY, World, call_with, dialled, gateway, list, tools},
    *,
};
use crate::resources::{Authentication, Demand};

fn demand(mode: Authentication) -> Option<Demand> {
    Some(Demand { mode, issuers: None })
}

/// A call of this tool at the gateway.
async fn called(proxied: &Proxied, headers: &str, tool: &str) -> Answer {
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool}});
    Answer::of(&proxied.exchange(post(headers, &call.to_string())).await)
}

#[tokio::test]
async fn a_token_that_a_server_asks_for_counts_at_a_gateway_that_asks_for_none() {
    for mode in [Authentication::Attested, Authentication::None, Authentication::Any] {
        let world = World::new();
        let (proxied, server) = gateway(&world, mode, demand(Authentication::Token)).await;
        let (user, pod) = (world.user("alice"), world.pod("pod-1"));
        assert_eq!(tools(&list(&proxied, &pod).await).len(), 4, "{mode:?}");
        assert_eq!(tools(&list(&proxied, &user).await).len(), 4, "{mode:?}");
        assert!(
            called(&proxied, &user, "all_add").await.body["result"].is_object(),
            "{mode:?}"
        );
        assert_eq!(server.called(), ["add"]);
        assert!(server.credentials().is_empty(), "{:?}", server.credentials());
        // A bad one is not as good as none.
        let forged = list(&proxied, "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.\r\n").await;
        assert_eq!(forged.status, 401, "{mode:?}");
        drop(server);
    }
}

#[tokio::test]
async fn without_the_token_that_a_server_asks_for_its_calls_get_401_and_lists_do_without_it() {
    let world = World::new();
    let (proxied, server) = gateway(&world, Authentication::Attested, demand(Authentication::Token)).await;
    assert!(tools(&list(&proxied, "").await).is_empty());
    // One answer for all that could be there, so that nobody learns what is.
    let mut told = Vec::new();
    for tool in ["all_add", "all_nothing", "own_add"] {
        let answer = called(&proxied, "", tool).await;
        assert_eq!(answer.body["error"]["data"]["reason"], "no_token");
        told.push(answer.body["error"]["data"]["decisionId"].clone());
        assert_eq!((answer.status, answer.code()), (401, Some(40100)), "{tool}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(
            challenge.ends_with("/.well-known/oauth-protected-resource/mcp\""),
            "{challenge}"
        );
        assert_eq!(answer.body["id"], 7);
    }
    let other = called(&proxied, "", "other_add").await;
    assert_eq!(other.body["error"]["message"], "Unknown tool: other_add");
    assert!(server.called().is_empty());
    let lines = proxied.finish().await;
    let refused: Vec<&Value> = lines.iter().filter(|line| line["reason"] == "no_token").collect();
    let members = [
        "decisionId",
        "event",
        "decision",
        "server",
        "tool",
        "called_as",
        "status",
    ];
    let said: Vec<Value> = refused
        .iter()
        .map(|line| members.map(|member| line[member].clone()).into())
        .collect();
    let expected = [
        ("tools/all", "add", "all_add"),
        ("tools/all", "nothing", "all_nothing"),
        ("agents/own", "add", "own_add"),
    ];
    let expected: Vec<Value> = expected
        .into_iter()
        .zip(told)
        .map(|((server, tool, called_as), id)| json!([id, "tool_call", "deny", server, tool, called_as, 401]))
        .collect();
    assert_eq!(said, expected, "{lines:#?}");
}

#[tokio::test]
async fn who_is_refused_before_anything_is_read_is_told_what_that_is_found_by() {
    let world = World::new();
    let (proxied, _server) = gateway(&world, Authentication::Token, None).await;
    let mut told = Vec::new();
    let of_others = world.with(json!({"iss": "https://users.example", "sub": "a", "aud": "other"}));
    for (headers, status, reason) in [("", 401, "no_token"), (&of_others, 401, "token_audience")] {
        let answer = called(&proxied, headers, "all_add").await;
        assert_eq!(answer.status, status);
        let data = &answer.body["error"]["data"];
        assert_eq!(data["reason"], reason);
        told.push((data["decisionId"].clone(), Value::from(reason)));
    }
    let stranger = proxied.unknown(GATEWAY.parse().unwrap()).await;
    proxied.plan.store(Arc::new(Plan::compile(&Desired {
        settings: world.settings(Authentication::Attested),
        ..Desired::default()
    })));
    let answer = called(&stranger, "", "all_add").await;
    assert_eq!(answer.status, 403);
    told.push((
        answer.body["error"]["data"]["decisionId"].clone(),
        "not_attested".into(),
    ));
    assert!(told.iter().all(|(id, _)| id.is_string()), "{told:?}");
    drop(stranger);
    let lines = proxied.finish().await;
    let said: Vec<(Value, Value)> = lines
        .iter()
        .map(|line| (line["decisionId"].clone(), line["reason"].clone()))
        .collect();
    assert_eq!(said, told, "{lines:#?}");
    assert!(
        lines
            .iter()
            .all(|line| line["event"] == "refused" && line.get("tool").is_none())
    );
}

#[tokio::test]
async fn a_line_names_the_catalogue_that_was_asked() {
    let world = World::new();
    let (proxied, _server) = gateway(&world, Authentication::Attested, None).await;
    let begin =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
    for (method, params) in [
        ("initialize", begin),
        ("tools/list", json!({})),
        ("tools/call", json!({"name": "all_add", "arguments": {}})),
        ("tools/call", json!({"name": "own_add", "arguments": {}})),
    ] {
        let request = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
        for path in ["POST /mcp ", "POST /mcp/office "] {
            proxied.exchange(post("", &request).replace("POST /mcp ", path)).await;
        }
    }
    let discover = post_modern("", "server/discover", json!({})).replace("POST /mcp ", "POST /mcp/office ");
    proxied.exchange(discover).await;
    let lines = proxied.finish().await;
    let said: Vec<Value> = lines
        .iter()
        .map(|line| json!([line["method"], line["catalog"]]))
        .collect();
    let mut expected: Vec<Value> = Vec::new();
    for method in ["initialize", "tools/list", "tools/call", "tools/call"] {
        expected.extend([json!([method, null]), json!([method, "office"])]);
    }
    expected.push(json!(["server/discover", "office"]));
    assert_eq!(said, expected, "{lines:#?}");
}

#[tokio::test]
async fn what_no_token_would_open_stays_hidden() {
    let world = World::new();
    let (proxied, _server) = gateway(&world, Authentication::None, demand(Authentication::AttestedAndToken)).await;
    let stranger = proxied.unknown(GATEWAY.parse().unwrap()).await;
    for headers in [String::new(), world.user("alice")] {
        let answer = called(&stranger, &headers, "all_add").await;
        assert_eq!(answer.body["error"]["message"], "Unknown tool: all_add");
    }
}

#[tokio::test]
async fn without_servers_that_ask_for_tokens_the_gateway_looks_at_none() {
    let world = World::new();
    let (proxied, _server) = gateway(&world, Authentication::Attested, None).await;
    assert_eq!(list(&proxied, "Authorization: Bearer x\r\n").await.status, 200);
}

#[tokio::test]
async fn a_stolen_token_is_named_where_a_policy_alone_wants_both_witnesses() {
    let world = World::new();
    for mode in [Authentication::Token, Authentication::Any, Authentication::Attested] {
        let (proxied, server) = gateway(&world, mode, demand(Authentication::AttestedAndToken)).await;
        let stolen = world.pod("pod-2");
        let answer = called(&proxied, &stolen, "all_add").await;
        assert_eq!(answer.status, 401, "{mode:?}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(
            challenge.contains("the token belongs to another workload"),
            "{challenge}"
        );
        assert!(tools(&list(&proxied, &stolen).await).is_empty(), "{mode:?}");
        assert!(server.called().is_empty(), "{mode:?}");
        assert!(
            called(&proxied, &world.pod("pod-1"), "all_add").await.body["result"].is_object(),
            "{mode:?}"
        );
        let lines = proxied.finish().await;
        // The call, and the list that leaves the server out.
        for line in &lines[..2] {
            assert_eq!(line["reason"], "stolen_token", "{mode:?}");
            assert_eq!(line["path"], "gateway");
            assert_eq!(line["identity"]["workload"], "pod-1");
            assert_eq!(line["identity"]["subject"], "system:serviceaccount:agents:ci");
        }
        let others = lines.iter().skip(2).filter(|line| line["reason"] == "stolen_token");
        assert_eq!(others.count(), 0, "{mode:?}");
    }
}

#[tokio::test]
async fn either_witness_is_enough_for_a_direct_dial_and_a_token_that_is_shown_is_ours_and_must_be_good() {
    let world = World::new();
    let (proxied, server) = dialled(&world, Some(Authentication::Any)).await;
    let asked = async |headers: &str| Answer::of(&proxied.exchange(call_with(headers)).await).status;
    assert_eq!(asked("").await, 200);
    assert_eq!(asked(&world.user("alice")).await, 200);
    assert_eq!(asked("Authorization: Bearer the-servers-own\r\n").await, 401);
    assert_eq!(server.called(), ["add", "add"]);
    assert!(server.credentials().is_empty(), "{:?}", server.credentials());
    let lines = proxied.finish().await;
    let calls: Vec<&Value> = lines.iter().filter(|line| line["event"] == "tool_call").collect();
    assert!(calls[0]["identity"]["subject"].is_null(), "{calls:?}");
    assert_eq!(
        calls[1]["identity"]["subject"], "alice",
        "rules and budgets by token see whose it is"
    );
    assert_eq!(calls[1]["identity"]["workload"], "pod-1");
}
