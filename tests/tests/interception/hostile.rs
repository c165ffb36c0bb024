//! Clients that mean harm: slow ones, silent ones, very many, and such that try what belongs to others. They get the
//! right answer or none, cost little, by number, and nobody else notices.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use mcpgw_tests::{Agent, Footprint, McpPeer, Node, Pod, Server, resources, until};
use serde_json::{Value, json};

use crate::governed::post;

/// For the agent to know what the server offers.
pub const KNOWN: Duration = Duration::from_secs(30);
/// For what hostile clients held to be given back.
const SETTLED: Duration = Duration::from_secs(60);
/// Connections of each kind of slow client.
const CROWD: usize = 200;
/// Longer than a head or a body may take.
const HOLD: Duration = Duration::from_secs(45);
/// Sessions that nobody ends.
const SESSIONS: usize = 10_000;
/// Streams that nobody reads.
const STREAMS: usize = 1_000;

/// A node with one server, a gateway, and two governed pods of two ServiceAccounts. The fields end in this order.
struct Scene {
    agent: Agent,
    mean: Pod,
    kind: Pod,
    server: Server,
    gateway: SocketAddr,
    _node: Node,
}

impl Scene {
    fn new(peer: McpPeer) -> Result<Self> {
        let node = Node::new()?;
        let server = node.server("calculator", peer)?;
        let (mean, kind) = (node.pod("mean").build()?, node.pod("kind").build()?);
        let gateway = SocketAddr::from((mean.gateway_ipv4(), 8080));
        let documents = [
            resources::gateway(gateway),
            resources::mcp_server("tools", "calculator", &[server.address()], "/mcp"),
            resources::workload("tools", "mean", &mean, "enforce"),
            resources::workload("tools", "kind", &kind, "enforce"),
        ];
        node.configure("node.yaml", &documents)?;
        let agent = node.agent()?;
        if peer != McpPeer::Echo {
            until(KNOWN, "the server to be known", || {
                agent
                    .status()
                    .is_ok_and(|status| status["offers"][0]["state"] == "Ready")
            })?;
        }
        Ok(Self {
            agent,
            mean,
            kind,
            server,
            gateway,
            _node: node,
        })
    }

    /// Both ways to the server.
    fn ways(&self) -> [(&'static str, SocketAddr); 2] {
        [("redirected", self.server.address()), ("gateway", self.gateway)]
    }

    /// Waits until the agent holds as much as before, up to a few idle connections and the allocator's mood.
    fn settle(&self, before: &Footprint) -> Result<Footprint> {
        let mut last = None;
        let settled = until(SETTLED, "connections to be given back", || {
            let Ok(now) = Footprint::of(&self.agent) else {
                return false;
            };
            let more = &now - before;
            let settled = more.descriptors <= 32;
            last = Some(more);
            settled
        });
        settled.with_context(|| format!("the agent holds {last:?} more than before"))?;
        last.context("the agent was not looked at")
    }

    /// Opens sessions; their ids.
    fn sessions(&self, address: SocketAddr, count: usize) -> Result<Vec<String>> {
        let (address, count) = (address.to_string(), count.to_string());
        let arguments = ["sessions", &address, "--count", &count];
        let opened: Value = self.mean.probe(&arguments, initialize().to_string().as_bytes())?;
        assert_eq!(opened["failed"], 0, "a session was not opened");
        Ok(serde_json::from_value(opened["ids"].clone())?)
    }
}

fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "mean", "version": "1"},
    }})
}

/// A POST of `body` in a session.
fn in_session(id: &str, body: &Value) -> Result<Vec<u8>> {
    let plain = String::from_utf8(post(&body.to_string()))?;
    let head = format!("mcp-session-id: {id}\r\nmcp-protocol-version: 2025-11-25\r\nhost:");
    Ok(plain.replacen("host:", &head, 1).into_bytes())
}

fn crowd(pod: &Pod, address: SocketAddr, connections: usize, options: &[&str], input: &[u8]) -> Result<Value> {
    let (address, connections) = (address.to_string(), connections.to_string());
    let hold = HOLD.as_millis().to_string();
    let arguments = [
        &["crowd", &address, "--connections", &connections, "--hold", &hold],
        options,
    ]
    .concat();
    pod.probe(&arguments, input)
}

/// The status of an answer, and the JSON behind its head.
fn answer(pod: &Pod, address: SocketAddr, bytes: &[u8]) -> Result<(u16, Value)> {
    let answer = pod.send(address, bytes, &[])?;
    let status = answer.received.split(' ').nth(1).and_then(|code| code.parse().ok());
    let (_, body) = answer.received.split_once("\r\n\r\n").unwrap_or_default();
    let status = status.with_context(|| format!("no status: {answer:?}"))?;
    Ok((status, serde_json::from_str(body).unwrap_or_default()))
}

