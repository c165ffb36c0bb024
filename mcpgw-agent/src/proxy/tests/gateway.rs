//! Many servers behind one `/mcp`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::{Value, json};

use tokio::io::AsyncWriteExt;

use super::{
    Answer, Proxied, modern_server::ModernServer, name, post, post_modern, read_until, session_server::SessionServer,
    upstreams::dead,
};
use crate::{
    policy::Plan,
    resources::{
        Action, Authentication, Catalog, CatalogServer, Desired, Expose, Gateway, Pattern, Policy, Rule, Server,
        Settings,
    },
};

pub(super) const GATEWAY: &str = "10.9.9.9:8080";

/// The gateway with these servers, `tools/a`, `tools/b` and so on.
pub(super) fn desired(addresses: &[SocketAddr]) -> Desired {
    let server = |(index, address): (usize, &SocketAddr)| {
        let letter = char::from(b'a' + index as u8).to_string();
        let mut server = Server::at(name("tools", &letter), vec![*address]);
        server.expose_to = Expose::Everyone;
        Arc::new(server)
    };
    Desired {
        generation: 1,
        settings: Settings {
            gateway: Some(Gateway {
                listen: vec![GATEWAY.parse().unwrap()],
                tls: None,
                allowed_origins: vec!["https://console.example".into()],
                authentication: Authentication::Attested,
            }),
            ..Settings::default()
        },
        servers: addresses.iter().enumerate().map(server).collect(),
        ..Desired::default()
    }
}

/// A gateway that knows what all its servers offer.
pub(super) async fn start(desired: Desired) -> Proxied {
    let servers = desired.servers.len();
    let proxied = Proxied::start_with(desired, Some(GATEWAY.parse().unwrap())).await;
    proxied.knows(servers).await;
    proxied
}

pub(super) async fn ask(proxied: &Proxied, headers: &str, body: &Value) -> Answer {
    Answer::of(&proxied.exchange(post(headers, &body.to_string())).await)
}

pub(super) fn request(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
}

