//! Metrics, as Prometheus' own tool reads them.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Node, until};
use serde_json::json;

use crate::{
    collector::{Collector, Protocol},
    scene::{PATIENCE, Scene, Trace, Way},
};

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() -> Result<()> {
    let node = Node::new()?;
    let _collector = Collector::start(&node)?;
    let scene = Scene::new(&node, Protocol::Http.environment())?;
    for way in Way::BOTH {
        for tool in ["add", "get_time", "delete_everything", "no_such_tool"] {
            scene.call(way, tool, json!({"a": 1, "b": 2}), &Trace::default())?;
        }
    }
    // Read by the agent at its own pace.
    until(PATIENCE, "everything to be counted", || {
        let counted = |name| scene.agent.metric(name, &[]).unwrap_or_default() > 0.0;
        counted("mcpgw_connects_total") && counted("mcpgw_spans_exported_total")
    })?;
    let metrics = scene.agent.metrics()?;
    for name in [
        "mcp_tool_calls_total",
        "mcp_tool_call_duration_seconds_bucket",
        "mcp_server_operation_duration_seconds_bucket",
        "mcpgw_overhead_seconds_bucket",
    ] {
        ensure!(
            metrics.contains(&format!("\n{name}{{")) || metrics.contains(&format!("\n{name} ")),
            "{name}: {metrics}"
        );
    }
    ensure!(!metrics.contains("no_such_tool"), "{metrics}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run promtool: cargo xtask setup installs it")?;
    let mut input = promtool.stdin.take().context("promtool without an input")?;
    input.write_all(metrics.as_bytes())?;
    drop(input);
    let output = promtool.wait_with_output().context("wait for promtool")?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(
        output.status.success() && said.is_empty(),
        "promtool says:\n{said}\nof\n{metrics}"
    );
    Ok(())
}
