//! From a resource to a governed workload, and what keeps it from becoming one.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use mcpgw_tests::{McpPeer, Node, Process, Qos, Server, binary, resources, until};
use serde_json::json;

use crate::scene::{SOON, await_state};

/// A node with a server whose address is governed, and no workload yet.
fn node() -> Result<(Node, Server)> {
    let node = Node::new()?;
    let server = node.server("calculator", McpPeer::Rmcp)?;
    node.configure(
        "server.yaml",
        &[resources::mcp_server(
            "tools",
            "calculator",
            &server.addresses(),
            "/mcp",
        )],
    )?;
    Ok((node, server))
}

#[test]
fn a_workload_whose_cgroup_is_made_later_is_governed_then() -> Result<()> {
    let (node, server) = node()?;
    let builder = node.pod("late");
    let document = format!(
        "apiVersion: mcpgw.dev/v1alpha1\nkind: Workload\nmetadata: {{namespace: agents, name: late}}\n\
         spec: {{mode: enforce, cgroup: {}}}\n",
        builder.cgroup_path().display()
    );
    node.configure("late.yaml", &[document])?;
    let agent = node.agent()?;
    await_state(&agent, "agents/late", "pending:cgroup-missing")?;
    let pod = builder.build()?;
    await_state(&agent, "agents/late", "enforced")?;
    let answer = pod.mcp(&server.url()).call("add", json!({"a": 1, "b": 2}))?;
    assert_eq!(answer.text(), Some("3"));
    assert_eq!(server.direct_from(&pod), 0);
    Ok(())
}

#[test]
fn every_quality_of_service_is_governed() -> Result<()> {
    let (node, server) = node()?;
    let pods = [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort]
        .map(|qos| node.pod(&format!("{qos:?}").to_lowercase()).qos(qos).build());
    let pods = pods.into_iter().collect::<Result<Vec<_>>>()?;
    let documents: Vec<_> = pods
        .iter()
        .map(|pod| resources::workload("agents", "sa", pod, "enforce"))
        .collect();
    node.configure("pods.yaml", &documents)?;
    let agent = node.agent()?;
    for pod in &pods {
        await_state(&agent, &format!("agents/{}", pod.name()), "enforced")?;
        let answer = pod.mcp(&server.url()).call("add", json!({"a": 1, "b": 2}))?;
        assert_eq!(answer.text(), Some("3"));
        assert_eq!(server.direct_from(pod), 0, "{}", pod.name());
    }
    Ok(())
}

#[test]
fn while_loopback_is_down_the_workload_is_pending_and_refused_and_then_governed() -> Result<()> {
    let (node, server) = node()?;
    let pod = node.pod("agent").loopback_down().build()?;
    node.configure("pod.yaml", &[resources::workload("agents", "sa", &pod, "enforce")])?;
    let agent = node.agent()?;
    await_state(&agent, "agents/agent", "pending:loopback-down")?;
    assert!(pod.connect(server.address(), &[])?.refused());
    pod.loopback(true)?;
    await_state(&agent, "agents/agent", "enforced")?;
    assert!(pod.connect(server.address(), &[])?.connected);
    assert_eq!(server.direct_from(&pod), 0);
    Ok(())
}

#[test]
fn a_pod_that_holds_the_listener_port_is_refused_and_everyone_else_works() -> Result<()> {
    let (node, server) = node()?;
    let (squatter, other) = (node.pod("squatter").build()?, node.pod("other").build()?);
    let mut command = squatter.command(binary("echo-server")?)?;
    command.args(["--port", "17017", "--name", "squatter"]);
    let _listening = Process::spawn("squatter", command)?;
    until(SOON, "the squatter to listen", || {
        squatter
            .connect(([127, 0, 0, 1], 17017).into(), &[])
            .is_ok_and(|dialled| dialled.connected)
    })?;
    let documents = [&squatter, &other].map(|pod| resources::workload("agents", "sa", pod, "enforce"));
    node.configure("pods.yaml", &documents)?;
    let agent = node.agent()?;
    await_state(&agent, "agents/squatter", "refused:port-in-use")?;
    await_state(&agent, "agents/other", "enforced")?;
    assert!(squatter.connect(server.address(), &[])?.refused());
    assert!(other.connect(server.address(), &[])?.connected);
    assert_eq!(server.direct_from(&squatter), 0);
    Ok(())
}