#[test]
fn slow_and_silent_clients_are_ended_in_time_and_nobody_else_waits() -> Result<()> {
    let scene = Scene::new(McpPeer::Echo)?;
    let before = Footprint::of(&scene.agent)?;
    let head = b"POST /mcp HTTP/1.1\r\nhost: x\r\nx-slow: ".as_slice();
    let body = b"POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{";
    let (drip, half): (&[&str], &[&str]) = (&["--drip", "1000"], &["--half-close"]);
    let address = scene.server.address();
    thread::scope(|scope| {
        let crowd = |options: &'static [&'static str], input: &'static [u8]| {
            let mean = &scene.mean;
            scope.spawn(move || crowd(mean, address, CROWD, options, input))
        };
        let slow_heads = crowd(drip, head);
        let slow_bodies = crowd(drip, body);
        let silent = crowd(&[], b"");
        let half_open = crowd(half, body);
        until(KNOWN, "the slow clients to be there", || {
            let now = Footprint::of(&scene.agent);
            now.is_ok_and(|now| (&now - &before).descriptors >= 3 * CROWD as i64)
        })?;
        let target = format!("{address}=calculator");
        for round in 0..5 {
            let arguments = ["stress", &target, "--connections", "100", "--concurrency", "4"];
            let good: Value = scene.kind.probe(&arguments, b"")?;
            assert_eq!(good["answered"], 100, "round {round}: {good}");
        }
        let peak = &Footprint::of(&scene.agent)? - &before;
        println!("{} slow clients: {} kB more", 3 * CROWD, peak.kilobytes);
        assert!(peak.kilobytes < 65_536, "{peak:?}");
        let ended = |crowd: thread::ScopedJoinHandle<'_, Result<Value>>| -> Result<Value> {
            let fared = crowd.join().map_err(|_| anyhow!("a crowd panicked"))??;
            assert_eq!(fared["connected"], CROWD, "{fared}");
            assert_eq!(fared["ends"]["open"], Value::Null, "{fared}");
            Ok(fared["statuses"].clone())
        };
        assert_eq!(ended(slow_heads)?, json!({}), "a slow head gets no answer");
        assert_eq!(ended(slow_bodies)?, json!({"408": CROWD}));
        assert_eq!(ended(silent)?, json!({}));
        let half_open = ended(half_open)?;
        assert!(
            half_open == json!({}) || half_open == json!({"400": CROWD}),
            "{half_open}"
        );
        anyhow::Ok(())
    })?;
    let left = scene.settle(&before)?;
    println!("after them: {left:?}");
    Ok(())
}

#[test]
fn ten_thousand_idle_sessions_cost_little() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    for (way, address) in scene.ways() {
        let before = Footprint::of(&scene.agent)?;
        let ids = scene.sessions(address, SESSIONS)?;
        assert_eq!(ids.len(), SESSIONS, "each has an id of its own");
        let left = scene.settle(&before)?;
        println!("{SESSIONS} idle sessions, {way}: {left:?}");
        assert!(left.kilobytes < 32_768, "{way}: {left:?}");
        let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
        let (status, _) = answer(&scene.mean, address, &in_session(&ids[SESSIONS / 2], &list)?)?;
        assert_eq!(status, 200, "{way}: they are still good");
    }
    let kind = scene
        .kind
        .mcp(&scene.server.url())
        .call("add", json!({"a": 1, "b": 2}))?;
    assert_eq!(kind.text(), Some("3"));
    Ok(())
}

#[test]
fn a_thousand_open_streams_cost_little_and_are_given_back() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    let before = Footprint::of(&scene.agent)?;
    let ids = scene.sessions(scene.gateway, STREAMS)?;
    let gets: Vec<String> = ids
        .iter()
        .map(|id| format!("GET /mcp HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nmcp-session-id: {id}\r\n\r\n"))
        .collect();
    let input = gets.join("\0");
    thread::scope(|scope| {
        let streams = scope.spawn(|| {
            let (address, count) = (scene.gateway.to_string(), STREAMS.to_string());
            let arguments = ["crowd", &address, "--connections", &count, "--hold", "12000"];
            scene.mean.probe::<Value>(&arguments, input.as_bytes())
        });
        until(KNOWN, "the streams to be open", || {
            let now = Footprint::of(&scene.agent);
            now.is_ok_and(|now| (&now - &before).descriptors >= STREAMS as i64)
        })?;
        let peak = &Footprint::of(&scene.agent)? - &before;
        println!("{STREAMS} open streams: {peak:?}");
        assert!(peak.kilobytes < 65_536, "{peak:?}");
        for url in [scene.server.url(), format!("http://{}/mcp", scene.gateway)] {
            let tool = if url == scene.server.url() {
                "add"
            } else {
                "calculator_add"
            };
            let kind = scene.kind.mcp(&url).call(tool, json!({"a": 1, "b": 2}))?;
            assert_eq!(kind.text(), Some("3"), "{url}: {kind:?}");
        }
        let fared = streams.join().map_err(|_| anyhow!("the streams panicked"))??;
        assert_eq!(fared["statuses"], json!({"200": STREAMS}), "{fared}");
        assert_eq!(fared["ends"], json!({"open": STREAMS}), "{fared}");
        anyhow::Ok(())
    })?;
    let left = scene.settle(&before)?;
    println!("after them: {left:?}");
    Ok(())
}

