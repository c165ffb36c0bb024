//! A governed pod's calls reach the server through the agent, or not at all, whatever kind of socket dials.

use std::net::IpAddr;

use anyhow::Result;
use mcpgw_tests::{Era, McpPeer, echo_request};
use serde_json::json;

use crate::scene::{Scene, tool_call};

#[test]
fn an_allowed_call_is_redirected_and_a_denied_one_reaches_nobody_and_both_are_audited() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    let client = scene.pod.mcp(&scene.server.url());

    let answer = client.call("add", json!({"a": 19, "b": 23}))?;
    assert_eq!(answer.text(), Some("42"), "{answer:?}");
    let line = scene.agent.audit_after(0, "the allowed call", tool_call("add", "ok"))?;
    assert_eq!(line["decision"], "allow", "{line}");
    assert_eq!(line["path"], "redirected");
    assert_eq!(line["server"], "tools/calculator");
    assert_eq!(line["identity"]["namespace"], "agents");
    assert_eq!(line["identity"]["serviceAccount"], "research");
    assert!(line["identity"]["pid"].as_u64().is_some_and(|pid| pid > 1), "{line}");
    assert!(
        line["identity"]["executable"]
            .as_str()
            .is_some_and(|path| path.ends_with("rmcp-client")),
        "{line}"
    );
    let container = scene.pod.container().path();
    assert_eq!(
        line["identity"]["container"].as_str(),
        container.file_name().and_then(|name| name.to_str()),
        "{line}"
    );

    let answer = client.call("delete_everything", json!({}))?;
    assert_eq!(answer.error_kind(), Some("rpc"), "{answer:?}");
    assert_eq!(answer.error_code(), Some(-32602));
    assert!(
        answer
            .error_message()
            .is_some_and(|m| m.contains("Unknown tool: delete_everything")),
        "{answer:?}"
    );
    let line = scene
        .agent
        .audit_after(0, "the denied call", tool_call("delete_everything", "denied"))?;
    assert_eq!(line["decision"], "deny", "{line}");
    assert_eq!(line["identity"]["serviceAccount"], "research");

    assert_eq!(scene.server.executed("add")?, 1);
    assert_eq!(scene.server.executed("delete_everything")?, 0);
    assert_eq!(
        scene.server.direct_from(&scene.pod),
        0,
        "the pod reached the server directly"
    );
    assert!(scene.server.from_node() > 0);
    assert_eq!(scene.server.counter().lost(), 0);
    Ok(())
}

#[test]
fn every_call_is_counted_once() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    let client = scene.pod.mcp(&scene.server.url());
    client.session(&[("add", json!({"a": 1, "b": 2})), ("add", json!({"a": 3, "b": 4}))])?;
    client.call("delete_everything", json!({}))?;

    let series = |outcome| {
        let labels = [
            ("mcp_server_namespace", "tools"),
            ("mcp_server_name", "calculator"),
            ("outcome", outcome),
            ("path", "redirected"),
            ("source_namespace", "agents"),
            ("source_service_account", "research"),
        ];
        scene.agent.metric("mcp_tool_calls_total", &labels)
    };
    scene
        .agent
        .audit_after(0, "the denied call", tool_call("delete_everything", "denied"))?;
    assert_eq!(series("ok")?, 2.0, "{}", scene.agent.metrics()?);
    assert_eq!(series("denied")?, 1.0);
    assert_eq!(scene.agent.metric("mcp_tool_call_duration_seconds_count", &[])?, 3.0);
    let redirected = [("decision", "redirect"), ("reason", "governed")];
    scene.await_metric("mcpgw_connects_total", &redirected, 2.0)
}

#[test]
fn both_eras_and_both_families_are_governed() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    for url in [scene.server.url(), scene.server.url_v6()] {
        for era in [Era::Legacy, Era::Modern, Era::Auto] {
            let client = scene.pod.mcp(&url).era(era);
            let answer = client.call("echo", json!({"message": "hallo"}))?;
            assert_eq!(answer.text(), Some("hallo"), "{url} {era:?}: {answer:?}");
            let denied = client.call("delete_everything", json!({}))?;
            assert_eq!(denied.error_code(), Some(-32602), "{url} {era:?}: {denied:?}");
        }
    }
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    assert_eq!(scene.server.executed("delete_everything")?, 0);
    Ok(())
}

