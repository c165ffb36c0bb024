//! A collector that is not there, goes away and comes back: calls do not notice.

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Node, until};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    collector::{Collector, Protocol},
    scene::{PATIENCE, Scene, Trace, Way, with},
};

/// What `mcpgw status` says of the traces.
fn component(scene: &Scene) -> Result<String> {
    let status = scene.agent.status()?;
    let component = &status["components"]["traces"];
    ensure!(component["ready"] == true, "{component}");
    Ok(component["message"].as_str().context("no message")?.to_owned())
}

fn lost(scene: &Scene, reason: &str) -> f64 {
    let lost = scene.agent.metric("mcpgw_spans_lost_total", &[("reason", reason)]);
    lost.unwrap_or_default()
}

#[test]
fn a_dead_collector_delays_no_call_and_what_is_lost_is_counted() -> Result<()> {
    const CALLS: usize = 60;
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let node = Node::new()?;
        let environment = with(protocol.environment(), "OTEL_BSP_MAX_QUEUE_SIZE", "8");
        // A time in which not a single batch would be given up.
        let environment = with(environment, "OTEL_EXPORTER_OTLP_TIMEOUT", "1500");
        let mut scene = Scene::new(&node, environment)?;
        for _ in 0..CALLS {
            let answer = scene.call(Way::Redirected, "echo", json!({"message": "m"}), &Trace::default())?;
            ensure!(answer.body.contains("\"m\""), "{answer:?}");
        }
        until(PATIENCE, "spans to be lost for both reasons", || {
            lost(&scene, "queue_full") > 0.0 && lost(&scene, "not_delivered") > 0.0
        })?;
        let message = component(&scene)?;
        ensure!(
            message.contains("cannot be exported") && !message.contains(" 0 lost"),
            "{message}"
        );

        // It comes up, and is found again.
        let collector = Collector::start(&node)?;
        until(PATIENCE, "spans to be exported", || {
            let called = scene.call(Way::Redirected, "echo", json!({"message": "m"}), &Trace::default());
            called.is_ok()
                && scene
                    .agent
                    .metric("mcpgw_spans_exported_total", &[])
                    .unwrap_or_default()
                    > 0.0
        })?;
        until(PATIENCE, "the status to say so", || {
            component(&scene).is_ok_and(|message| message.contains("are exported to http://127.0.0.1:"))
        })?;
        ensure!(!collector.spans()?.is_empty());
        drop(collector);
        let status = scene.agent.terminate()?;
        ensure!(status.success(), "{status}");
    }
    Ok(())
}

#[test]
fn a_collector_that_hangs_holds_up_neither_calls_nor_the_end() -> Result<()> {
    let node = Node::new()?;
    let mut collector = Collector::start(&node)?;
    let environment = with(Protocol::Grpc.environment(), "OTEL_EXPORTER_OTLP_TIMEOUT", "60000");
    let mut scene = Scene::new(&node, environment)?;
    collector.process().signal(Signal::SIGSTOP)?;
    for _ in 0..20 {
        scene.call(Way::Gateway, "echo", json!({"message": "m"}), &Trace::default())?;
    }
    // The agent would not end within the fixture's limit if it waited for the collector.
    let status = scene.agent.terminate()?;
    ensure!(status.success(), "{status}");
    collector.process().signal(Signal::SIGCONT)
}

#[test]
fn what_waits_is_exported_at_the_end() -> Result<()> {
    let node = Node::new()?;
    let collector = Collector::start(&node)?;
    let environment = with(Protocol::Http.environment(), "OTEL_BSP_SCHEDULE_DELAY", "600000");
    let mut scene = Scene::new(&node, environment)?;
    scene.call(Way::Redirected, "echo", json!({"message": "last"}), &Trace::default())?;
    ensure!(scene.agent.terminate()?.success());
    collector.span("the last call", |span| span.name() == "tools/call echo")?;
    Ok(())
}

#[test]
fn nothing_is_exported_or_told_to_servers_unless_a_collector_is_named() -> Result<()> {
    let node = Node::new()?;
    let scene = Scene::new(&node, Vec::new())?;
    for way in Way::BOTH {
        scene.call(way, "echo", json!({"message": "m"}), &Trace::default())?;
    }
    let seen = scene.server.seen()?;
    ensure!(
        seen.iter()
            .all(|call| call["traceparent"].is_null() && !call["body"].to_string().contains("traceparent")),
        "{seen:?}"
    );
    ensure!(scene.agent.status()?["components"]["traces"].is_null());
    ensure!(!scene.agent.metrics()?.contains("mcpgw_spans"));
    Ok(())
}

#[test]
fn what_the_environment_asks_for_and_cannot_be_done_is_said_at_the_start() -> Result<()> {
    let node = Node::new()?;
    node.configure("node.yaml", &[mcpgw_tests::resources::settings("Refuse")])?;
    let mut command = node.mcpgw()?;
    let output = command
        .arg("run")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .output()
        .context("run mcpgw")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && said.contains("OTEL_EXPORTER_OTLP_PROTOCOL"),
        "{said}"
    );
    Ok(())
}