#[test]
fn what_one_principal_was_given_is_of_no_use_to_another_and_nothing_can_be_forged() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    for (way, address) in scene.ways() {
        let id = scene.sessions(address, 8)?.pop().context("no session")?;
        let status = |pod: &Pod, id: &str| anyhow::Ok(answer(pod, address, &in_session(id, &list)?)?.0);
        assert_eq!(status(&scene.mean, &id)?, 200, "{way}: its own");
        assert_eq!(status(&scene.kind, &id)?, 404, "{way}: another's");
        let other = if id.ends_with('A') { "B" } else { "A" };
        let flipped = format!("{}{other}", &id[..id.len() - 1]);
        let forged = [
            flipped,
            id[..id.len() / 2].to_owned(),
            format!("{id}{id}"),
            "1".to_owned(),
        ];
        for forged in forged {
            assert_eq!(status(&scene.mean, &forged)?, 404, "{way}: {forged}");
        }
        assert_eq!(status(&scene.mean, &id)?, 200, "{way}: its own, still");
    }
    let id = scene.sessions(scene.gateway, 8)?.pop().context("no session")?;
    let long = "A".repeat(100_000);
    for (cursor, expected) in [
        ("", 200),
        ("1", 200),
        ("eyJvZmZzZXQiOjF9", 200),
        (&id, 200),
        (&long, 400),
    ] {
        let page = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": {"cursor": cursor}});
        let (status, body) = answer(&scene.mean, scene.gateway, &in_session(&id, &page)?)?;
        let got = (status, &body["error"]["code"]);
        assert_eq!(got, (expected, &json!(-32602)), "{cursor:.40}: {body}");
    }
    Ok(())
}

#[test]
fn bodies_that_are_deep_broken_or_cut_short_reach_nobody() -> Result<()> {
    let scene = Scene::new(McpPeer::Echo)?;
    let before = Footprint::of(&scene.agent)?;
    let nested = |depth: usize, open: &str, close: &str| {
        let arguments = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{arguments}}}}}"#
        )
    };
    let arrays = post(&nested(500_000, "[", "]"));
    let objects = post(&nested(500_000, r#"{"a":"#, "}"));
    let mut invalid = post(&nested(1, r#"{"a":""#, r#""}"#));
    let at = invalid
        .iter()
        .rposition(|byte| *byte == b'1')
        .context("no place for it")?;
    invalid[at] = 0xff;
    let surrogate = post(&nested(1, r#"{"a":"\ud800"#, r#""}"#));
    for (what, bytes) in [
        ("arrays", &arrays),
        ("objects", &objects),
        ("UTF-8", &invalid),
        ("a surrogate", &surrogate),
    ] {
        for (way, address) in scene.ways() {
            let (status, body) = answer(&scene.mean, address, bytes)?;
            assert_eq!(status, 400, "{what}, {way}: {body}");
            assert!(body["error"]["code"].is_i64(), "{what}, {way}: {body}");
        }
    }
    let whole = post(&nested(1, r#"{"a":"#, "}"));
    for (way, address) in scene.ways() {
        let cut = scene.mean.send(address, &whole[..whole.len() - 5], &["--half-close"])?;
        assert!(!cut.received.contains(" 200 "), "{way}: {cut:?}");
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
        let garbage = scene
            .mean
            .send(address, &[preface.as_slice(), &[0xff; 4096]].concat(), &[])?;
        assert!(!garbage.received.contains(" 200 "), "{way}: {garbage:?}");
        assert!(matches!(garbage.end.as_str(), "eof" | "reset"), "{way}: {garbage:?}");
    }
    assert_eq!(scene.server.direct_from(&scene.mean), 0);
    let more = &Footprint::of(&scene.agent)? - &before;
    println!("bad bodies: {more:?}");
    assert!(more.kilobytes < 65_536, "{more:?}");
    let fine = scene.kind.send(scene.server.address(), &whole, &[])?;
    assert!(fine.received.contains(" 200 "), "{fine:?}");
    Ok(())
}
