//! Every client with every server, in every era that the client speaks: direct, redirected, and through the gateway.

use std::thread;

use anyhow::{Result, anyhow};
use mcpgw_tests::McpPeer;
use serde_json::{Value, json};

use crate::{
    clients::{Client, Era},
    scene::{Scene, Way, prefix},
};

const PEERS: [(&str, McpPeer); 5] = [
    ("everything", McpPeer::Everything),
    ("typescript", McpPeer::TypeScript),
    ("python", McpPeer::Python),
    ("fastmcp", McpPeer::FastMcp),
    ("rmcp", McpPeer::Conformance),
];

/// What is asked of a server. Names of tools and prompts get the gateway's prefix where they need it.
fn steps(server: &str, era: Era, is_sse: bool) -> Value {
    let call = |name: &str, arguments: Value| json!({"do": "call", "name": name, "arguments": arguments});
    let lists = [
        json!({"do": "tools"}),
        json!({"do": "prompts"}),
        json!({"do": "resources"}),
        json!({"do": "templates"}),
    ];
    let own = match server {
        "everything" => vec![
            call("echo", json!({"message": "größe"})),
            call("get-structured-content", json!({"location": "Chicago"})),
            call("get-tiny-image", json!({})),
            call("trigger-long-running-operation", json!({"duration": 0.3, "steps": 3})),
            call("trigger-sampling-request", json!({"prompt": "p", "maxTokens": 10})),
            call("trigger-elicitation-request", json!({})),
            call("get-sum", json!({"a": "no number"})),
            json!({"do": "prompt", "name": "args-prompt", "arguments": {"city": "Kyiv"}}),
            json!({"do": "read", "uri": "demo://resource/static/document/architecture.md"}),
        ],
        "rmcp" | "modern" => vec![
            call("test_simple_text", json!({})),
            call("test_multiple_content_types", json!({})),
            call("test_audio_content", json!({})),
            call("test_error_handling", json!({})),
            call("test_tool_with_progress", json!({})),
            json!({"do": "prompt", "name": "test_prompt_with_arguments", "arguments": {"arg1": "a", "arg2": "ö"}}),
            json!({"do": "prompt", "name": "test_prompt_with_image", "arguments": {}}),
            json!({"do": "read", "uri": "test://static-binary"}),
            json!({"do": "read", "uri": "test://template/größe/data"}),
            json!({"do": "complete", "name": "test_prompt_with_arguments", "argument": {"name": "arg1", "value": "par"}}),
            json!({"do": "cancel", "name": "wait", "counter": "cancelled"}),
            json!({"do": "changes", "name": "test_trigger_tool_change"}),
            json!({"do": "updates", "name": "test_trigger_resource_update", "uri": "test://watched-resource"}),
        ],
        _ => {
            let scheme = match server {
                "typescript" => "page",
                "fastmcp" => "fast",
                _ => "note",
            };
            let mut steps = vec![
                call("echo", json!({"message": "größe"})),
                call("add", json!({"a": 2, "b": 3})),
                call("add", json!({"a": "no number"})),
                call("picture", json!({})),
                call("fail", json!({"message": "no"})),
                json!({"do": "prompt", "name": "poem", "arguments": {"about": "rain"}}),
                json!({"do": "read", "uri": format!("{scheme}://fixed")}),
                json!({"do": "read", "uri": format!("{scheme}://of/Ada")}),
            ];
            match server {
                // A server of sessions alone cannot ask a client that has none.
                "python" if is_sse && era == Era::Modern => steps.push(call("count", json!({"to": 3}))),
                "python" => steps.extend([call("count", json!({"to": 3})), call("greet", json!({}))]),
                "fastmcp" => steps.push(call("count", json!({"to": 3}))),
                _ => {}
            }
            steps
        }
    };
    // What a server asks in between, it asks in another way in each era.
    let questions = match (server, era) {
        ("rmcp", Era::Legacy) => vec![
            call("test_sampling", json!({"prompt": "größe"})),
            call("test_elicitation", json!({"message": "größe"})),
        ],
        ("rmcp", Era::Modern) | ("modern", _) => vec![
            call("test_input_required_result_multiple_inputs", json!({})),
            call("test_input_required_result_multi_round", json!({})),
        ],
        _ => Vec::new(),
    };
    lists.into_iter().chain(own).chain(questions).collect()
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
fn comparable(step: &Value, gave: &Value, prefix: &str, listed: &[Value]) -> Value {
    let mut gave = gave.clone();
    strip(&mut gave);
    let Value::Array(items) = &mut gave else { return gave };
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
            for name in ["ttlMs", "cacheScope", "resultType"] {
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

fn row(scene: &Scene, client: Client, era: Era, index: usize) -> Result<Row> {
    let (name, server) = &scene.servers[index];
    let mut steps = steps(name, era, server.is_sse());
    if let ("everything", Client::TypeScript, Some(steps)) = (*name, client, steps.as_array_mut()) {
        // The one pair that has tasks as revision 2025-11-25 made them.
        let arguments = json!({"topic": "rain", "ambiguous": true});
        steps.push(json!({"do": "task", "name": "simulate-research-query", "arguments": arguments}));
    }
    let asked = steps.as_array().cloned().unwrap_or_default();
    let mut row = Row {
        name: format!("{client:?} {era:?} → {name}").to_lowercase(),
        marks: Vec::new(),
        differences: Vec::new(),
    };
    // A pair of two eras does not go together without a gateway: it must with one.
    let direct = client.run(&scene.free, &server.url(), era, &steps).unwrap_or_default();
    let mut direct = match direct.first() {
        Some(first) if first.get("error").is_none() => direct,
        _ => Vec::new(),
    };
    // This client forgets who waits for progress as soon as the answer is there, and may not have read all of it.
    let is_forgetful = (client, era) == (Client::TypeScript, Era::HttpSse);
    let forget = |gave: &mut Vec<Value>| {
        for members in gave
            .iter_mut()
            .filter_map(Value::as_object_mut)
            .filter(|_| is_forgetful)
        {
            members.remove("progress");
        }
    };
    forget(&mut direct);
    row.marks.push(if direct.is_empty() { "no" } else { "yes" });
    let failed = asked
        .iter()
        .zip(&direct)
        .filter(|(_, gave)| gave.get("error").is_some());
    row.differences
        .extend(failed.map(|(step, gave)| format!("direct: {step} should work: {gave}")));
    for way in Way::ALL {
        let path = way.name();
        if direct.is_empty() && way != Way::Gateway {
            row.marks.push("no");
            continue;
        }
        let prefix = match way {
            Way::Gateway => prefix(name),
            Way::Redirected | Way::Observed => String::new(),
        };
        let url = scene.url(way, server);
        // The gateway itself has the one transport, whichever its servers have.
        let spoken = match (way, era) {
            (Way::Gateway, Era::HttpSse) => Era::Legacy,
            _ => era,
        };
        let mut gave = client.run(scene.pod(way), &url, spoken, &prefixed(&steps, &prefix));
        gave.iter_mut().for_each(forget);
        let before = row.differences.len();
        match gave {
            Err(error) => row.differences.push(format!("{path}: {error:#}")),
            Ok(gave) if direct.is_empty() => {
                let failed = gave.iter().zip(&asked).filter(|(gave, _)| gave.get("error").is_some());
                row.differences
                    .extend(failed.map(|(gave, step)| format!("{path}: {step}: {gave}")));
            }
            Ok(gave) => {
                for (step, (gave, direct)) in asked.iter().zip(gave.iter().zip(&direct)) {
                    let expected = comparable(step, direct, "", &[]);
                    let listed = expected.as_array().cloned().unwrap_or_default();
                    let got = comparable(step, gave, &prefix, &listed);
                    if got != expected {
                        row.differences
                            .push(format!("{path}: {step}\n    direct  {expected}\n    through {got}"));
                    }
                }
            }
        }
        row.marks.push(if row.differences.len() == before {
            "equal"
        } else {
            "DIFFERENT"
        });
    }
    Ok(row)
}

/// The rows of one server, one after the other: what one client changes there, the next one would see.
fn rows(scene: &Scene, index: usize) -> Result<Vec<Row>> {
    let is_sse = scene.servers[index].1.is_sse();
    let eras = Client::ALL.into_iter().flat_map(|client| {
        let own = (is_sse && client.has_http_sse()).then_some(Era::HttpSse);
        client.eras().iter().copied().chain(own).map(move |era| (client, era))
    });
    eras.map(|(client, era)| row(scene, client, era, index)).collect()
}

/// Prints the table of these servers, and fails with what differs.
fn run(peers: &[(&'static str, McpPeer)]) -> Result<()> {
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
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

#[test]
fn what_a_client_gets_through_mcpgw_is_what_it_gets_without() -> Result<()> {
    run(&PEERS)
}

/// Alone on its node: it has the names and URIs of another.
#[test]
fn legacy_clients_use_a_server_that_speaks_the_modern_era_only() -> Result<()> {
    run(&[("modern", McpPeer::Modern)])
}

/// Clients of that transport reach them directly; all others through the gateway.
#[test]
fn servers_of_the_http_sse_transport_are_servers_like_any_other() -> Result<()> {
    run(&[("everything", McpPeer::EverythingSse), ("python", McpPeer::PythonSse)])
}
