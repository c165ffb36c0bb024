//! What is shown, in order. Each step says what was seen; none is told only.

use std::time::{Duration, Instant};

use anyhow::Result;
use mcpgw_tests::McpAnswer;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{
    report::Seen,
    scene::{Arrived, CALLER, SERVER, Scene},
};

/// A refusal by the kernel takes less than this, the start of the client included.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A step.
pub struct Step {
    /// Its name for machines.
    pub name: &'static str,
    /// Its title for people.
    pub title: &'static str,
    /// Plays it.
    pub play: fn(&mut Scene) -> Result<Seen>,
}

/// All of them.
pub const STEPS: [Step; 6] = [
    Step {
        name: "off",
        title: "Mode off: the client dials the server, and the call is direct",
        play: off,
    },
    Step {
        name: "enforce",
        title: "Mode enforce: the same client and URL, now governed",
        play: enforce,
    },
    Step {
        name: "deny",
        title: "The destructive tool is denied",
        play: deny,
    },
    Step {
        name: "killed",
        title: "The agent is killed with SIGKILL: refused in the kernel, no packet leaves",
        play: killed,
    },
    Step {
        name: "restarted",
        title: "The agent starts again: it works, and still denies",
        play: restarted,
    },
    Step {
        name: "metrics",
        title: "Every call was counted once",
        play: metrics,
    },
];

fn off(scene: &mut Scene) -> Result<Seen> {
    let mut seen = Seen::default();
    let before = scene.arrived();
    add(scene, &mut seen)?;
    let now = scene.arrived();
    let direct = now.direct - before.direct;
    seen.check(
        direct > 0,
        format!("{direct} connections came to the server straight from the pod"),
    );
    nothing_from_node(&mut seen, before, now);
    Ok(seen)
}

fn enforce(scene: &mut Scene) -> Result<Seen> {
    let mut seen = Seen::default();
    scene.mode("enforce", "enforced")?;
    let (before, mark) = (scene.arrived(), scene.agent.audit_mark());
    add(scene, &mut seen)?;
    let now = scene.arrived();
    nothing_direct(&mut seen, before, now);
    let node = now.node - before.node;
    seen.check(
        node > 0,
        format!("{node} connections came from the node, on the pod's behalf"),
    );
    let line = scene
        .agent
        .audit_after(mark, "the call in the audit log", tool_call("add"))?;
    audited(&mut seen, &line, "ok");
    let described = line
        .pointer("/identity/executable")
        .and_then(Value::as_str)
        .unwrap_or("?");
    seen.show(format!(
        "audit: pid {}, executable {described}",
        line["identity"]["pid"]
    ));
    Ok(seen)
}

fn deny(scene: &mut Scene) -> Result<Seen> {
    let mut seen = Seen::default();
    let (before, mark) = (scene.arrived(), scene.agent.audit_mark());
    denied(scene, &mut seen)?;
    nothing_direct(&mut seen, before, scene.arrived());
    let line = scene
        .agent
        .audit_after(mark, "the denial in the audit log", tool_call("delete_everything"))?;
    audited(&mut seen, &line, "denied");
    Ok(seen)
}

fn killed(scene: &mut Scene) -> Result<Seen> {
    let mut seen = Seen::default();
    scene.agent.process().signal(Signal::SIGKILL)?;
    scene.agent.process().wait(Duration::from_secs(5))?;
    let (before, started) = (scene.arrived(), Instant::now());
    let answer = call(scene, &mut seen, "add", &json!({"a": 19, "b": 23}))?;
    let took = started.elapsed();
    let text = format!("the client ended after {} ms: {}", took.as_millis(), said(&answer));
    seen.check(answer.refused() && took < AT_ONCE, text);
    nothing_direct(&mut seen, before, scene.arrived());
    Ok(seen)
}

fn restarted(scene: &mut Scene) -> Result<Seen> {
    let mut seen = Seen::default();
    let before = scene.arrived();
    scene.agent.restart()?;
    add(scene, &mut seen)?;
    denied(scene, &mut seen)?;
    nothing_direct(&mut seen, before, scene.arrived());
    Ok(seen)
}

