//! Servers with names: what DNS says of them is governed in the kernel.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result};
use mcpgw_tests::{Agent, AgentOptions, McpPeer, NameServer, Node, Pod, Server, resources, until};
use serde_json::{Value, json};

use crate::scene::{SOON, await_state};

const NAME: &str = "calculator.example";
/// For a change in DNS to be seen: what it says is believed for 5 s at least.
const ASKED_AGAIN: Duration = Duration::from_secs(20);

/// A node with two servers, one name for them, and a pod that is governed. The fields end in this order.
struct Named {
    agent: Agent,
    pod: Pod,
    first: Server,
    second: Server,
    names: NameServer,
    _node: Node,
}

impl Named {
    /// The name is the first server's to begin with. `more`: of the server's spec.
    fn new(more: &str) -> Result<Self> {
        Self::with(more, false)
    }

    /// The same, where the second server's address may be that of the Kubernetes API server.
    fn with(more: &str, second_is_api_server: bool) -> Result<Self> {
        let node = Node::new()?;
        let (first, second) = (
            node.server("first", McpPeer::Rmcp)?,
            node.server("second", McpPeer::Rmcp)?,
        );
        let pod = node.pod("agent").build()?;
        let names = NameServer::new(&node)?;
        names.say(NAME, &[first.pod().ipv4()]);
        node.configure(
            "node.yaml",
            &[
                resources::host_server("tools", "calculator", NAME, first.address().port(), more),
                resources::workload("agents", "research", &pod, "enforce"),
                resources::policy(
                    "tools",
                    "rules",
                    &[
                        "{action: Allow, tools: [\"*\"]}",
                        "{action: Deny, tools: [\"delete_*\"]}",
                    ],
                ),
            ],
        )?;
        let agent = node.agent_with(AgentOptions {
            name_server: Some(NameServer::ADDRESS),
            environment: second_is_api_server
                .then(|| ("KUBERNETES_SERVICE_HOST".to_owned(), second.pod().ipv4().to_string()))
                .into_iter()
                .collect(),
            ..AgentOptions::default()
        })?;
        await_state(&agent, "agents/agent", "enforced")?;
        let scene = Self {
            agent,
            pod,
            first,
            second,
            names,
            _node: node,
        };
        scene.found(&[scene.first.pod().ipv4()], 1)?;
        Ok(scene)
    }

    /// Waits until the server is known to be at these addresses, and the kernel governs that many.
    fn found(&self, addresses: &[Ipv4Addr], governed: usize) -> Result<()> {
        let port = self.first.address().port();
        let wanted: Vec<String> = addresses.iter().map(|ip| format!("{ip}:{port}")).collect();
        until(ASKED_AGAIN, "the name to be resolved", || {
            self.server().is_ok_and(|server| server["found"] == json!(wanted))
        })?;
        until(SOON, "the kernel to know", || {
            self.agent
                .metric("mcpgw_map_entries", &[("map", "GOVERNED")])
                .is_ok_and(|entries| entries == governed as f64)
        })
    }

    fn server(&self) -> Result<Value> {
        self.agent.status()?["servers"].get(0).cloned().context("no server")
    }

    /// A call that is allowed is answered, and one that is denied is not, at the address of this server.
    fn is_governed_at(&self, server: &Server) -> Result<()> {
        let client = self.pod.mcp(&server.url());
        let sum = client.call("add", json!({"a": 1, "b": 2}))?;
        assert_eq!(sum.text(), Some("3"), "{sum:?}");
        let denied = client.call("delete_everything", json!({}))?;
        assert_eq!(denied.error_code(), Some(-32602), "{denied:?}");
        assert_eq!(server.direct_from(&self.pod), 0);
        Ok(())
    }
}

