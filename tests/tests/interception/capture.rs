//! What becomes of direct dials, as each server asks for it: redirected, refused, or left alone.

use std::{fs, net::SocketAddr};

use anyhow::{Context, Result};
use mcpgw_tests::{Agent, McpPeer, Node, Pod, Server, resources, until};
use serde_json::{Value, json};

use crate::scene::{SOON, Scene, await_state};

const GATEWAY_ONLY: &str = "  capture: GatewayOnly\n";

/// A server that is reached through the gateway only, a pod that is governed, and one that is not enrolled. The
/// fields end in this order.
struct Behind {
    agent: Agent,
    governed: Pod,
    unknown: Pod,
    server: Server,
    gateway: SocketAddr,
    node: Node,
}

impl Behind {
    /// `settings`: more lines of the settings' `spec`.
    fn new(settings: &str) -> Result<Self> {
        let node = Node::new()?;
        let server = node.server("calculator", McpPeer::Rmcp)?;
        let (governed, unknown) = (node.pod("agent").build()?, node.pod("unknown").build()?);
        let gateway = SocketAddr::from((governed.gateway_ipv4(), 8080));
        let document = resources::mcp_server("tools", "calculator", &server.addresses(), "/mcp") + GATEWAY_ONLY;
        node.configure(
            "node.yaml",
            &[
                document,
                resources::workload("tools", "research", &governed, "enforce"),
                resources::gateway(gateway) + settings,
            ],
        )?;
        let agent = node.agent()?;
        await_state(&agent, "tools/agent", "enforced")?;
        until(SOON, "the server to be known", || {
            let status = agent.status().unwrap_or_default();
            status["offers"][0]["state"] == "Ready"
        })?;
        Ok(Self {
            agent,
            governed,
            unknown,
            server,
            gateway,
            node,
        })
    }

    /// A tool call of the governed pod at the gateway.
    fn at_gateway(&self) -> Result<Option<String>> {
        let client = self.governed.mcp(&format!("http://{}/mcp", self.gateway));
        let answer = client.call("calculator_add", json!({"a": 1, "b": 2}))?;
        Ok(answer.text().map(ToOwned::to_owned))
    }
}

fn server_status(agent: &Agent, name: &str) -> Result<Value> {
    let status = agent.status()?;
    let servers = status["servers"].as_array().context("no servers")?;
    servers
        .iter()
        .find(|server| server["name"] == name)
        .cloned()
        .context("no such server")
}

#[test]
fn a_server_behind_the_gateway_is_reached_there_and_dialled_by_nobody_who_is_governed() -> Result<()> {
    let mut scene = Behind::new("")?;
    let (v4, v6) = (scene.server.address(), scene.server.address_v6());
    let source = format!("{}:0", scene.governed.ipv4());
    let dials: [(_, &[&str]); 7] = [
        (v4, &[]),
        (v6, &[]),
        (v4, &["--mapped"]),
        (v4, &["--device", "eth0"]),
        (v6, &["--device", "eth0"]),
        (v4, &["--source", &source]),
        (v4, &["--udp"]),
    ];
    let all_refused = |scene: &Behind| -> Result<()> {
        for (address, options) in dials {
            let dialled = scene.governed.connect(address, options)?;
            assert!(dialled.refused(), "{address} {options:?}: {dialled:?}");
            assert!(dialled.milliseconds < 1_000, "{dialled:?}");
        }
        Ok(())
    };
    all_refused(&scene)?;
    assert_eq!(scene.at_gateway()?.as_deref(), Some("3"));
    let refused = [("decision", "refuse"), ("reason", "gateway_only")];
    until(SOON, "the refusals to be counted", || {
        let count = scene.agent.metric("mcpgw_connects_total", &refused);
        count.is_ok_and(|count| count == dials.len() as f64)
    })?;
    let told = scene
        .node
        .mcpgw()?
        .args(["explain", "--workload", "tools/agent", "--to", &v4.to_string()])
        .output()?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("GatewayOnly") && told.contains("/mcp"), "{told}");
    let status = server_status(&scene.agent, "tools/calculator")?;
    assert_eq!(
        (&status["capture"], &status["programmed"], &status["problems"]),
        (&json!("GatewayOnly"), &json!("Full"), &json!([]))
    );

    scene.agent.kill()?;
    all_refused(&scene)?;
    assert_eq!(scene.server.direct_from(&scene.governed), 0);
    // Whom the kernel does not know, it leaves alone, here as elsewhere.
    assert!(scene.unknown.connect(v4, &[])?.connected);
    assert!(scene.server.direct_from(&scene.unknown) > 0);
    Ok(())
}

