//! Every client with every server, in every era that the client speaks: direct, redirected, and through the gateway.

use std::{thread, time::Duration};

use anyhow::{Result, anyhow, ensure};
use mcpgw_tests::McpPeer;
use serde_json::{Value, json};

use crate::{
    clients::{Client, Era, Wire},
    scene::{Scene, Way, prefix},
    steps::{steps, works},
};

const PEERS: [(&str, McpPeer); 5] = [
    ("everything", McpPeer::Everything),
    ("typescript", McpPeer::TypeScriptSessions),
    ("python", McpPeer::Python),
    ("fastmcp", McpPeer::FastMcp),
    ("rmcp", McpPeer::Conformance),
];

/// Items on one page of the gateway's.
const GATEWAY_PAGE: usize = 256;
/// How often, and after how long, the gateway is asked again for a list that another client has just changed.
const SETTLING_TRIES: u32 = 6;
const SETTLING: Duration = Duration::from_secs(1);

/// Whether a client that speaks in this era can use a server without a gateway between them.
fn goes_together(server: &str, is_sse: bool, client: Client, era: Era) -> bool {
    match (server, era) {
        // FastMCP sees by the path which transport it is.
        _ if is_sse => era == Era::HttpSse || (client, era) == (Client::FastMcp, Era::Legacy),
        ("modern", _) => era == Era::Modern,
        ("everything", _) => era == Era::Legacy,
        _ => true,
    }
}

/// The steps with the gateway's names.
fn prefixed(steps: &Value, prefix: &str) -> Value {
    let mut steps = steps.clone();
    for step in steps.as_array_mut().into_iter().flatten() {
        for member in ["name", "counter"] {
            if let Some(Value::String(name)) = step.get_mut(member) {
                name.insert_str(0, prefix);
            }
        }
    }
    steps
}