#[test]
fn an_unmodified_npm_server_is_governed() -> Result<()> {
    let scene = Scene::with(
        McpPeer::Everything,
        &["{action: Allow, tools: [\"echo\", \"get-sum\"]}"],
        |_| Ok(()),
    )?;
    let client = scene.pod.mcp(&scene.server.url());
    let tools = client.list()?;
    assert!(tools.iter().any(|tool| tool == "echo"), "{tools:?}");
    let answer = client.call("echo", json!({"message": "hallo"}))?;
    assert!(answer.text().is_some_and(|text| text.contains("hallo")), "{answer:?}");
    let denied = client.call("get-env", json!({}))?;
    assert_eq!(denied.error_code(), Some(-32602), "{denied:?}");
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    Ok(())
}

#[test]
fn every_kind_of_socket_arrives_with_its_own_destination() -> Result<()> {
    let scene = Scene::with(McpPeer::Echo, &[], |_| Ok(()))?;
    let (v4, v6) = (scene.server.address(), scene.server.address_v6());
    let source = format!("{}:0", scene.pod.ipv4());
    let dials: [(_, &[&str]); 6] = [
        (v4, &[]),
        (v6, &[]),
        (v4, &["--mapped"]),
        (v4, &["--device", "eth0"]),
        (v6, &["--device", "eth0"]),
        (v4, &["--source", &source]),
    ];
    for (number, (address, options)) in dials.into_iter().enumerate() {
        let nonce = format!("nonce-{number}");
        let answer = scene
            .pod
            .send(address, &post(&echo_request(&nonce).to_string()), options)?;
        assert!(answer.connected, "{options:?}: {answer:?}");
        assert!(answer.received.contains(&nonce), "{options:?}: {answer:?}");
        assert_eq!(
            answer.peer.map(|peer| (peer.ip().to_canonical(), peer.port())),
            Some((address.ip(), address.port())),
            "the application sees the address that it dialled"
        );
        let line = scene
            .agent
            .audit_after(0, &nonce, |line| line["requestId"] == nonce.as_str())?;
        assert_eq!(line["destination"], address.to_string(), "{line}");
    }
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    Ok(())
}

#[test]
fn the_listener_can_be_neither_dialled_nor_bound() -> Result<()> {
    let scene = Scene::with(McpPeer::Echo, &[], |_| Ok(()))?;
    for listener in ["127.0.0.1:17017", "0.0.0.0:17017", "[::1]:17017", "[::]:17017"] {
        let dialled = scene.pod.connect(listener.parse()?, &[])?;
        assert!(dialled.refused(), "{listener}: {dialled:?}");
        let bound: mcpgw_tests::Dialled = scene.pod.probe(&["bind", listener], b"")?;
        assert_eq!(bound.errno, Some(libc::EPERM), "{listener}: {bound:?}");
    }
    let mapped = scene.pod.connect("127.0.0.1:17017".parse()?, &["--mapped"])?;
    assert!(mapped.refused(), "{mapped:?}");
    let other: mcpgw_tests::Dialled = scene.pod.probe(&["bind", "127.0.0.1:17018"], b"")?;
    assert!(other.connected, "{other:?}");
    let udp: mcpgw_tests::Dialled = scene.pod.probe(&["bind", "127.0.0.1:17017", "--udp"], b"")?;
    assert!(udp.connected, "UDP is not the listener's: {udp:?}");
    Ok(())
}

#[test]
fn a_connection_that_was_not_redirected_is_closed_and_counted() -> Result<()> {
    let scene = Scene::with(McpPeer::Echo, &[], |_| Ok(()))?;
    // A process outside of every governed cgroup, in the pod's namespace: the hooks do not see it.
    let mut command = scene.pod.command_of_the_node(mcpgw_tests::binary("pod-probe")?)?;
    command.args(["send", "127.0.0.1:17017"]);
    let answer: mcpgw_tests::Dialled = mcpgw_tests::run_probe(command, &post(&echo_request("stray").to_string()))?;
    assert!(!answer.received.contains("stray"), "{answer:?}");
    assert!(matches!(answer.end.as_str(), "eof" | "reset"), "{answer:?}");
    mcpgw_tests::until(crate::scene::SOON, "the stray connection to be counted", || {
        scene
            .agent
            .metric("mcpgw_original_dst_missing_total", &[])
            .is_ok_and(|count| count >= 1.0)
    })?;
    assert_eq!(scene.server.counter().syns_from(IpAddr::from(scene.pod.ipv4())), 0);
    Ok(())
}

#[test]
fn udp_to_a_governed_address_is_refused() -> Result<()> {
    let scene = Scene::with(McpPeer::Echo, &[], |_| Ok(()))?;
    let dialled = scene.pod.connect(scene.server.address(), &["--udp"])?;
    assert!(!dialled.connected, "{dialled:?}");
    Ok(())
}

/// A POST of a JSON body to the MCP endpoint, over a connection that ends with the answer.
pub fn post(body: &str) -> Vec<u8> {
    format!(
        "POST /mcp HTTP/1.1\r\nhost: calculator\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
