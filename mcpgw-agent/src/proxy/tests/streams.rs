//! Streams that outlive what they were opened by: the plan, and the token.

use std::{net::SocketAddr, sync::Arc};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Proxied, gateway, name, post_modern, read_until,
    session_server::{Offers, SessionServer},
    tokens::World,
    upstreams::Scripted,
};
use crate::{
    policy::Plan,
    resources::{Action, Authentication, Desired, Expose, Pattern, Policy, Rule, Server, Transport},
};

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
/// How a stream ends that is whole, and not broken off.
const END: &str = "\r\n0\r\n\r\n";

pub(super) fn get(headers: &str) -> String {
    format!("GET /mcp HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nConnection: close\r\n{headers}\r\n")
}

/// A modern client's request to hear of these resources.
pub(super) fn listen(uris: &[impl serde::Serialize]) -> String {
    let wanted = json!({"notifications": {"resourceSubscriptions": uris}});
    post_modern("", "subscriptions/listen", wanted)
}

pub(super) async fn send(proxied: &Proxied, request: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = proxied.connect().await;
    stream.write_all(request.as_ref()).await.unwrap();
    stream
}

/// What comes until the stream ends.
pub(super) async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, read)
        .await
        .expect("the stream does not end")
        .unwrap();
    text
}

pub(super) fn updated(uri: &str) -> String {
    format!(
        "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{{\"uri\":\"{uri}\"}}}}\n\n"
    )
}

/// One server without any rule, in this generation.
pub(super) fn plain(server: SocketAddr, generation: u64) -> Desired {
    Desired {
        generation,
        servers: vec![Arc::new(Server::at(name("tools", "calc"), vec![server]))],
        ..Desired::default()
    }
}

/// The same, where callers may have no resource that begins like this.
fn without(server: SocketAddr, resources: &str) -> Desired {
    let rule = |action, glob: &str| Rule {
        resources: vec![Pattern::new(glob).unwrap()],
        ..Rule::new(action)
    };
    Desired {
        policies: vec![Arc::new(Policy {
            name: name("tools", "p"),
            rules: vec![rule(Action::Allow, "**"), rule(Action::Deny, resources)],
            ..Policy::default()
        })],
        ..plain(server, 2)
    }
}

pub(super) fn store(proxied: &Proxied, desired: &Desired) {
    proxied.shared.upstreams.put_in_force(&desired.servers);
    proxied.plan.store(Arc::new(Plan::compile(desired)));
}