#[test]
fn whom_the_kernel_does_not_know_may_always_dial_the_gateway() -> Result<()> {
    let scene = Behind::new("  unknownWorkloads: Refuse\n")?;
    assert!(scene.unknown.connect(scene.server.address(), &[])?.refused());
    let dialled = scene.unknown.connect(scene.gateway, &[])?;
    assert!(dialled.connected, "{dialled:?}");
    // It may dial, and is told that it has to be attested.
    let client = scene.unknown.mcp(&format!("http://{}/mcp", scene.gateway));
    let answer = client.call("calculator_add", json!({"a": 1, "b": 2}))?;
    assert_eq!(answer.text(), None, "{answer:?}");
    assert_eq!(scene.at_gateway()?.as_deref(), Some("3"));
    assert_eq!(scene.server.direct_from(&scene.unknown), 0);
    Ok(())
}

#[test]
fn a_change_of_capture_is_taken_over() -> Result<()> {
    let scene = Scene::with(McpPeer::Rmcp, &[], |_| Ok(()))?;
    let address = scene.server.address();
    assert!(scene.pod.connect(address, &[])?.connected);
    let documents = |capture: &str| {
        let server = resources::mcp_server("tools", "calculator", &scene.server.addresses(), "/mcp");
        [
            format!("{server}  capture: {capture}\n"),
            resources::workload("agents", "research", &scene.pod, "enforce"),
        ]
    };
    scene.node.configure("node.yaml", &documents("GatewayOnly"))?;
    until(SOON, "dials to be refused", || {
        scene.pod.connect(address, &[]).is_ok_and(|dialled| dialled.refused())
    })?;
    scene.node.configure("node.yaml", &documents("Off"))?;
    until(SOON, "dials to go direct", || {
        let _ = scene.pod.connect(address, &[]);
        scene.server.direct_from(&scene.pod) > 0
    })?;
    scene.node.configure("node.yaml", &documents("Redirect"))?;
    until(SOON, "dials to be redirected", || {
        let before = scene.server.direct_from(&scene.pod);
        let dialled = scene.pod.connect(address, &[]);
        dialled.is_ok_and(|dialled| dialled.connected) && scene.server.direct_from(&scene.pod) == before
    })?;
    Ok(())
}

#[test]
fn of_two_servers_at_one_address_the_stricter_capture_holds_and_status_says_so() -> Result<()> {
    let node = Node::new()?;
    let server = node.server("calculator", McpPeer::Rmcp)?;
    let pod = node.pod("agent").build()?;
    let at =
        |name: &str, path: &str, more: &str| resources::mcp_server("tools", name, &[server.address()], path) + more;
    node.configure(
        "node.yaml",
        &[
            at("open", "/mcp", ""),
            at("strict", "/other", GATEWAY_ONLY),
            resources::workload("agents", "research", &pod, "enforce"),
        ],
    )?;
    let agent = node.agent()?;
    assert!(pod.connect(server.address(), &[])?.refused());
    let problems = server_status(&agent, "tools/open")?["problems"].to_string();
    assert!(
        problems.contains("capture GatewayOnly") && problems.contains("tools/strict"),
        "{problems}"
    );
    assert_eq!(server_status(&agent, "tools/strict")?["problems"], json!([]));
    Ok(())
}

#[test]
fn an_agent_of_another_version_is_taken_over_from_and_nothing_of_it_is_left() -> Result<()> {
    let mut scene = Scene::with(McpPeer::Rmcp, &[], |_| Ok(()))?;
    scene.agent.terminate()?;
    // Pins of another version: its links go on, and its maps are of a layout that we do not know.
    let nodes = scene.node.pin_directory().join("mcpgw");
    let entries =
        || fs::read_dir(&nodes).map(|entries| entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>());
    let ours = entries()?.pop().context("no pins")?;
    let schemas = || -> Result<Vec<String>> {
        let names = fs::read_dir(&ours)?.flatten();
        Ok(names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect())
    };
    let current = schemas()?.pop().context("no schema")?;
    fs::rename(ours.join(&current), ours.join("v0"))?;
    assert!(scene.pod.connect(scene.server.address(), &[])?.refused());
    scene.agent.restart()?;
    assert_eq!(schemas()?, [current]);
    let client = scene.pod.mcp(&scene.server.url());
    assert_eq!(client.call("add", json!({"a": 1, "b": 2}))?.text(), Some("3"));
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    Ok(())
}
