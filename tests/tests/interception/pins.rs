//! Pinned tools, from the server's list to the operator's command line.

use std::time::Duration;

use anyhow::{Result, ensure};
use mcpgw_tests::{McpPeer, Node, resources, until};
use serde_json::{Value, json};

/// For what a server offers to be known.
const KNOWN: Duration = Duration::from_secs(30);

#[test]
fn a_tool_that_comes_later_waits_for_the_operator_also_over_a_restart() -> Result<()> {
    let node = Node::new()?;
    let server = node.server("everything", McpPeer::Conformance)?;
    let pod = node.pod("agent").build()?;
    let pinned = resources::mcp_server("tools", "everything", &[server.address()], "/mcp") + "  pin: Enforce\n";
    node.configure(
        "node.yaml",
        &[resources::workload("agents", "research", &pod, "enforce"), pinned],
    )?;
    let mut agent = node.agent()?;
    // The command that an operator would run; its output, if it succeeds.
    let pins = |arguments: &[&str]| -> Result<String> {
        let output = node.mcpgw()?.arg("pins").args(arguments).output()?;
        ensure!(
            output.status.success(),
            "mcpgw pins {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    };
    let state = |tool: &str| -> Option<String> {
        let servers: Value = serde_json::from_str(&pins(&["--json"]).ok()?).ok()?;
        let tools = servers[0]["tools"].as_array()?;
        let found = tools.iter().find(|known| known["tool"] == tool)?;
        Some(found["state"].as_str()?.to_owned())
    };
    until(KNOWN, "the server to be pinned", || {
        state("test_simple_text").as_deref() == Some("approved")
    })?;
    let client = pod.mcp(&server.url());
    let known = client.call("test_simple_text", json!({}))?;
    assert!(known.text().is_some(), "{known:?}");

    client.call("test_trigger_tool_change", json!({}))?;
    until(KNOWN, "the new tool to be noticed", || {
        state("test_dynamic_tool").as_deref() == Some("new")
    })?;
    assert_eq!(client.call("test_dynamic_tool", json!({}))?.error_code(), Some(4031));
    let listed = client.list()?;
    assert!(listed.iter().any(|tool| tool == "test_simple_text"), "{listed:?}");
    assert!(!listed.iter().any(|tool| tool == "test_dynamic_tool"), "{listed:?}");
    assert_eq!(agent.status()?["pins"][0]["new"], 1);
    let new = [("mcp_server_name", "everything"), ("state", "new")];
    assert_eq!(agent.metric("mcpgw_pinned_tools", &new)?, 1.0);

    let difference = pins(&["diff", "tools/everything", "test_dynamic_tool"])?;
    assert!(
        difference.contains("+  \"name\": \"test_dynamic_tool\""),
        "{difference}"
    );
    let (_, command) = difference.split_once("to approve it: mcpgw pins ").unwrap_or_default();
    let words: Vec<&str> = command.split_whitespace().collect();
    // Nobody approves by accident: no question can be answered here, and another digest is another definition.
    assert!(pins(&["approve", "tools/everything", "--all"]).is_err());
    let digest = words.last().unwrap_or(&"");
    let other = format!("sha256:{}", "0".repeat(64));
    assert_ne!(*digest, other);
    let wrong = pins(&["approve", "tools/everything", "test_dynamic_tool", "--digest", &other]).unwrap_err();
    assert!(wrong.to_string().contains("has changed since it was shown"), "{wrong}");
    assert_eq!(client.call("test_dynamic_tool", json!({}))?.error_code(), Some(4031));
    assert_eq!(pins(&words)?, "approved: 1 of tools/everything\n");
    let approved = client.call("test_dynamic_tool", json!({}))?;
    assert!(approved.text().is_some(), "{approved:?}");

    agent.restart()?;
    until(KNOWN, "the server to be known again", || {
        state("test_dynamic_tool").as_deref() == Some("approved")
    })?;
    let again = client.call("test_dynamic_tool", json!({}))?;
    assert!(again.text().is_some(), "{again:?}");
    assert!(pins(&["approve", "tools/everything", "--all", "--yes"])?.contains("nothing"));
    Ok(())
}