fn ended(lines: &[Value]) -> Vec<&str> {
    let ended = lines.iter().filter(|line| line["event"] == "stream_ended");
    ended.map(|line| line["reason"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_stream_to_a_server_goes_on_under_a_new_plan_and_ends_when_the_server_is_gone() {
    let (scripted, address) = Scripted::start().await;
    let proxied = Proxied::start_with(plain(address, 1), Some(address)).await;
    let mut client = send(&proxied, get("")).await;
    let mut server = scripted.connection().await;
    read_until(&mut server, "\r\n\r\n").await;
    // What is no JSON-RPC passes as well, where nothing is to be kept from the caller.
    server
        .write_all(format!("{STREAM}data: one\n\n").as_bytes())
        .await
        .unwrap();
    read_until(&mut client, "one").await;
    store(&proxied, &plain(address, 2));
    server.write_all(b"data: two\n\n").await.unwrap();
    read_until(&mut client, "two").await;
    store(&proxied, &Desired::default());
    assert!(rest(client).await.ends_with("0\r\n\r\n"));
    assert_eq!(
        server.read(&mut [0; 1]).await.unwrap_or(0),
        0,
        "the server's stream ends too"
    );
    assert_eq!(ended(&proxied.finish().await), ["not_governed"]);
}

#[tokio::test]
async fn an_open_stream_tells_no_more_of_a_resource_than_a_new_plan_allows() {
    let (scripted, address) = Scripted::start().await;
    let proxied = Proxied::start_with(plain(address, 1), Some(address)).await;
    let mut client = send(&proxied, get("")).await;
    let mut server = scripted.connection().await;
    read_until(&mut server, "\r\n\r\n").await;
    let first = format!("{STREAM}{}", updated("secret://1"));
    server.write_all(first.as_bytes()).await.unwrap();
    read_until(&mut client, "secret://1").await;
    store(&proxied, &without(address, "secret*"));
    let more = updated("secret://2") + &updated("open://3");
    server.write_all(more.as_bytes()).await.unwrap();
    let heard = read_until(&mut client, "open://3").await;
    assert!(!heard.contains("secret://2"), "{heard}");
}

#[tokio::test]
async fn a_modern_client_is_told_that_what_it_listens_to_is_over() {
    let (scripted, address) = Scripted::start().await;
    let proxied = Proxied::start_with(plain(address, 1), Some(address)).await;
    let mut client = send(&proxied, listen(&["secret://1"])).await;
    let mut server = scripted.connection().await;
    read_until(&mut server, "secret://1").await;
    let first = format!("{STREAM}{}", updated("secret://1"));
    server.write_all(first.as_bytes()).await.unwrap();
    read_until(&mut client, "secret://1").await;
    store(&proxied, &without(address, "secret*"));
    let said = rest(client).await;
    let result = r#"{"jsonrpc":"2.0","id":"m1","result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":"m1"}}}"#;
    assert!(
        said.contains(&format!("data: {result}\n\n")) && said.ends_with(END),
        "{said}"
    );
    assert_eq!(ended(&proxied.finish().await), ["subscription"]);
}

#[tokio::test]
async fn a_session_of_the_old_transport_ends_with_its_server() {
    let (scripted, address) = Scripted::start().await;
    let mut desired = plain(address, 1);
    Arc::make_mut(&mut desired.servers[0]).transport = Transport::Sse;
    let proxied = Proxied::start_with(desired, Some(address)).await;
    let mut client = send(&proxied, get("")).await;
    let mut server = scripted.connection().await;
    read_until(&mut server, "\r\n\r\n").await;
    let first = format!("{STREAM}event: endpoint\ndata: /messages?s=1\n\n");
    server.write_all(first.as_bytes()).await.unwrap();
    read_until(&mut client, "endpoint").await;
    store(&proxied, &Desired::default());
    assert!(rest(client).await.ends_with("0\r\n\r\n"));
    assert_eq!(ended(&proxied.finish().await), ["not_governed"]);
}

/// A session at the gateway, as a header.
pub(super) async fn session(proxied: &Proxied, headers: &str) -> String {
    let initialize = gateway::request(
        "initialize",
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}),
    );
    let opened = gateway::ask(proxied, headers, &initialize).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    format!(
        "Mcp-Session-Id: {}\r\n{headers}",
        opened.header("mcp-session-id").unwrap()
    )
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_opened_it() {
    let world = World::new();
    let server = SessionServer::start().await;
    let mut everybodys = Server::at(name("tools", "all"), vec![server.address]);
    everybodys.expose_to = Expose::Everyone;
    let desired = Desired {
        generation: 1,
        settings: world.settings(Authentication::Token),
        servers: vec![Arc::new(everybodys)],
        ..Desired::default()
    };
    let proxied = gateway::start(desired).await;
    let claims = json!({"iss": "https://users.example", "sub": "ann", "aud": "mcpgw", "scope": "mcp"});
    let headers = session(&proxied, &world.lasting(3, claims)).await;
    let stream = send(&proxied, get(&headers)).await;
    let said = rest(stream).await;
    assert!(
        said.starts_with("HTTP/1.1 200") && said.ends_with("0\r\n\r\n"),
        "{said}"
    );
    let counted = r#"mcpgw_streams_ended_total{reason="token_expired"} 1"#;
    let metrics = proxied.telemetry.render();
    assert!(metrics.contains(counted), "{metrics}");
    let lines = proxied.finish().await;
    assert_eq!(ended(&lines), ["token_expired"]);
    let line = lines.iter().find(|line| line["event"] == "stream_ended").unwrap();
    assert_eq!(
        (&line["path"], &line["identity"]["subject"]),
        (&"gateway".into(), &"ann".into())
    );
}

#[tokio::test]
async fn a_stream_at_the_gateway_ends_where_its_caller_would_be_asked_for_a_token_now() {
    let server = SessionServer::start().await;
    let desired = gateway::desired(&[server.address]);
    let proxied = gateway::start(desired.clone()).await;
    let headers = session(&proxied, "").await;
    let mut stream = send(&proxied, get(&headers)).await;
    read_until(&mut stream, "\r\n\r\n").await;
    let mut stricter = Desired {
        generation: 2,
        ..desired
    };
    stricter.settings.gateway.as_mut().unwrap().authentication = Authentication::AttestedAndToken;
    store(&proxied, &stricter);
    assert!(rest(stream).await.ends_with("0\r\n\r\n"));
    assert_eq!(ended(&proxied.finish().await), ["no_token"]);
}

fn offers(uri: &str, unasked: String) -> Offers {
    Offers {
        prompts: r#"{"name":"p"}"#.to_owned(),
        resources: format!(r#"{{"uri":"{uri}","name":"r"}}"#),
        unasked,
        ..Offers::default()
    }
}

#[tokio::test]
async fn a_subscription_at_the_gateway_ends_when_its_server_is_no_longer_shown_to_the_caller() {
    let server = SessionServer::offering(offers("a://1", updated("a://1"))).await;
    let desired = gateway::desired(&[server.address]);
    let proxied = gateway::start(desired.clone()).await;
    let mut client = send(&proxied, listen(&["a://1"])).await;
    let heard = read_until(&mut client, "resources/updated").await;
    assert!(heard.contains("subscriptions/acknowledged"), "{heard}");
    let mut hidden = Desired {
        generation: 2,
        ..desired
    };
    Arc::make_mut(&mut hidden.servers[0]).expose_to = Expose::Own;
    store(&proxied, &hidden);
    let said = rest(client).await;
    assert!(
        said.contains(r#""result":{"resultType":"complete""#) && said.ends_with(END),
        "{said}"
    );
    assert_eq!(ended(&proxied.finish().await), ["subscription"]);
}

#[tokio::test]
async fn a_server_can_tell_of_its_own_resources_only() {
    let of_a = updated("b://1") + &updated("nobodys://1") + &updated("a://1");
    let a = SessionServer::offering(offers("a://1", of_a)).await;
    let b = SessionServer::offering(offers("b://1", updated("b://1"))).await;
    let proxied = gateway::start(gateway::desired(&[a.address, b.address])).await;
    let headers = session(&proxied, "").await;
    // Opens the session at that server, whose stream is then heard.
    let read = gateway::request("resources/read", json!({"uri": "a://1"}));
    assert_eq!(gateway::ask(&proxied, &headers, &read).await.status, 200);
    let mut stream = send(&proxied, get(&headers)).await;
    let heard = read_until(&mut stream, "a://1").await;
    assert!(!heard.contains("b://1") && !heard.contains("nobodys://1"), "{heard}");
    let metrics = proxied.telemetry.render();
    let ignored = metrics
        .lines()
        .find(|line| line.starts_with("mcpgw_resource_updates_ignored"));
    assert!(
        ignored.is_some_and(|line| line.contains(r#"mcp_server_name="a""#)),
        "{metrics}"
    );
    // From its owner it comes through.
    let read = gateway::request("resources/read", json!({"uri": "b://1"}));
    assert_eq!(gateway::ask(&proxied, &headers, &read).await.status, 200);
    read_until(&mut stream, "b://1").await;
}

/// All that the lines name that a client wanted to hear of, each with whether it may.
fn named(lines: &[Value]) -> Vec<(String, bool)> {
    let own = lines.iter().filter(|line| line["method"] == "resources/subscribe");
    let own = own.map(|line| {
        let granted = line["decision"] == "allow";
        (line["resource"].as_str().unwrap().to_owned(), granted)
    });
    let all = lines.iter().filter(|line| line["method"] == "subscriptions/listen");
    let beyond = all.flat_map(|line| {
        let names = |member: &str| line[member].as_array().cloned().unwrap_or_default();
        let granted = names("granted").into_iter().map(|name| (name, true));
        granted.chain(names("refused").into_iter().map(|name| (name, false)))
    });
    let beyond = beyond.map(|(name, granted)| (name.as_str().unwrap().to_owned(), granted));
    let mut named: Vec<_> = own.chain(beyond).collect();
    named.sort();
    named
}

fn secrets(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("secret://{number:04}")).collect()
}

/// The lines of a request that listens to these, at the gateway.
async fn listened_to(uris: &[String], count: usize) -> Vec<Value> {
    let resources: Vec<String> = secrets(count)
        .iter()
        .map(|uri| format!(r#"{{"uri":"{uri}","name":"r"}}"#))
        .collect();
    let offers = Offers {
        prompts: r#"{"name":"p"}"#.to_owned(),
        resources: resources.join(","),
        ..Offers::default()
    };
    let servers = [
        SessionServer::offering(offers).await,
        SessionServer::offering(Offers::default()).await,
    ];
    let mut desired = gateway::desired(&[servers[0].address, servers[1].address]);
    desired.policies = without(servers[0].address, "secret://*5").policies;
    let proxied = gateway::start(desired).await;
    let mut client = send(&proxied, listen(uris)).await;
    read_until(&mut client, "subscriptions/acknowledged").await;
    drop(client);
    proxied.finish().await
}

#[tokio::test]
async fn one_request_that_listens_to_very_much_has_few_lines_in_the_log_and_they_name_all_of_it() {
    let mut uris = secrets(100);
    uris.push("nobody://1".to_owned());
    let lines = listened_to(&uris, 100).await;
    let of = |method: &str| lines.iter().filter(|line| line["method"] == method).collect::<Vec<_>>();
    assert_eq!(of("resources/subscribe").len(), 8, "{lines:?}");
    let [all] = &of("subscriptions/listen")[..] else {
        panic!("{lines:?}")
    };
    assert_eq!((&all["shown"], &all["hidden"]), (&90.into(), &11.into()), "{all}");
    uris.sort();
    let is_granted = |uri: &String| uri.starts_with("secret") && !uri.ends_with('5');
    let expected: Vec<(String, bool)> = uris.iter().map(|uri| (uri.clone(), is_granted(uri))).collect();
    assert_eq!(named(&lines), expected);
}

#[tokio::test]
async fn what_nobody_has_is_on_record_when_somebody_wants_to_listen_to_it() {
    let lines = listened_to(&["nobody://1".to_owned(), "secret://0000".to_owned()], 1).await;
    let expected = [("nobody://1".to_owned(), false), ("secret://0000".to_owned(), true)];
    assert_eq!(named(&lines), expected);
    assert!(lines.iter().any(|line| line["reason"] == "unknown_name"), "{lines:?}");
}

#[tokio::test]
async fn the_resource_for_which_a_server_is_not_asked_for_any_is_on_record_wherever_it_stands() {
    let (scripted, address) = Scripted::start().await;
    let proxied = Proxied::start_with(without(address, "secret://0050"), Some(address)).await;
    let uris = secrets(60);
    let said = proxied.exchange(listen(&uris)).await;
    assert!(said.contains("secret://0050"), "{said}");
    let lines = proxied.finish().await;
    let its = |line: &&Value| line["resource"] == "secret://0050";
    assert_eq!(lines.iter().find(its).unwrap()["decision"], "deny");
    let named = named(&lines);
    assert_eq!(
        named.iter().map(|(uri, _)| uri).collect::<Vec<_>>(),
        uris.iter().collect::<Vec<_>>()
    );
    // What was decided before has said so already.
    assert!(
        named.iter().all(|(uri, granted)| *granted == (**uri < *uris[8])),
        "{named:?}"
    );
    drop(scripted);
}
