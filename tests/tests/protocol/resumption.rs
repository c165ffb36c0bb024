//! A server that ends the stream of a call before its answer: the client resumes it, or mcpgw does.

use anyhow::{Result, ensure};
use mcpgw_tests::{McpPeer, until};
use serde_json::{Value, json};

use crate::{
    clients::{Client, Era, Wire},
    scene::{KNOWN, Scene, Way, prefix},
};

const CLIENTS: [(Client, Era); 5] = [
    (Client::TypeScript, Era::Legacy),
    (Client::TypeScript2, Era::Legacy),
    (Client::TypeScript2, Era::Modern),
    (Client::Python, Era::Legacy),
    (Client::Python, Era::Modern),
];

#[test]
fn a_call_whose_stream_its_server_ends_early_is_answered_all_the_same() -> Result<()> {
    let scene = Scene::new(&[("python", McpPeer::PythonResumable)])?;
    let (name, server) = &scene.servers[0];
    let mut calls = 0;
    for (client, era) in CLIENTS {
        for way in [Way::Redirected, Way::Gateway] {
            let tool = match way {
                Way::Gateway => prefix(name) + "rest",
                _ => "rest".to_owned(),
            };
            let steps = json!([{"do": "call", "name": tool, "arguments": {}}]);
            let gave = client.run(scene.pod(way), &scene.url(way, server), era, Wire::Http1, &steps)?;
            let text = &gave[0]["result"]["content"][0]["text"];
            ensure!(text == "rested", "{client:?}, {era:?}, {way:?}: {gave:?}");
            calls += 1;
        }
    }
    // A client that has no session, and reads no streams: it is done for it.
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": prefix(name) + "rest", "arguments": {}},
    });
    let url = scene.url(Way::Gateway, server);
    let mut curl = scene.pod(Way::Gateway).command("curl")?;
    curl.args([
        "-sf",
        &url,
        "-H",
        "Content-Type: application/json",
        "-d",
        &body.to_string(),
    ]);
    let whole: Value = serde_json::from_slice(&curl.output()?.stdout)?;
    ensure!(whole["result"]["content"][0]["text"] == "rested", "{whole}");
    calls += 1;
    let ended = || -> Vec<Value> {
        let lines = scene.agent.audit().into_iter();
        lines.filter(|line| line["event"] == "tool_call").collect()
    };
    until(KNOWN, "every call to be recorded", || ended().len() == calls)?;
    let outcomes: Vec<Value> = ended().into_iter().map(|line| line["outcome"].clone()).collect();
    ensure!(outcomes == vec!["ok"; calls], "{outcomes:?}");
    Ok(())
}