#[test]
fn a_captured_host_is_governed_where_dns_says_and_where_it_said_before() -> Result<()> {
    let mut scene = Named::new("capture: Redirect")?;
    scene.is_governed_at(&scene.first)?;
    let status = scene.server()?;
    assert_eq!(
        (&status["capture"], &status["programmed"]),
        (&json!("Redirect"), &json!("BestEffort(DNS)"))
    );

    // It moves. Who still knows the old address gets to the server all the same, and not round us.
    scene.names.say(NAME, &[scene.second.pod().ipv4()]);
    scene.found(&[scene.second.pod().ipv4()], 2)?;
    let before = scene.first.executed("add")?;
    scene.is_governed_at(&scene.second)?;
    scene.is_governed_at(&scene.first)?;
    assert_eq!(scene.first.executed("add")?, before, "calls go where the host is now");
    assert_eq!(scene.second.executed("add")?, 2);

    // Addresses stay governed over the agent's death, and over its restart while DNS is silent.
    scene.agent.kill()?;
    for server in [&scene.first, &scene.second] {
        assert!(scene.pod.connect(server.address(), &[])?.refused());
    }
    let Named {
        mut agent,
        pod,
        first,
        second,
        names,
        ..
    } = scene;
    drop(names);
    agent.restart()?;
    await_state(&agent, "agents/agent", "enforced")?;
    for server in [&first, &second] {
        let client = pod.mcp(&server.url());
        let answer = client.call("add", json!({"a": 1, "b": 2}))?;
        assert_eq!(answer.text(), None, "nobody knows whose address that is: {answer:?}");
        assert_eq!(server.direct_from(&pod), 0);
    }
    Ok(())
}

#[test]
fn a_host_behind_the_gateway_is_dialled_by_nobody_who_is_governed() -> Result<()> {
    let scene = Named::new("capture: GatewayOnly")?;
    assert!(scene.pod.connect(scene.first.address(), &[])?.refused());
    scene.names.say(NAME, &[scene.second.pod().ipv4()]);
    scene.found(&[scene.second.pod().ipv4()], 2)?;
    for server in [&scene.first, &scene.second] {
        until(SOON, "dials to be refused", || {
            scene
                .pod
                .connect(server.address(), &[])
                .is_ok_and(|dialled| dialled.refused())
        })?;
    }
    assert_eq!(scene.first.direct_from(&scene.pod), 0);
    Ok(())
}

/// Whoever answers for a name in DNS must choose neither what the agent dials nor what others may not dial.
#[test]
fn a_name_leads_nobody_to_the_node_itself_nor_to_its_api_server() -> Result<()> {
    let scene = Named::with("capture: GatewayOnly", true)?;
    let (node, api_server) = (scene.pod.gateway_ipv4(), scene.second.pod().ipv4());
    let port = scene.first.address().port();
    for (refused, what) in [
        (node, "the node itself"),
        (api_server, "API server"),
        (Ipv4Addr::LOCALHOST, "loopback"),
        (Ipv4Addr::new(169, 254, 1, 1), "link-local"),
    ] {
        scene.names.say(NAME, &[refused, scene.first.pod().ipv4()]);
        let told = format!("AddressNotAllowed: {NAME} is {refused}");
        until(ASKED_AGAIN, "the address to be refused", || {
            let problems = scene.server().unwrap_or_default()["problems"].to_string();
            problems.contains(&told) && problems.contains(what)
        })?;
        // What else it is, it stays.
        scene.found(&[scene.first.pod().ipv4()], 1)?;
    }
    scene.names.say(NAME, &[node, api_server]);
    scene.found(&[], 1)?;
    // Nobody listens there on the node; and the kernel has no word in either.
    assert!(scene.pod.connect((api_server, port).into(), &[])?.connected);
    assert!(scene.second.direct_from(&scene.pod) > 0);
    let refused = [("decision", "refuse")];
    let before = scene.agent.metric("mcpgw_connects_total", &refused)?;
    let _ = scene.pod.connect((node, port).into(), &[])?;
    assert_eq!(scene.agent.metric("mcpgw_connects_total", &refused)?, before);
    assert_eq!(scene.second.from_node(), 0, "the agent has not dialled it");
    Ok(())
}
