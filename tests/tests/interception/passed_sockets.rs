//! Sockets that change hands: the socket's namespace and the dialling task must belong to one workload.

use anyhow::Result;
use mcpgw_tests::{Dialled, McpPeer, Pod, binary, resources, run_probe};

use crate::scene::Scene;

/// Passes an unconnected socket that `maker` made to `dialler`, which dials `address`.
fn pass(scene: &Scene, name: &str, maker: &Pod, dialler: &Pod) -> Result<Dialled> {
    let path = scene.pod.shared_path(name);
    let path = path.to_string_lossy().into_owned();
    let address = scene.server.address().to_string();
    std::thread::scope(|scope| {
        let made = scope.spawn(|| maker.probe::<serde_json::Value>(&["pass-socket", &path], b""));
        let dialled = dialler.probe(&["connect-passed", &path, &address], b"");
        made.join().unwrap_or_else(|_| anyhow::bail!("the maker panicked"))?;
        dialled
    })
}

#[test]
fn a_socket_passed_between_two_workloads_is_refused() -> Result<()> {
    let scene = Scene::new(McpPeer::Echo)?;
    let other = scene.node.pod("other").build()?;
    scene.node.configure(
        "other.yaml",
        &[resources::workload("agents", "other", &other, "enforce")],
    )?;
    scene.await_state("agents/other", "enforced")?;

    let own = pass(&scene, "own", &scene.pod, &scene.pod)?;
    assert!(own.connected, "within one workload a socket may change hands: {own:?}");
    for (name, maker, dialler) in [("there", &scene.pod, &other), ("back", &other, &scene.pod)] {
        let dialled = pass(&scene, name, maker, dialler)?;
        assert!(dialled.refused(), "{name}: {dialled:?}");
    }
    assert_eq!(
        scene.server.direct_from(&scene.pod) + scene.server.direct_from(&other),
        0
    );
    scene.await_metric("mcpgw_connects_total", &[("reason", "identity_mismatch")], 2.0)
}

#[test]
fn an_enforced_workloads_socket_is_not_freed_by_one_that_is_off_or_unknown() -> Result<()> {
    let scene = Scene::new(McpPeer::Echo)?;
    let (free, unknown) = (scene.node.pod("free").build()?, scene.node.pod("unknown").build()?);
    scene
        .node
        .configure("free.yaml", &[resources::workload("agents", "free", &free, "off")])?;
    scene.await_state("agents/free", "off")?;
    for (name, dialler) in [("free", &free), ("unknown", &unknown)] {
        let dialled = pass(&scene, name, &scene.pod, dialler)?;
        assert!(dialled.refused(), "{name}: {dialled:?}");
    }
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    Ok(())
}

#[test]
fn a_process_in_one_workloads_namespace_and_anothers_cgroup_is_refused() -> Result<()> {
    let scene = Scene::new(McpPeer::Echo)?;
    let other = scene.node.pod("other").build()?;
    scene.node.configure(
        "other.yaml",
        &[resources::workload("agents", "other", &other, "enforce")],
    )?;
    scene.await_state("agents/other", "enforced")?;
    let mut command = scene.pod.command_in_cgroup_of(&other, binary("pod-probe")?)?;
    command.args(["connect", &scene.server.address().to_string()]);
    let dialled: Dialled = run_probe(command, b"")?;
    assert!(dialled.refused(), "{dialled:?}");
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    Ok(())
}
