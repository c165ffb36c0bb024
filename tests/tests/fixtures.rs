//! The fixtures themselves: a pod reaches a server directly, and nothing is left of them afterwards.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use mcpgw_tests::{Era, McpPeer, Node, until};
use serde_json::json;

#[test]
fn a_pod_reaches_a_server_directly_over_both_families() -> Result<()> {
    let node = Node::new()?;
    let server = node.server("tools", McpPeer::Rmcp)?;
    let pod = node.pod("agent").build()?;

    let answer = pod.mcp(&server.url()).call("add", json!({"a": 19, "b": 23}))?;
    assert_eq!(answer.text(), Some("42"), "{answer:?}");
    let v4 = server.counter().syns_from(pod.ipv4());
    assert!(v4 > 0, "no SYN from {}: {:?}", pod.ipv4(), server.counter().syns());
    assert_eq!(server.counter().syns_from(pod.ipv6()), 0);

    let answer = pod
        .mcp(&server.url_v6())
        .era(Era::Modern)
        .call("echo", json!({"message": "hallo"}))?;
    assert_eq!(answer.text(), Some("hallo"), "{answer:?}");
    assert!(server.counter().syns_from(pod.ipv6()) > 0);
    assert_eq!(server.counter().syns_from(pod.ipv4()), v4);

    assert_eq!(server.executed("add")?, 1);
    assert_eq!(server.executed("echo")?, 1);
    assert_eq!(server.executed("delete_everything")?, 0);
    assert_eq!(server.from_node(), 0);
    assert_eq!(server.counter().lost(), 0);
    Ok(())
}

#[test]
fn raw_sockets_tell_what_became_of_them() -> Result<()> {
    let node = Node::new()?;
    let server = node.server("raw", McpPeer::Raw)?;
    let pod = node.pod("agent").build()?;

    let echoed = pod.send(
        server.address(),
        b"\x00\xffbytes",
        &["--half-close", "--device", "eth0"],
    )?;
    assert_eq!(
        (echoed.received_hex.as_str(), echoed.end.as_str()),
        ("00ff6279746573", "eof"),
        "{echoed:?}"
    );
    let mapped = pod.connect(server.address(), &["--mapped"])?;
    assert_eq!(
        mapped.peer.map(|peer| peer.ip().to_canonical()),
        Some(server.address().ip())
    );
    let closed = pod.connect((server.pod().ipv4(), 9).into(), &[])?;
    assert!(closed.refused(), "{closed:?}");
    Ok(())
}

#[test]
fn nothing_is_left_when_a_node_is_dropped() -> Result<()> {
    let node = Node::new()?;
    let pod = node.pod("agent").without_ipv6().build()?;
    let cookie = pod.netns().cookie()?;
    assert_ne!(cookie, node.netns().cookie()?);
    let cgroups = node.cgroup().directory().to_owned();
    let directory = node.state_directory();
    let processes = fs::read_to_string(pod.container().directory().join("cgroup.procs"))?;
    let pause = processes.trim().to_owned();
    assert!(Path::new("/proc").join(&pause).exists());

    drop((pod, node));
    assert!(!cgroups.exists());
    assert!(!directory.exists());
    until(Duration::from_secs(2), "the pause process to be gone", || {
        !Path::new("/proc").join(&pause).exists()
    })
}