pub(super) fn tools(answer: &Answer) -> Vec<&str> {
    let tools = answer.body["result"]["tools"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer:?}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_bare_request_gets_the_tools_of_all_servers_verbatim_but_for_their_names() {
    let (a, b) = (SessionServer::start().await, SessionServer::start().await);
    let proxied = start(desired(&[a.address, b.address])).await;
    let raw = proxied
        .exchange(post("", r#"{"jsonrpc":"2.0","method":"tools/list","id":1}"#))
        .await;
    assert!(
        raw.contains(r#"{"name":"a_add","vendor":{"x":1.50e0},"inputSchema":{"type":"object"}}"#),
        "{raw}"
    );
    assert_eq!(tools(&Answer::of(&raw)), ["a_add", "a_big", "b_add", "b_big"]);
}

#[tokio::test]
async fn a_call_reaches_the_server_under_its_own_name_in_a_session_of_the_client() {
    let (a, b) = (SessionServer::start().await, SessionServer::start().await);
    let proxied = start(desired(&[a.address, b.address])).await;
    let initialize = request(
        "initialize",
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}),
    );
    let opened = ask(&proxied, "", &initialize).await;
    assert_eq!(opened.body["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(
        opened.body["result"]["capabilities"],
        json!({"tools": {"listChanged": true}, "logging": {}})
    );
    let session = format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap());
    let call = request("tools/call", json!({"name": "b_add", "arguments": {}}));
    let first = ask(&proxied, &session, &call).await;
    let text = first.body["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("add of own-"), "{text}");
    // The same session again, and another one for another client.
    assert_eq!(
        ask(&proxied, &session, &call).await.body["result"]["content"][0]["text"],
        text
    );
    assert_ne!(
        ask(&proxied, "", &call).await.body["result"]["content"][0]["text"],
        text
    );
    b.forget_all();
    let reopened = ask(&proxied, &session, &call).await;
    assert_ne!(reopened.body["result"]["content"][0]["text"], text);
    assert_eq!((reopened.status, &reopened.body["id"]), (200, &7.into()));
    assert!(a.called().is_empty());
    let lines = proxied.finish().await;
    let lines: Vec<&Value> = lines.iter().filter(|line| line["event"] == "tool_call").collect();
    assert_eq!(
        (&lines[0]["tool"], &lines[0]["called_as"]),
        (&"add".into(), &"b_add".into())
    );
    assert_eq!(
        (&lines[0]["server"], &lines[0]["path"]),
        (&"tools/b".into(), &"gateway".into())
    );
}

#[tokio::test]
async fn a_denied_tool_is_neither_listed_nor_callable_and_looks_like_none() {
    let a = SessionServer::start().await;
    let mut desired = desired(&[a.address]);
    let rule = |action, tool: &str| Rule {
        tools: vec![Pattern::new(tool).unwrap()],
        ..Rule::new(action)
    };
    desired.policies = vec![Arc::new(Policy {
        name: name("tools", "p"),
        rules: vec![rule(Action::Allow, "*"), rule(Action::Deny, "big")],
        ..Policy::default()
    })];
    let proxied = start(desired).await;
    assert_eq!(
        tools(&ask(&proxied, "", &request("tools/list", json!({}))).await),
        ["a_add"]
    );
    let denied = ask(&proxied, "", &request("tools/call", json!({"name": "a_big"}))).await;
    let unknown = ask(&proxied, "", &request("tools/call", json!({"name": "a_bog"}))).await;
    assert_eq!((denied.status, denied.code()), (unknown.status, unknown.code()));
    assert_eq!(denied.body["error"]["message"], "Unknown tool: a_big");
    assert!(a.called().is_empty());
    let lines = proxied.finish().await;
    assert_eq!(
        (&lines[1]["outcome"], &lines[1]["rule"]),
        (&"denied".into(), &"tools/p#2".into())
    );
    assert_eq!(lines[2]["reason"], "unknown_tool");
}

#[tokio::test]
async fn a_catalog_offers_what_it_names_and_refuses_the_rest() {
    let (a, b) = (SessionServer::start().await, SessionServer::start().await);
    let mut desired = desired(&[a.address, b.address]);
    desired.catalogs = vec![Arc::new(Catalog {
        name: name("tools", "safe"),
        servers: vec![CatalogServer {
            server: name("tools", "a"),
            include: vec![],
            exclude: vec![Pattern::new("b*").unwrap()],
        }],
    })];
    let proxied = start(desired).await;
    let at = |body: &Value| post("", &body.to_string()).replace("POST /mcp ", "POST /mcp/safe ");
    let listed = Answer::of(&proxied.exchange(at(&request("tools/list", json!({})))).await);
    assert_eq!(tools(&listed), ["a_add"]);
    for hidden in ["a_big", "b_add"] {
        let call = request("tools/call", json!({"name": hidden}));
        assert_eq!(
            Answer::of(&proxied.exchange(at(&call)).await).code(),
            Some(-32602),
            "{hidden}"
        );
    }
    assert!(a.called().is_empty() && b.called().is_empty());
    let unknown = post("", &request("tools/list", json!({})).to_string()).replace("POST /mcp ", "POST /mcp/no ");
    assert_eq!(Answer::of(&proxied.exchange(unknown).await).status, 404);
}

#[tokio::test]
async fn long_lists_come_in_pages_whose_cursors_cannot_be_forged() {
    let item = |n: usize| format!(r#"{{"name":"t{n:04}","inputSchema":{{"type":"object"}}}}"#);
    let list: Vec<String> = (0..600).map(item).collect();
    let a = SessionServer::with_tools(&list.join(",")).await;
    let proxied = start(desired(&[a.address])).await;
    let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let params = cursor.as_ref().map_or(json!({}), |cursor| json!({ "cursor": cursor }));
        let page = ask(&proxied, "", &request("tools/list", params)).await;
        seen.extend(tools(&page).into_iter().map(ToOwned::to_owned));
        pages += 1;
        match page.body["result"]["nextCursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    let expected: Vec<String> = (0..600).map(|n| format!("a_t{n:04}")).collect();
    assert_eq!((seen, pages), (expected, 3));
    let mut forged = cursor.unwrap();
    forged.replace_range(20..21, if &forged[20..21] == "A" { "B" } else { "A" });
    assert_eq!(
        ask(&proxied, "", &request("tools/list", json!({"cursor": forged})))
            .await
            .code(),
        Some(-32602)
    );
}

#[tokio::test]
async fn browsers_of_other_origins_are_refused() {
    let a = SessionServer::start().await;
    let proxied = start(desired(&[a.address])).await;
    let list = request("tools/list", json!({}));
    assert_eq!(
        ask(&proxied, "Origin: https://evil.example\r\n", &list).await.status,
        403
    );
    assert_eq!(
        ask(&proxied, "Origin: https://console.example\r\n", &list).await.status,
        200
    );
}

#[tokio::test]
async fn a_modern_client_can_use_a_legacy_server() {
    let a = SessionServer::start().await;
    let proxied = start(desired(&[a.address])).await;
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
    });
    let headers =
        |method: &str, more: &str| format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{more}");
    let discover = ask(
        &proxied,
        &headers("server/discover", ""),
        &request("server/discover", json!({"_meta": meta})),
    )
    .await;
    assert_eq!(
        discover.body["result"]["supportedVersions"],
        json!(["2026-07-28"]),
        "{discover:?}"
    );
    assert_eq!(discover.body["result"]["capabilities"]["logging"], json!({}));
    let list = ask(
        &proxied,
        &headers("tools/list", ""),
        &request("tools/list", json!({"_meta": meta})),
    )
    .await;
    assert_eq!(list.body["result"]["cacheScope"], "private");
    let call = request("tools/call", json!({"_meta": meta, "name": "a_add", "arguments": {}}));
    let answer = ask(&proxied, &headers("tools/call", "Mcp-Name: a_add\r\n"), &call).await;
    assert_eq!(answer.body["result"]["resultType"], "complete", "{answer:?}");
    assert_eq!(answer.body["id"], 7);
    let wrong = ask(&proxied, &headers("tools/call", "Mcp-Name: a_big\r\n"), &call).await;
    assert_eq!((wrong.status, wrong.code()), (400, Some(-32020)));
    let gone = ask(&proxied, &headers("ping", ""), &request("ping", json!({"_meta": meta}))).await;
    assert_eq!((gone.status, gone.code()), (404, Some(-32601)));
}

#[tokio::test]
async fn a_call_without_an_id_is_no_way_round_a_rule() {
    let a = SessionServer::start().await;
    let proxied = start(desired(&[a.address])).await;
    let initialize = request(
        "initialize",
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}),
    );
    let opened = ask(&proxied, "", &initialize).await;
    let session = format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap());
    ask(&proxied, &session, &request("tools/call", json!({"name": "a_add"}))).await;
    let call = json!({"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "big"}});
    assert_eq!(ask(&proxied, &session, &call).await.status, 202);
    assert_eq!(a.called(), ["add"]);
}

#[tokio::test]
async fn a_session_at_the_gateway_belongs_to_its_owner_and_ends_when_it_says_so() {
    let a = SessionServer::start().await;
    let proxied = start(desired(&[a.address])).await;
    let initialize = request(
        "initialize",
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}),
    );
    let opened = ask(&proxied, "", &initialize).await;
    let session = format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap());
    let list = request("tools/list", json!({}));
    let other = proxied.of_another_workload(GATEWAY.parse().unwrap()).await;
    assert_eq!(ask(&other, &session, &list).await.status, 404);
    assert_eq!(ask(&proxied, &session, &list).await.status, 200);
    let delete = format!("DELETE /mcp HTTP/1.1\r\nHost: a\r\n{session}Connection: close\r\n\r\n");
    assert_eq!(Answer::of(&other.exchange(&delete).await).status, 404);
    assert_eq!(ask(&proxied, &session, &list).await.status, 200);
    assert_eq!(Answer::of(&proxied.exchange(delete).await).status, 200);
    assert_eq!(ask(&proxied, &session, &list).await.status, 404);
}

