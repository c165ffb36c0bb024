//! What is not governed stays as it was.

use anyhow::Result;
use mcpgw_tests::{McpPeer, Node, resources};
use serde_json::json;

use crate::scene::{Scene, await_state};

#[test]
fn traffic_to_other_addresses_is_direct_and_byte_for_byte() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    let other = scene.node.server("other", McpPeer::Raw)?;
    let bytes: Vec<u8> = (0..1_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for address in other.addresses() {
        let echoed = scene.pod.send(address, &bytes, &["--half-close"])?;
        let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(
            echoed.received_hex == expected,
            "the bytes changed on the way to {address}"
        );
        assert_eq!(echoed.peer, Some(address));
    }
    assert!(other.direct_from(&scene.pod) >= 2);
    assert_eq!(other.from_node(), 0);
    Ok(())
}

#[test]
fn another_port_of_a_governed_address_is_not_governed() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    let closed = scene.pod.connect((scene.server.pod().ipv4(), 9).into(), &[])?;
    assert!(closed.refused(), "{closed:?}");
    assert!(
        scene.server.direct_from(&scene.pod) > 0,
        "the refusal came from the server's own kernel"
    );
    Ok(())
}

#[test]
fn a_workload_with_mode_off_dials_directly_and_nothing_is_attached() -> Result<()> {
    let node = Node::new()?;
    let server = node.server("calculator", McpPeer::Rmcp)?;
    let pod = node.pod("agent").build()?;
    node.configure(
        "node.yaml",
        &[
            resources::mcp_server("tools", "calculator", &server.addresses(), "/mcp"),
            resources::workload("agents", "research", &pod, "off"),
        ],
    )?;
    let agent = node.agent()?;
    await_state(&agent, "agents/agent", "off")?;
    let answer = pod.mcp(&server.url()).call("add", json!({"a": 1, "b": 2}))?;
    assert_eq!(answer.text(), Some("3"));
    assert!(server.direct_from(&pod) > 0);
    assert_eq!(server.from_node(), 0);
    assert_eq!(
        agent.status()?["datapath"]["programs"],
        json!([]),
        "nothing is enrolled, so nothing is attached"
    );
    Ok(())
}

#[test]
fn a_workload_with_mode_off_beside_an_enforced_one_dials_directly() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    let free = scene.node.pod("free").build()?;
    scene
        .node
        .configure("free.yaml", &[resources::workload("agents", "free", &free, "off")])?;
    scene.await_state("agents/free", "off")?;
    let answer = free.mcp(&scene.server.url()).call("add", json!({"a": 1, "b": 2}))?;
    assert_eq!(answer.text(), Some("3"));
    assert!(scene.server.direct_from(&free) > 0);
    Ok(())
}

#[test]
fn an_unknown_workload_gets_what_the_setting_says() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    let unknown = scene.node.pod("unknown").build()?;
    let answer = unknown.mcp(&scene.server.url()).call("add", json!({"a": 1, "b": 2}))?;
    assert_eq!(answer.text(), Some("3"), "standalone, unknown workloads pass");
    let direct = scene.server.direct_from(&unknown);
    assert!(direct > 0);

    scene
        .node
        .configure("settings.yaml", &[resources::settings("Refuse")])?;
    mcpgw_tests::until(crate::scene::SOON, "the setting to be in force", || {
        unknown
            .connect(scene.server.address(), &[])
            .is_ok_and(|dialled| dialled.refused())
    })?;
    let direct = scene.server.direct_from(&unknown);
    let refused = unknown.connect(scene.server.address_v6(), &[])?;
    assert!(refused.refused(), "{refused:?}");
    assert_eq!(scene.server.direct_from(&unknown), direct);
    scene.await_metric("mcpgw_connects_total", &[("reason", "unknown_refused")], 2.0)
}