#[test]
fn a_listener_port_within_the_pods_local_range_is_refused() -> Result<()> {
    let (node, server) = node()?;
    let pod = node.pod("agent").build()?;
    pod.sysctl("net/ipv4/ip_local_port_range", "17000 18000")?;
    node.configure("pod.yaml", &[resources::workload("agents", "sa", &pod, "enforce")])?;
    let agent = node.agent()?;
    await_state(&agent, "agents/agent", "refused:port-in-local-range")?;
    assert!(pod.connect(server.address(), &[])?.refused());
    assert_eq!(server.direct_from(&pod), 0);
    Ok(())
}

#[test]
fn a_pod_without_ipv6_is_governed_over_ipv4_and_its_native_ipv6_sockets_reach_nobody() -> Result<()> {
    let (node, server) = node()?;
    let pod = node.pod("agent").without_ipv6().build()?;
    node.configure("pod.yaml", &[resources::workload("agents", "sa", &pod, "enforce")])?;
    let agent = node.agent()?;
    await_state(&agent, "agents/agent", "enforced")?;
    let answer = pod.mcp(&server.url()).call("add", json!({"a": 1, "b": 2}))?;
    assert_eq!(answer.text(), Some("3"));
    assert!(!pod.connect(server.address_v6(), &[])?.connected);
    assert_eq!(server.direct_from(&pod), 0);
    Ok(())
}

#[test]
fn a_workload_in_the_nodes_own_namespace_is_refused() -> Result<()> {
    let (node, _server) = node()?;
    let pod = node.pod("agent").build()?;
    let document = format!(
        "apiVersion: mcpgw.dev/v1alpha1\nkind: Workload\nmetadata: {{namespace: agents, name: agent}}\n\
         spec: {{mode: enforce, cgroup: {}, networkNamespace: {{path: {}}}}}\n",
        pod.cgroup_path().display(),
        node.netns().path().display()
    );
    node.configure("pod.yaml", &[document])?;
    let agent = node.agent()?;
    await_state(&agent, "agents/agent", "refused:host-network")
}

#[test]
fn a_namespace_that_a_path_names_is_governed_until_the_path_is_gone() -> Result<()> {
    let (node, server) = node()?;
    let pod = node.pod("agent").build()?;
    let name = pod.shared_path("netns");
    std::os::unix::fs::symlink(pod.netns().path(), &name)?;
    let document = format!(
        "apiVersion: mcpgw.dev/v1alpha1\nkind: Workload\nmetadata: {{namespace: agents, name: agent}}\n\
         spec: {{mode: enforce, cgroup: {}, networkNamespace: {{path: {}}}}}\n",
        pod.cgroup_path().display(),
        name.display()
    );
    node.configure("pod.yaml", &[document])?;
    let agent = node.agent()?;
    await_state(&agent, "agents/agent", "enforced")?;
    assert!(pod.connect(server.address(), &[])?.connected);
    std::fs::remove_file(&name)?;
    await_state(&agent, "agents/agent", "pending:network-namespace-missing")?;
    assert!(
        pod.connect(server.address(), &[])?.refused(),
        "known, and so refused rather than direct"
    );
    assert_eq!(server.direct_from(&pod), 0);
    Ok(())
}

/// A pod that can write where its namespace is named puts there what blocks who opens it.
#[test]
fn what_is_no_namespace_is_refused_and_holds_up_nobody_else() -> Result<()> {
    let (node, server) = node()?;
    let (hostile, other) = (node.pod("hostile").build()?, node.pod("other").build()?);
    let fifo = hostile.shared_path("netns");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
    let document = format!(
        "apiVersion: mcpgw.dev/v1alpha1\nkind: Workload\nmetadata: {{namespace: agents, name: hostile}}\n\
         spec: {{mode: enforce, cgroup: {}, networkNamespace: {{path: {}}}}}\n",
        hostile.cgroup_path().display(),
        fifo.display()
    );
    node.configure(
        "pods.yaml",
        &[document, resources::workload("agents", "sa", &other, "enforce")],
    )?;
    let agent = node.agent()?;
    await_state(&agent, "agents/other", "enforced")?;
    await_state(&agent, "agents/hostile", "refused:network-namespace (not a namespace)")?;
    assert!(hostile.connect(server.address(), &[])?.refused());
    assert!(other.connect(server.address(), &[])?.connected);
    assert_eq!(server.direct_from(&hostile) + server.direct_from(&other), 0);
    std::fs::remove_file(&fifo)?;
    std::os::unix::fs::symlink(hostile.netns().path(), &fifo)?;
    await_state(&agent, "agents/hostile", "enforced")
}

