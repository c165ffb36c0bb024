//! Agents die, come back, and are removed: nothing passes meanwhile, and nothing is left afterwards.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Agent, AgentOptions, McpPeer};
use serde_json::{Value, json};

use crate::scene::Scene;

/// Ids of the links and of the programs, as the kernel reports them.
fn attached(agent: &Agent) -> Result<Vec<(u64, u64)>> {
    let status = agent.status()?;
    let programs = status["datapath"]["programs"]
        .as_array()
        .context("no programs")?
        .clone();
    let id = |program: &Value, key: &str| program[key].as_u64().context("an id that is no number");
    programs
        .iter()
        .map(|program| Ok((id(program, "link_id")?, id(program, "program_id")?)))
        .collect()
}

#[test]
fn while_the_agent_is_dead_connects_are_refused_at_once_and_afterwards_all_is_as_before() -> Result<()> {
    let mut scene = Scene::new(McpPeer::Rmcp)?;
    let (url, address) = (scene.server.url(), scene.server.address());
    assert_eq!(
        scene.pod.mcp(&url).call("add", json!({"a": 1, "b": 2}))?.text(),
        Some("3")
    );
    let before = attached(&scene.agent)?;
    assert_eq!(before.len(), 7);

    for graceful in [false, true] {
        if graceful {
            let status = scene.agent.terminate()?;
            assert!(status.success(), "{status}");
        } else {
            scene.agent.kill()?;
        }
        for options in [[].as_slice(), &["--mapped"], &["--device", "eth0"]] {
            let dialled = scene.pod.connect(address, options)?;
            assert!(dialled.refused(), "{options:?}: {dialled:?}");
            assert!(dialled.milliseconds < 1_000, "{dialled:?}");
        }
        assert!(scene.pod.connect(scene.server.address_v6(), &[])?.refused());
        let answer = scene.pod.mcp(&url).call("add", json!({"a": 1, "b": 2}))?;
        assert!(answer.refused(), "{answer:?}");
        assert_eq!(
            scene.server.direct_from(&scene.pod),
            0,
            "a packet reached the server while the agent was dead"
        );

        scene.agent.restart()?;
        assert_eq!(
            scene.pod.mcp(&url).call("add", json!({"a": 1, "b": 2}))?.text(),
            Some("3")
        );
        let after = attached(&scene.agent)?;
        let ids = |all: &[(u64, u64)]| all.iter().map(|(link, _)| *link).collect::<Vec<_>>();
        assert_eq!(ids(&after), ids(&before), "the links are the same");
        assert!(
            after.iter().zip(&before).all(|(now, then)| now.1 != then.1),
            "the programs are the new agent's"
        );
    }
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    Ok(())
}

#[test]
fn no_packet_slips_through_while_agents_are_replaced_under_load() -> Result<()> {
    let mut scene = Scene::with(McpPeer::Echo, &[], |_| Ok(()))?;
    let target = format!("{}=calculator", scene.server.address());
    let (pod, agent) = (&scene.pod, &mut scene.agent);
    let load = || pod.probe::<Value>(&["stress", &target, "--connections", "500", "--concurrency", "8"], b"");
    let replaced = AtomicBool::new(false);
    let reports = std::thread::scope(|scope| {
        let loads = scope.spawn(|| {
            let mut reports = Vec::new();
            while !replaced.load(Ordering::Relaxed) {
                reports.push(load()?);
            }
            // With the last agent in place.
            reports.push(load()?);
            Ok(reports)
        });
        let all = (0..4).try_for_each(|_| agent.restart());
        replaced.store(true, Ordering::Relaxed);
        all.and(loads.join().unwrap_or_else(|_| anyhow::bail!("the load panicked")))
    })?;
    for report in &reports {
        assert_eq!(report["wrong"], json!([]), "{report}");
    }
    assert!(
        reports.iter().any(|report| report["refused"].as_u64() > Some(0)),
        "{reports:?}"
    );
    assert_eq!(
        reports.last().map(|report| &report["answered"]),
        Some(&json!(500)),
        "{reports:?}"
    );
    assert_eq!(scene.server.direct_from(&scene.pod), 0, "{reports:?}");
    Ok(())
}