/// What a step gave, as it can be compared: lists without their order, names without the gateway's prefix and
/// without what other servers offer, and nothing that names the server's software or how long something may be kept.
/// The gateway has pages of its own.
fn comparable(step: &Value, gave: &Value, way: Way, prefix: &str, listed: &[Value]) -> Value {
    let mut gave = gave.clone();
    strip(&mut gave);
    if let (Way::Gateway, Value::Object(members)) = (way, &mut gave) {
        members.remove("pages");
    }
    let Some(Value::Array(items)) = gave.get_mut("items") else {
        return gave;
    };
    let key = match step["do"].as_str() {
        Some("tools" | "prompts") => "name",
        Some("resources") => "uri",
        _ => "uriTemplate",
    };
    if key == "name" {
        items.retain(|item| item["name"].as_str().is_some_and(|name| name.starts_with(prefix)));
        for item in items.iter_mut() {
            if let Some(Value::String(name)) = item.get_mut("name") {
                name.replace_range(..prefix.len(), "");
            }
        }
    } else {
        items.retain(|item| listed.is_empty() || listed.iter().any(|known| known[key] == item[key]));
    }
    items.sort_by_key(|item| item[key].as_str().unwrap_or_default().to_owned());
    gave
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            // The last of them is what some SDKs know in one era only.
            for name in ["ttlMs", "cacheScope", "resultType", "execution"] {
                members.remove(name);
            }
            if let Some(Value::Object(meta)) = members.get_mut("_meta") {
                meta.remove("io.modelcontextprotocol/serverInfo");
                if meta.is_empty() {
                    members.remove("_meta");
                }
            }
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// One row of the table, and what differs.
struct Row {
    name: String,
    marks: Vec<&'static str>,
    differences: Vec<String>,
}

/// `wire`: how the client speaks to mcpgw. Directly it speaks as the server does.
fn row(scene: &Scene, client: Client, era: Era, wire: Wire<'static>, index: usize) -> Result<Row> {
    let (name, server) = &scene.servers[index];
    let servers_own = if server.is_http2() { Wire::Http2 } else { Wire::Http1 };
    let mut steps = steps(name, era, server.is_sse());
    if let ("everything", Client::TypeScript, Some(steps)) = (*name, client, steps.as_array_mut()) {
        // The one pair that has tasks as revision 2025-11-25 made them.
        let arguments = json!({"topic": "rain", "ambiguous": true});
        steps.push(json!({"do": "task", "name": "simulate-research-query", "arguments": arguments}));
    }
    let asked = steps.as_array().cloned().unwrap_or_default();
    let mut row = Row {
        name: match wire {
            Wire::Http1 => format!("{client:?} {era:?} → {name}").to_lowercase(),
            _ => format!("{client:?} {era:?} {wire:?} → {name}").to_lowercase(),
        },
        marks: Vec::new(),
        differences: Vec::new(),
    };
    // A pair of two eras does not go together without a gateway: it must with one, as a pair of one era does.
    let is_pair = goes_together(name, server.is_sse(), client, era);
    let (of_client, of_era) = match client {
        _ if is_pair => (client, era),
        Client::TypeScript2 | Client::Rmcp if server.is_sse() => (Client::TypeScript, Era::HttpSse),
        Client::TypeScript | Client::Python if server.is_sse() => (client, Era::HttpSse),
        Client::TypeScript => (Client::TypeScript2, Era::Modern),
        _ if era == Era::Modern => (client, Era::Legacy),
        _ => (client, Era::Modern),
    };
    row.marks.push(if is_pair { "yes" } else { "no" });
    let expected = of_client.run(&scene.free, &server.url(), of_era, servers_own, &steps)?;
    let failed = asked.iter().zip(&expected).filter(|(step, gave)| !works(step, gave));
    row.differences
        .extend(failed.map(|(step, gave)| format!("direct: {step} should work: {gave}")));
    if expected.len() != asked.len() {
        row.differences
            .push(format!("direct: {} steps were taken", expected.len()));
    }
    for way in Way::ALL {
        // What is only observed is passed on as it is, and so goes together where it does directly.
        let is_apart = way == Way::Observed && wire != servers_own;
        if (!is_pair && way != Way::Gateway) || is_apart {
            row.marks.push("no");
            continue;
        }
        let mut differences = Vec::new();
        for _ in 0..SETTLING_TRIES {
            let through = Through {
                way,
                client,
                era,
                wire,
                of_client,
                index,
            };
            let found = through.differences(scene, &steps, &asked, &expected);
            differences = found.iter().map(|(_, difference)| difference.clone()).collect();
            if way != Way::Gateway || !is_unsettled(&found) {
                break;
            }
            thread::sleep(SETTLING);
        }
        row.marks
            .push(if differences.is_empty() { "equal" } else { "DIFFERENT" });
        row.differences.extend(differences);
    }
    Ok(row)
}

/// Whether what differs is that the gateway did not know yet of a list that had just changed: it knows a moment later. A
/// client that had such a list is not told of what becomes of it by the very change that the list says already.
fn is_unsettled(found: &[(Value, String)]) -> bool {
    let is_list = |step: &Value| {
        matches!(
            step["do"].as_str(),
            Some("tools" | "prompts" | "resources" | "templates")
        )
    };
    found.iter().any(|(step, _)| is_list(step))
        && found.iter().all(|(step, _)| is_list(step) || step["do"] == "changes")
}

/// These clients forget who waits for progress as soon as they have read the answer, and lose what came right before
/// it: what they heard of progress is compared as far as both heard it.
fn forget(clients: [Client; 2], gave: &mut Value, expected: &mut Value) {
    let forgets = |client| matches!(client, Client::TypeScript | Client::TypeScript2);
    if !clients.into_iter().any(forgets) {
        return;
    }
    if let (Some(Value::Array(gave)), Some(Value::Array(expected))) =
        (gave.get_mut("progress"), expected.get_mut("progress"))
    {
        let both = gave.len().min(expected.len());
        gave.truncate(both);
        expected.truncate(both);
    }
}

/// One client that goes one way to one server.
struct Through {
    way: Way,
    client: Client,
    era: Era,
    wire: Wire<'static>,
    /// Whose steps it is compared with.
    of_client: Client,
    index: usize,
}

impl Through {
    /// Steps that gave something else than expected.
    fn differences(&self, scene: &Scene, steps: &Value, asked: &[Value], expected: &[Value]) -> Vec<(Value, String)> {
        let (path, (name, server)) = (self.way.name(), &scene.servers[self.index]);
        let prefix = match self.way {
            Way::Gateway => prefix(name),
            Way::Redirected | Way::Observed => String::new(),
        };
        // The gateway itself has the one transport, whichever its servers have.
        let spoken = match (self.way, self.era) {
            (Way::Gateway, Era::HttpSse) => Era::Legacy,
            _ => self.era,
        };
        let url = scene.url(self.way, server);
        let gave = match self
            .client
            .run(scene.pod(self.way), &url, spoken, self.wire, &prefixed(steps, &prefix))
        {
            Ok(gave) => gave,
            Err(error) => return vec![(Value::Null, format!("{path}: {error:#}"))],
        };
        if gave.len() != asked.len() {
            return vec![(Value::Null, format!("{path}: {} steps were taken", gave.len()))];
        }
        let steps = asked.iter().zip(gave.into_iter().zip(expected));
        // The gateway says of itself what it has of all servers.
        let compared = steps.filter(|(step, _)| self.way != Way::Gateway || step["do"] != "hello");
        compared
            .filter_map(|(step, (mut gave, expected))| {
                let mut expected = expected.clone();
                let items = gave["items"].as_array().map_or(0, Vec::len);
                if self.way == Way::Gateway && gave["pages"] == 1 && items > GATEWAY_PAGE {
                    return Some((step.clone(), format!("{path}: {step}: {items} items on one page")));
                }
                forget([self.client, self.of_client], &mut gave, &mut expected);
                let expected = comparable(step, &expected, self.way, "", &[]);
                let listed = expected["items"].as_array().cloned().unwrap_or_default();
                let got = comparable(step, &gave, self.way, &prefix, &listed);
                let difference = || format!("{path}: {step}\n    direct  {expected}\n    through {got}");
                (got != expected).then(|| (step.clone(), difference()))
            })
            .collect()
    }
}

/// The rows of one server, one after the other: what one client changes there, the next one would see.
fn rows(scene: &Scene, index: usize) -> Result<Vec<Row>> {
    let is_sse = scene.servers[index].1.is_sse();
    let eras = Client::ALL.into_iter().flat_map(|client| {
        let own = (is_sse && client.has_http_sse()).then_some(Era::HttpSse);
        client.eras().iter().copied().chain(own).map(move |era| (client, era))
    });
    eras.map(|(client, era)| row(scene, client, era, Wire::Http1, index))
        .collect()
}

/// As [`rows`], of those clients that speak HTTP/2, where they or the server do.
fn rows_of_http2(scene: &Scene, index: usize) -> Result<Vec<Row>> {
    let is_http2 = scene.servers[index].1.is_http2();
    let clients = Client::ALL.into_iter().filter(|client| client.speaks_http2());
    let wires = std::iter::once(Wire::Http2).chain(is_http2.then_some(Wire::Http1));
    let all = clients
        .flat_map(|client| client.eras().iter().map(move |era| (client, *era)))
        .flat_map(|(client, era)| wires.clone().map(move |wire| (client, era, wire)));
    all.map(|(client, era, wire)| row(scene, client, era, wire, index))
        .collect()
}

/// Prints the table of these servers, and fails with what differs.
fn run(peers: &[(&'static str, McpPeer)], rows: fn(&Scene, usize) -> Result<Vec<Row>>) -> Result<()> {
    let scene = Scene::new(peers)?;
    let rows: Vec<Row> = thread::scope(|scope| {
        let of_servers: Vec<_> = (0..peers.len())
            .map(|index| {
                scope.spawn({
                    let scene = &scene;
                    move || rows(scene, index)
                })
            })
            .collect();
        let joined = of_servers
            .into_iter()
            .map(|rows| rows.join().map_err(|_| anyhow!("a row panicked"))?);
        joined.collect::<Result<Vec<_>>>()
    })?
    .into_iter()
    .flatten()
    .collect();
    let columns = |name: &str, marks: Vec<String>| {
        let marks: String = marks.iter().map(|mark| format!("{mark:<11}")).collect();
        println!("{name:<34} {}", marks.trim_end());
    };
    let ways = Way::ALL.into_iter().map(Way::name);
    columns(
        "client, era → server",
        ["direct".to_owned()].into_iter().chain(ways).collect(),
    );
    for Row { name, marks, .. } in &rows {
        columns(name, marks.iter().map(|mark| (*mark).to_owned()).collect());
    }
    let differences: Vec<String> = rows
        .iter()
        .flat_map(|row| {
            row.differences
                .iter()
                .map(|difference| format!("{}: {difference}", row.name))
        })
        .collect();
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

#[test]
fn what_a_client_gets_through_mcpgw_is_what_it_gets_without() -> Result<()> {
    run(&PEERS, rows)
}

/// Alone on its node: it has the names and URIs of another.
#[test]
fn legacy_clients_use_a_server_that_speaks_the_modern_era_only() -> Result<()> {
    run(&[("modern", McpPeer::Modern)], rows)
}

/// Alone on its node: it has the names and URIs of another.
#[test]
fn servers_without_sessions_are_servers_like_any_other() -> Result<()> {
    run(&[("stateless", McpPeer::TypeScript)], rows)
}

/// Clients of that transport reach them directly; all others through the gateway.
#[test]
fn servers_of_the_http_sse_transport_are_servers_like_any_other() -> Result<()> {
    run(
        &[("everything", McpPeer::EverythingSse), ("python", McpPeer::PythonSse)],
        rows,
    )
}

/// Clients and servers of HTTP/2, by Node's implementation of it, each with those of HTTP/1.1 too.
#[test]
fn clients_and_servers_of_http2_are_like_any_other() -> Result<()> {
    run(
        &[
            ("everything", McpPeer::Everything),
            ("stateless", McpPeer::TypeScriptHttp2),
            ("rmcp", McpPeer::Conformance),
        ],
        rows_of_http2,
    )
}
