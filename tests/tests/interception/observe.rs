//! Workloads that are only observed: what they get is what they would get without us, and what they would not get under
//! the rules is recorded.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use mcpgw_tests::{Agent, McpPeer, Node, Pod, Server, resources, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::scene::{SOON, await_state};

/// For the lease of an agent that hangs to run out, and as long again.
const LEASE: Duration = Duration::from_secs(10);

/// A server under a policy that denies everything, a pod that is observed, and one that is governed. The fields end
/// in this order.
struct Observed {
    agent: Agent,
    pod: Pod,
    governed: Pod,
    server: Server,
    _node: Node,
}

impl Observed {
    /// `more`: lines of the server's spec.
    fn new(peer: McpPeer, more: &str) -> Result<Self> {
        let node = Node::new()?;
        let server = node.server("calculator", peer)?;
        let (pod, governed) = (node.pod("watched").build()?, node.pod("agent").build()?);
        node.configure(
            "node.yaml",
            &[
                resources::mcp_server("tools", "calculator", &server.addresses(), "/mcp") + more,
                resources::workload("agents", "research", &pod, "observe"),
                resources::workload("agents", "research", &governed, "enforce"),
                resources::policy("tools", "nothing", &["{action: Deny}"]),
            ],
        )?;
        let agent = node.agent()?;
        await_state(&agent, "agents/watched", "observed")?;
        await_state(&agent, "agents/agent", "enforced")?;
        Ok(Self {
            agent,
            pod,
            governed,
            server,
            _node: node,
        })
    }

    /// The sum that the server makes for the observed pod.
    fn sum(&self) -> Result<Option<String>> {
        let client = self.pod.mcp(&self.server.url());
        let answer = client.call("add", json!({"a": 1, "b": 2}))?;
        Ok(answer.text().map(ToOwned::to_owned))
    }

    /// Whether the observed pod's next dial goes straight to the server.
    fn dials_directly(&self) -> bool {
        let before = self.server.direct_from(&self.pod);
        let dialled = self.pod.connect(self.server.address(), &[]);
        dialled.is_ok_and(|dialled| dialled.connected) && self.server.direct_from(&self.pod) > before
    }
}

#[test]
fn an_observed_workload_gets_what_it_is_denied_and_that_is_recorded() -> Result<()> {
    let scene = Observed::new(McpPeer::Rmcp, "")?;
    assert_eq!(scene.sum()?.as_deref(), Some("3"));
    let line = scene.agent.audit_after(0, "the call", |line| {
        line["tool"] == "add" && line["event"] == "tool_call"
    })?;
    assert_eq!(line["decision"], "would_deny", "{line}");
    assert_eq!(line["outcome"], "ok", "{line}");
    assert_eq!(line["status"], 200, "{line}");
    assert!(
        line["rule"].as_str().is_some_and(|rule| rule.contains("nothing")),
        "{line}"
    );
    assert_eq!(scene.server.executed("add")?, 1);
    assert_eq!(scene.server.direct_from(&scene.pod), 0, "it went through the agent");
    let denied = scene
        .governed
        .mcp(&scene.server.url())
        .call("add", json!({"a": 1, "b": 2}))?;
    assert_eq!(denied.error_code(), Some(-32602), "the rules are in force: {denied:?}");
    // It may bind whatever port it likes, and nobody's connections were ended for it.
    let bound: Value = scene.pod.probe(&["bind", "127.0.0.2:17017"], b"")?;
    assert_eq!(bound["connected"], true, "{bound}");
    assert_eq!(scene.agent.status()?["datapath"]["sockets_destroyed"], 0);
    Ok(())
}

#[test]
fn bytes_of_any_kind_are_the_same_both_ways() -> Result<()> {
    let scene = Observed::new(McpPeer::Raw, "")?;
    let noise: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let begins = |first: &[u8]| [first, &noise[..100_000]].concat();
    let kinds: [(&str, Vec<u8>); 6] = [
        ("not_http", begins(b"SSH-2.0-x\r\n")),
        ("tls", begins(b"\x16\x03\x01\x02\x00\x01")),
        ("http2_unobserved", begins(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
        ("bad_http", begins(b"POST /mcp HTTP/1.1\r\nhost\x00: x\r\n\r\n")),
        ("http_version", b"GET /mcp HTTP/1.0\r\n\r\n".to_vec()),
        ("not_http", noise.clone()),
    ];
    for (reason, bytes) in kinds {
        let mark = scene.agent.audit_mark();
        for address in scene.server.addresses() {
            let echoed = scene.pod.send(address, &bytes, &["--half-close"])?;
            let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(
                echoed.received_hex == expected,
                "{reason}: the bytes changed on the way"
            );
            assert_eq!((echoed.end.as_str(), echoed.peer), ("eof", Some(address)));
        }
        let line = scene.agent.audit_after(mark, reason, |line| line["reason"] == reason)?;
        assert_eq!(line["event"], "would_deny", "{line}");
    }
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    Ok(())
}

#[test]
fn without_an_agent_an_observed_workload_dials_directly_and_a_governed_one_not_at_all() -> Result<()> {
    let mut scene = Observed::new(McpPeer::Rmcp, "")?;
    let (v4, v6): (SocketAddr, _) = (scene.server.address(), scene.server.address_v6());
    assert!(!scene.dials_directly());
    for graceful in [false, true] {
        match graceful {
            true => scene.agent.terminate()?,
            false => scene.agent.kill()?,
        };
        for (address, options) in [
            (v4, [].as_slice()),
            (v6, &[]),
            (v4, &["--mapped"]),
            (v4, &["--device", "eth0"]),
        ] {
            let dialled = scene.pod.connect(address, options)?;
            assert!(dialled.connected, "{address} {options:?}: {dialled:?}");
            assert!(scene.governed.connect(address, options)?.refused());
        }
        assert!(scene.dials_directly());
        assert_eq!(scene.sum()?.as_deref(), Some("3"));
        scene.agent.restart()?;
        await_state(&scene.agent, "agents/watched", "observed")?;
        assert!(!scene.dials_directly());
    }
    assert_eq!(scene.server.direct_from(&scene.governed), 0);
    Ok(())
}

#[test]
fn an_agent_that_hangs_loses_its_lease() -> Result<()> {
    let mut scene = Observed::new(McpPeer::Rmcp, "")?;
    scene.agent.process().signal(Signal::SIGSTOP)?;
    let direct = until(LEASE, "dials to go direct", || scene.dials_directly());
    scene.agent.process().signal(Signal::SIGCONT)?;
    direct?;
    until(SOON, "dials to be observed again", || !scene.dials_directly())?;
    assert_eq!(scene.sum()?.as_deref(), Some("3"));
    Ok(())
}

#[test]
fn what_is_refused_to_others_in_the_kernel_is_not_to_an_observed_workload() -> Result<()> {
    let scene = Observed::new(McpPeer::Rmcp, "  capture: GatewayOnly\n")?;
    assert!(scene.governed.connect(scene.server.address(), &[])?.refused());
    assert_eq!(scene.sum()?.as_deref(), Some("3"));
    let line = scene
        .agent
        .audit_after(0, "the call", |line| line["reason"] == "gateway_only")?;
    assert_eq!(line["event"], "would_deny", "{line}");
    // UDP is nobody's business but its own.
    assert!(scene.pod.connect(scene.server.address(), &["--udp"])?.connected);
    assert!(scene.governed.connect(scene.server.address(), &["--udp"])?.refused());
    Ok(())
}
