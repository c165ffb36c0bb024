//! What is in the audit log of what no proxy saw, and of what an agent did that died.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use mcpgw_tests::{McpPeer, until};
use serde_json::{Value, json};

use crate::scene::{SOON, Scene};

fn of_the_kernel<'a>(reason: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |line| line["path"] == "kernel" && line["reason"] == reason
}

#[test]
fn what_the_kernel_refuses_is_in_the_log_with_its_layer_and_whose_it_was() -> Result<()> {
    let scene = Scene::with(McpPeer::Echo, &[], |_| Ok(()))?;
    let mark = scene.agent.audit_mark();
    let listener: SocketAddr = "127.0.0.1:17017".parse()?;
    for _ in 0..2 {
        ensure!(scene.pod.connect(listener, &[])?.refused());
    }
    let mut count = 0;
    while count < 2 {
        let line = scene
            .agent
            .audit_after(mark, "the refusals", of_the_kernel("listener_dialled"))?;
        assert_eq!(
            (&line["event"], &line["layer"], &line["decision"], &line["approximate"]),
            (&json!("refused"), &json!("connect"), &json!("deny"), &json!(false))
        );
        assert_eq!(
            (&line["identity"]["namespace"], &line["identity"]["workload"]),
            (&json!("agents"), &json!("agent"))
        );
        // The two may be told of together or one after the other.
        let lines = scene.agent.audit();
        let told = lines.iter().filter(|line| of_the_kernel("listener_dialled")(line));
        count = told.filter_map(|line| line["count"].as_u64()).sum();
    }
    assert_eq!(count, 2);
    Ok(())
}

#[test]
fn what_was_refused_while_no_agent_ran_is_told_at_its_start_once() -> Result<()> {
    let mut scene = Scene::with(McpPeer::Echo, &[], |_| Ok(()))?;
    scene.agent.kill()?;
    for _ in 0..3 {
        ensure!(scene.pod.connect(scene.server.address(), &[])?.refused());
    }
    scene.agent.restart()?;
    let line = scene.agent.audit_after(0, "the refusals", of_the_kernel("no_agent"))?;
    assert_eq!(
        (&line["count"], &line["approximate"], &line["layer"]),
        (&json!(3), &json!(true), &json!("connect"))
    );
    assert_eq!(line["identity"]["serviceAccount"], "research");
    scene.await_metric(
        "mcpgw_connects_total",
        &[("decision", "refuse"), ("reason", "no_agent")],
        3.0,
    )?;
    scene.agent.restart()?;
    // What was told is not told again, by this agent or the next.
    scene.await_metric(
        "mcpgw_connects_total",
        &[("decision", "refuse"), ("reason", "no_agent")],
        3.0,
    )?;
    let mark = scene.agent.audit_mark();
    let listener: SocketAddr = "127.0.0.1:17017".parse()?;
    ensure!(scene.pod.connect(listener, &[])?.refused());
    // Told after what came before.
    scene
        .agent
        .audit_after(mark, "a later refusal", of_the_kernel("listener_dialled"))?;
    let lines = scene.agent.audit();
    assert_eq!(lines.iter().find(|line| of_the_kernel("no_agent")(line)), None);
    Ok(())
}

/// Many times the interval in which lines are written.
const LONG_AGO: Duration = Duration::from_secs(1);

#[test]
fn an_agent_that_is_killed_owes_the_lines_of_its_last_moment_at_most() -> Result<()> {
    let mut scene = Scene::new(McpPeer::Rmcp)?;
    let (began, mut answered) = (Instant::now(), Vec::new());
    while began.elapsed() < 2 * LONG_AGO {
        let answer = scene
            .pod
            .mcp(&scene.server.url())
            .call("add", json!({"a": answered.len(), "b": 0}))?;
        ensure!(answer.text().is_some(), "{answer:?}");
        answered.push(Instant::now());
    }
    scene.agent.kill()?;
    let killed = Instant::now();
    let due = answered.iter().filter(|at| killed - **at > LONG_AGO).count();
    ensure!(due > 0, "nothing was answered in time to be due");
    let written = || {
        let lines = scene.agent.audit();
        lines.iter().filter(|line| line["event"] == "tool_call").count()
    };
    until(SOON, &format!("{due} lines of {} calls", answered.len()), || {
        written() >= due
    })?;
    ensure!(written() <= answered.len());
    Ok(())
}
