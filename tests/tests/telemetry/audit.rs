//! The audit log, as a real collector receives it.

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Node, until};
use serde_json::{Value, json};

use crate::{
    collector::{Collector, Protocol},
    scene::{PATIENCE, Scene, Trace, Way},
};

const EXPORTED: &str = "  audit: {sink: OTLP}\n";
const NONE_MAY_BE_LOST: &str = "  audit: {sink: OTLP, onFull: Block}\n";
const WITH_ARGUMENTS: &str = "  audit: {sink: OTLP, payloads: {arguments: {redact: [$.password]}}}\n";

/// What `mcpgw status` says of the audit log.
fn component(scene: &Scene) -> Result<Value> {
    Ok(scene.agent.status()?["components"]["audit"].clone())
}

/// Calls once, and returns the line that was written here.
fn call(scene: &Scene, way: Way, tool: &str) -> Result<Value> {
    let mark = scene.agent.audit_mark();
    scene.call(way, tool, json!({"message": "m"}), &Trace::default())?;
    scene
        .agent
        .audit_after(mark, "the call", |line| line["event"] == "tool_call")
}

fn arrives(collector: &Collector, line: &Value) -> Result<Value> {
    let mut found = None;
    let waited = until(PATIENCE, "the line at the collector", || {
        let all = collector.audit().unwrap_or_default();
        found = all
            .into_iter()
            .find(|(known, _)| known["decisionId"] == line["decisionId"]);
        found.is_some()
    });
    waited.with_context(|| format!("{line} is not in {:?}", collector.audit()))?;
    let (known, record) = found.context("no such line")?;
    ensure!(known == *line, "{known} is not {line}");
    Ok(record)
}

#[test]
fn every_line_is_a_log_record_too() -> Result<()> {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let node = Node::new()?;
        let collector = Collector::start(&node)?;
        let mut scene = Scene::with_settings(&node, protocol.environment(), EXPORTED)?;
        for way in Way::BOTH {
            let record = arrives(&collector, &call(&scene, way, "echo")?)?;
            ensure!(record["eventName"] == "mcpgw.tool_call", "{record}");
            ensure!(
                record["timeUnixNano"].as_str().is_some_and(|time| time.len() == 19),
                "{record}"
            );
            arrives(&collector, &call(&scene, way, "delete_everything")?)?;
        }
        ensure!(component(&scene)? == json!({"ready": true, "message": "is written"}));
        // What waits goes out at the end.
        scene.call(Way::Redirected, "echo", json!({"message": "last"}), &Trace::default())?;
        ensure!(scene.agent.terminate()?.success());
        let here = scene.agent.audit();
        let there = collector.audit()?;
        ensure!(here.len() == there.len(), "{here:#?}\n{there:#?}");
        for (line, record) in &there {
            let event = line["event"].as_str().context("a line without an event")?;
            ensure!(record["eventName"] == format!("mcpgw.{event}"), "{record}");
        }
    }
    Ok(())
}

#[test]
fn lines_go_where_a_change_of_the_settings_says_and_each_goes_to_one_place() -> Result<()> {
    let node = Node::new()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("audit.jsonl");
    let scene = Scene::new(&node, Vec::new())?;
    let call = |number: usize| {
        let arguments = json!({"message": number.to_string()});
        scene.call(Way::Redirected, "echo", arguments, &Trace::default())
    };
    let calls = |lines: &[Value]| lines.iter().filter(|line| line["event"] == "tool_call").count();
    let in_file = || -> Vec<Value> {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    let mut made = 0;
    for settings in [
        format!("  audit: {{sink: File, file: {}}}\n", path.display()),
        String::new(),
    ] {
        let before = (calls(&scene.agent.audit()), calls(&in_file()));
        scene.reload(&settings)?;
        until(PATIENCE, "lines in the other place", || {
            made += usize::from(call(made).is_ok());
            match settings.is_empty() {
                true => calls(&scene.agent.audit()) > before.0,
                false => calls(&in_file()) > before.1,
            }
        })?;
    }
    until(PATIENCE, "every line", || {
        calls(&scene.agent.audit()) + calls(&in_file()) >= made
    })?;
    let (here, there) = (calls(&scene.agent.audit()), calls(&in_file()));
    ensure!(here + there == made, "{here} and {there} of {made}");
    ensure!(scene.agent.metric("mcpgw_audit_lines_lost_total", &[])? == 0.0);
    Ok(())
}

#[test]
fn lines_that_a_dead_collector_does_not_take_are_counted_and_calls_go_on() -> Result<()> {
    let node = Node::new()?;
    let scene = Scene::with_settings(&node, Protocol::Grpc.environment(), EXPORTED)?;
    call(&scene, Way::Redirected, "echo")?;
    until(PATIENCE, "a line to be lost", || {
        scene
            .agent
            .metric("mcpgw_audit_lines_lost_total", &[])
            .unwrap_or_default()
            > 0.0
    })?;
    let component = component(&scene)?;
    ensure!(component["ready"] == false, "{component}");
    call(&scene, Way::Gateway, "echo")?;
    Ok(())
}

#[test]
fn where_none_may_be_lost_lines_wait_for_the_collector() -> Result<()> {
    let node = Node::new()?;
    let scene = Scene::with_settings(&node, Protocol::Http.environment(), NONE_MAY_BE_LOST)?;
    let lines = [
        call(&scene, Way::Redirected, "echo")?,
        call(&scene, Way::Gateway, "echo")?,
    ];
    until(PATIENCE, "the status to say that lines wait", || {
        component(&scene).is_ok_and(|component| component["ready"] == false)
    })?;
    let collector = Collector::start(&node)?;
    for line in &lines {
        arrives(&collector, line)?;
    }
    ensure!(scene.agent.metric("mcpgw_audit_lines_lost_total", &[])? == 0.0);
    until(PATIENCE, "the status to say that it is well", || {
        component(&scene).is_ok_and(|component| component["ready"] == true)
    })
}

#[test]
fn arguments_are_exported_without_what_a_rule_names() -> Result<()> {
    let node = Node::new()?;
    let collector = Collector::start(&node)?;
    let scene = Scene::with_settings(&node, Protocol::Grpc.environment(), WITH_ARGUMENTS)?;
    for way in Way::BOTH {
        for tool in ["echo", "delete_everything"] {
            let mark = scene.agent.audit_mark();
            scene.call(
                way,
                tool,
                json!({"message": "m", "password": "hunter2"}),
                &Trace::default(),
            )?;
            let line = scene
                .agent
                .audit_after(mark, "the call", |line| line["event"] == "tool_call")?;
            ensure!(
                line["arguments"] == json!({"message": "m", "password": "[redacted]"}),
                "{line}"
            );
            arrives(&collector, &line)?;
        }
    }
    Ok(())
}