/// A session of a client that can be asked; the header that names it.
async fn session_of_one_that_can_be_asked(proxied: &Proxied) -> String {
    let initialize = request(
        "initialize",
        json!({
            "protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "t", "version": "0"},
        }),
    );
    let opened = ask(proxied, "", &initialize).await;
    format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap())
}

#[tokio::test]
async fn a_legacy_client_is_asked_what_a_modern_server_wants_to_know() {
    let server = ModernServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let session = session_of_one_that_can_be_asked(&proxied).await;
    let call = request("tools/call", json!({"name": "a_greet", "arguments": {}}));
    let mut stream = proxied.connect().await;
    let headers = format!("{session}Accept: application/json, text/event-stream\r\n");
    stream
        .write_all(post(&headers, &call.to_string()).as_bytes())
        .await
        .unwrap();
    let question = read_until(&mut stream, "\"Who?\"").await;
    assert!(question.contains("\"method\":\"elicitation/create\""), "{question}");
    let answer = json!({
        "jsonrpc": "2.0", "id": "mcpgw-0", "result": {"action": "accept", "content": {"name": "Ada"}},
    });
    assert_eq!(ask(&proxied, &session, &answer).await.status, 202);
    let rest = read_until(&mut stream, "Hello").await;
    assert!(
        rest.contains("\"id\":7") && rest.contains("Hello, \\\"Ada\\\""),
        "{rest}"
    );
    let calls = server.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        calls[0]["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"],
        json!({"elicitation": {}})
    );
    assert_eq!(calls[1]["params"]["requestState"], "st\u{e4}te");
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    // A client that cannot be asked is told so.
    let bare = ask(&proxied, "", &call).await;
    assert_eq!((bare.status, bare.code()), (200, Some(4090)));
    drop(stream);
    let lines = proxied.finish().await;
    assert_eq!(lines[0]["outcome"], "ok");
}