fn metrics(scene: &mut Scene) -> Result<Seen> {
    const CALLS: &str = "mcp_tool_calls_total";
    let mut seen = Seen::default();
    let metrics = scene.agent.metrics()?;
    for line in metrics
        .lines()
        .filter(|line| line.starts_with(CALLS) || line.starts_with("mcpgw_connects_total{"))
    {
        seen.show(line);
    }
    let (server_namespace, server_name) = SERVER.split_once('/').unwrap_or_default();
    for (tool, outcome) in [("add", "ok"), ("delete_everything", "denied")] {
        let mut labels = vec![
            ("mcp_server_namespace", server_namespace),
            ("mcp_server_name", server_name),
            ("outcome", outcome),
            ("path", "redirected"),
            ("source_namespace", CALLER.0),
            ("source_service_account", CALLER.1),
        ];
        if outcome == "ok" {
            labels.push(("tool_name", tool));
        }
        let count = scene.agent.metric(CALLS, &labels)?;
        seen.check(
            count == 1.0,
            format!("since the restart: {count} call of {tool} with outcome {outcome}"),
        );
    }
    Ok(seen)
}

/// The safe call, and that it got its answer.
fn add(scene: &Scene, seen: &mut Seen) -> Result<()> {
    let answer = call(scene, seen, "add", &json!({"a": 19, "b": 23}))?;
    seen.check(answer.text() == Some("42"), format!("the client got {}", said(&answer)));
    Ok(())
}

/// The destructive call, and that it did not run.
fn denied(scene: &Scene, seen: &mut Seen) -> Result<()> {
    let answer = call(scene, seen, "delete_everything", &json!({}))?;
    seen.check(
        answer.error_code() == Some(-32602),
        format!("the client got {}", said(&answer)),
    );
    let executed = scene.server.executed("delete_everything")?;
    seen.check(executed == 0, format!("the server executed it {executed} times"));
    Ok(())
}

fn call(scene: &Scene, seen: &mut Seen, tool: &str, arguments: &Value) -> Result<McpAnswer> {
    seen.show(format!(
        "$ rmcp-client {} --call {tool} '{arguments}'",
        scene.server.url()
    ));
    scene.call(tool, arguments)
}

fn said(answer: &McpAnswer) -> String {
    match (answer.text(), answer.error_code(), answer.error_message()) {
        (Some(text), ..) => text.to_owned(),
        (_, Some(code), Some(message)) => format!("the error {code}: {message}"),
        (_, _, message) => message.unwrap_or("nothing that it understands").to_owned(),
    }
}

fn nothing_direct(seen: &mut Seen, before: Arrived, now: Arrived) {
    let packets = now.packets - before.packets;
    seen.check(
        packets == 0,
        format!("{packets} packets came to the server from the pod"),
    );
}

fn nothing_from_node(seen: &mut Seen, before: Arrived, now: Arrived) {
    let node = now.node - before.node;
    seen.check(node == 0, format!("{node} connections came from the node"));
}

fn audited(seen: &mut Seen, line: &Value, outcome: &str) {
    let text = |key: &str| line.pointer(key).and_then(Value::as_str).unwrap_or("?").to_owned();
    let identity = format!("{}/{}", text("/identity/namespace"), text("/identity/serviceAccount"));
    let (path, found, server) = (text("/path"), text("/outcome"), text("/server"));
    let good = identity == format!("{}/{}", CALLER.0, CALLER.1)
        && path == "redirected"
        && found == outcome
        && server == SERVER;
    seen.check(
        good,
        format!(
            "audit: {} by {identity} at {server}, path={path}, outcome={found}",
            text("/tool")
        ),
    );
}

fn tool_call(tool: &str) -> impl Fn(&Value) -> bool + '_ {
    move |line| line["event"] == "tool_call" && line["tool"] == tool
}
