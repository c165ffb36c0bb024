//! A workload may have only so many connections waiting to be accepted.

use anyhow::Result;
use mcpgw_common::layout::QUOTA;
use mcpgw_tests::{McpPeer, resources, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::scene::{SOON, Scene};

#[test]
fn beyond_the_quota_a_workload_is_refused_in_the_kernel_and_others_are_not() -> Result<()> {
    const MORE: u64 = QUOTA + 100;
    let mut scene = Scene::with(McpPeer::Echo, &[], |_| Ok(()))?;
    let other = scene.node.pod("other").build()?;
    scene.node.configure(
        "other.yaml",
        &[resources::workload("agents", "other", &other, "enforce")],
    )?;
    scene.await_state("agents/other", "enforced")?;

    // Nobody accepts, but the listener is there.
    scene.agent.process().signal(Signal::SIGSTOP)?;
    let target = format!("{}=calculator", scene.server.address());
    let many = MORE.to_string();
    let arguments = [
        "stress",
        &target,
        "--connections",
        &many,
        "--concurrency",
        &many,
        "--timeout-ms",
        "4000",
    ];
    let report: Value = scene.pod.probe(&arguments, b"")?;
    let waiting = other.connect(scene.server.address(), &[])?;
    scene.agent.process().signal(Signal::SIGCONT)?;

    assert!(
        waiting.connected,
        "the other workload has a quota of its own: {waiting:?}"
    );
    let refused = report["refused"].as_u64().unwrap_or(0);
    assert!(
        (90..=100).contains(&refused),
        "QUOTA may wait, and a few more while CPUs race: {report}"
    );
    assert_eq!(report["answered"], 0, "{report}");
    scene.await_metric("mcpgw_connects_total", &[("reason", "quota")], refused as f64)?;

    // What waited is accepted or dropped, and the place is free again.
    until(SOON, "the quota to be free again", || {
        let arguments = ["stress", &target, "--connections", "50", "--concurrency", "8"];
        scene
            .pod
            .probe::<Value>(&arguments, b"")
            .is_ok_and(|report| report["answered"] == json!(50))
    })?;
    assert_eq!(
        scene.server.direct_from(&scene.pod) + scene.server.direct_from(&other),
        0
    );
    Ok(())
}