#[tokio::test]
async fn a_server_and_its_client_cannot_fill_the_agent_with_answers_to_questions() {
    let server = ModernServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let session = session_of_one_that_can_be_asked(&proxied).await;
    let call = request(
        "tools/call",
        json!({"name": "a_greet", "arguments": {"questions": 1_000}}),
    );
    let mut stream = proxied.connect().await;
    let headers = format!("{session}Accept: application/json, text/event-stream\r\n");
    stream
        .write_all(post(&headers, &call.to_string()).as_bytes())
        .await
        .unwrap();
    let long = "x".repeat(crate::proxy::limits::MAX_BODY / 2);
    // Each is allowed; both together are not.
    for number in 0..2 {
        read_until(&mut stream, &format!("\"mcpgw-{number}\"")).await;
        let answer = json!({"jsonrpc": "2.0", "id": format!("mcpgw-{number}"), "result": {"content": long}});
        assert_eq!(ask(&proxied, &session, &answer).await.status, 202);
    }
    let rest = read_until(&mut stream, "too long").await;
    assert!(rest.contains("\"error\"") && rest.contains("\"id\":7"), "{rest}");
    assert_eq!(server.calls().len(), 1, "it is not asked again");
}

#[tokio::test]
async fn where_one_replica_cannot_be_reached_another_is_asked() {
    let (legacy, modern) = (SessionServer::start().await, ModernServer::start().await);
    let mut desired = desired(&[legacy.address, modern.address]);
    let proxied = start(desired.clone()).await;
    // Each of them gets a replica that nobody knows yet to be dead.
    for (server, address) in desired.servers.iter_mut().zip([legacy.address, modern.address]) {
        let addresses = [dead().await, address];
        *server = Arc::new(Server {
            expose_to: Expose::Everyone,
            ..Server::at(server.name.clone(), addresses.to_vec())
        });
    }
    proxied.shared.upstreams.put_in_force(&desired.servers);
    proxied.plan.store(Arc::new(Plan::compile(&desired)));
    let gauges = |metrics: &str, state: &str, count: u64| {
        let labels = format!("{{mcp_server_name=\"a\",mcp_server_namespace=\"tools\",state=\"{state}\"}}");
        assert!(
            metrics.contains(&format!("mcpgw_server_endpoints{labels} {count}")),
            "{metrics}"
        );
    };
    let metrics = proxied.telemetry.render();
    gauges(&metrics, "used", 2);
    gauges(&metrics, "left_alone", 0);
    let known = "mcpgw_server_catalogue{mcp_server_name=\"b\",mcp_server_namespace=\"tools\",state=\"ready\"} 1";
    assert!(metrics.contains(known), "{metrics}");
    let arguments = json!({"questions": 0});
    let to_modern = json!({"name": "b_greet", "arguments": arguments});
    let a_legacy_session = ask(
        &proxied,
        "",
        &request("tools/call", json!({"name": "a_add", "arguments": {}})),
    )
    .await;
    assert_eq!(a_legacy_session.code(), None, "{a_legacy_session:?}");
    gauges(&proxied.telemetry.render(), "left_alone", 1);
    let bridged = ask(&proxied, "", &request("tools/call", to_modern.clone())).await;
    assert_eq!(bridged.code(), Some(4090), "it answered: {bridged:?}");
    // The dead one is tried again after its time.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    for _ in 0..2 {
        let modern = Answer::of(&proxied.exchange(post_modern("", "tools/call", to_modern.clone())).await);
        assert_eq!(modern.body["result"]["resultType"], "input_required", "{modern:?}");
    }
    assert_eq!(modern.calls().len(), 3);
}