#[test]
fn a_second_agent_is_refused_and_told_who_is_there() -> Result<()> {
    let mut scene = Scene::new(McpPeer::Rmcp)?;
    let pid = scene.agent.process().pid().to_string();
    let output = scene.node.mcpgw()?.arg("run").output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(&pid) && errors.contains("another mcpgw"), "{errors}");
    let output = scene.node.mcpgw()?.arg("uninstall").output()?;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains(&pid));
    assert_eq!(
        scene
            .pod
            .mcp(&scene.server.url())
            .call("add", json!({"a": 1, "b": 2}))?
            .text(),
        Some("3")
    );
    Ok(())
}

#[test]
fn uninstall_removes_every_program_link_map_and_pin_and_says_so() -> Result<()> {
    let mut scene = Scene::new(McpPeer::Rmcp)?;
    let before = attached(&scene.agent)?;
    scene.agent.terminate()?;
    assert!(scene.pod.connect(scene.server.address(), &[])?.refused());

    let output = scene.node.mcpgw()?.arg("uninstall").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for name in [
        "connect4",
        "connect6",
        "sock_ops",
        "bind4",
        "bind6",
        "getpeername4",
        "HANDOFFS",
        "WORKLOADS",
    ] {
        assert!(text.contains(name), "{name} is not in: {text}");
    }
    // The kernel frees programs and links after a grace period.
    mcpgw_tests::until(Duration::from_secs(5), "the kernel's lists to be without them", || {
        let links: Vec<u64> = aya::programs::loaded_links()
            .flatten()
            .map(|link| u64::from(link.id()))
            .collect();
        let programs: Vec<u64> = aya::programs::loaded_programs()
            .flatten()
            .map(|program| u64::from(program.id()))
            .collect();
        before
            .iter()
            .all(|(link, program)| !links.contains(link) && !programs.contains(program))
    })?;
    assert!(!scene.node.pin_directory().join("mcpgw").exists());
    assert_eq!(
        fs::read_dir(scene.node.state_directory())?.count(),
        0,
        "the state directory is empty"
    );

    let answer = scene
        .pod
        .mcp(&scene.server.url())
        .call("add", json!({"a": 1, "b": 2}))?;
    assert_eq!(answer.text(), Some("3"), "direct again");
    assert!(scene.server.direct_from(&scene.pod) > 0);
    let again = scene.node.mcpgw()?.arg("uninstall").output()?;
    assert!(again.status.success(), "uninstalling nothing is no error");
    Ok(())
}

#[test]
fn status_without_an_agent_shows_what_the_kernel_still_has() -> Result<()> {
    let mut scene = Scene::new(McpPeer::Rmcp)?;
    scene.agent.kill()?;
    let output = scene.node.mcpgw()?.arg("status").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("connect4"), "{text}");
    Ok(())
}

#[test]
fn explain_answers_as_the_kernel_decides() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    let explain = |to: &str| -> Result<Value> {
        let output = scene
            .node
            .mcpgw()?
            .args(["explain", "--workload", "agents/agent", "--to", to, "--json"])
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    assert_eq!(explain(&scene.server.address().to_string())?["verdict"], "redirect");
    assert_eq!(explain("10.66.200.2:80")?["verdict"], "pass");
    assert_eq!(explain("127.0.0.1:17017")?["reason"], "listener_dialled");
    Ok(())
}

#[test]
fn the_programs_log_reaches_the_agents_when_it_is_asked_for() -> Result<()> {
    let mut scene = Scene::new(McpPeer::Rmcp)?;
    scene.agent.terminate()?;
    let options = AgentOptions {
        arguments: ["--bpf-log", "debug", "--log", "debug"].map(str::to_owned).to_vec(),
        ..AgentOptions::default()
    };
    let mut agent = scene.node.agent_with(options)?;
    scene.pod.connect(scene.server.address(), &[])?;
    agent
        .process()
        .stderr()
        .wait_for(Duration::from_secs(5), "a line of connect4", |line| {
            line.contains("governed").then_some(())
        })
}