#[test]
fn connections_that_were_open_before_are_ended_at_enrolment_and_for_a_new_address() -> Result<()> {
    let node = Node::new()?;
    let (first, second) = (
        node.server("first", McpPeer::Raw)?,
        node.server("second", McpPeer::Raw)?,
    );
    let pod = node.pod("agent").build()?;
    node.configure("pod.yaml", &[resources::workload("agents", "sa", &pod, "enforce")])?;
    let agent = node.agent()?;
    await_state(&agent, "agents/agent", "enforced")?;
    // Each dials directly, sends a byte, and then waits for more than it will get.
    let open = |address: SocketAddr, options: &'static [&'static str]| pod.send(address, b"x", options);
    std::thread::scope(|scope| -> Result<()> {
        for (server, options) in [(&first, [].as_slice()), (&second, &["--mapped"])] {
            let held = scope.spawn(move || open(server.address(), options));
            until(SOON, "the connection to be open", || server.direct_from(&pod) > 0)?;
            let document = resources::mcp_server("tools", server.pod().name(), &server.addresses(), "/mcp");
            node.configure(&format!("{}.yaml", server.pod().name()), &[document])?;
            let ended = held
                .join()
                .unwrap_or_else(|_| anyhow::bail!("the connection panicked"))?;
            assert!(ended.connected, "{ended:?}");
            assert_eq!(ended.errno, Some(libc::ECONNABORTED), "{ended:?}");
        }
        Ok(())
    })?;
    until(SOON, "the ended connections to be counted", || {
        agent
            .metric("mcpgw_sockets_destroyed_total", &[])
            .is_ok_and(|count| count == 2.0)
    })
}

#[test]
fn of_two_workloads_in_one_namespace_the_first_keeps_it() -> Result<()> {
    let (node, server) = node()?;
    let (first, second) = (
        node.pod("a-first").build()?,
        node.pod("b-second").without_pause().build()?,
    );
    let mut command = first.command_in_cgroup_of(&second, binary("pod-probe")?)?;
    command.arg("pause");
    let _intruder = Process::spawn("pause", command)?;
    let documents = [&first, &second].map(|pod| resources::workload("agents", "sa", pod, "enforce"));
    node.configure("pods.yaml", &documents)?;
    let agent = node.agent()?;
    await_state(&agent, "agents/a-first", "enforced")?;
    await_state(&agent, "agents/b-second", "refused:shared-network-namespace")?;
    assert!(first.connect(server.address(), &[])?.connected);
    Ok(())
}

#[test]
fn a_dead_pods_namespace_is_gone_within_two_seconds() -> Result<()> {
    let (node, server) = node()?;
    let pod = node.pod("agent").build()?;
    let cookie = pod.netns().cookie()?;
    node.configure("pod.yaml", &[resources::workload("agents", "sa", &pod, "enforce")])?;
    let agent = node.agent()?;
    await_state(&agent, "agents/agent", "enforced")?;
    assert!(pod.connect(server.address(), &[])?.connected);

    // The node's end of the pod's cable lives exactly as long as the pod's namespace.
    let cable = node.netns().run(interfaces)?;
    let own = format!("pod{}", pod.ipv4().octets()[2]);
    assert!(cable.contains(&own), "{cable:?}");
    let started = Instant::now();
    drop(pod);
    until(
        Duration::from_secs(2),
        &format!("namespace {cookie} to be gone"),
        || node.netns().run(interfaces).is_ok_and(|all| !all.contains(&own)),
    )?;
    assert!(started.elapsed() < Duration::from_secs(2));
    await_state(&agent, "agents/agent", "pending:cgroup-missing")
}

fn interfaces() -> Result<Vec<String>> {
    let table = std::fs::read_to_string(Path::new("/proc/thread-self/net/dev"))?;
    Ok(table
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect())
}
