//! A policy engine decides about what the rules allow.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Node, resources, until};
use serde_json::{Value, json};

use crate::{
    policy_agent::{ADDRESS, PolicyAgent},
    scene::{Got, PATIENCE, Scene},
};

const NAME: &str = "extAuthz";

/// Small numbers may be added, by the pod's ServiceAccount, at the server's own address; everything may be echoed that
/// comes without a credential.
const POLICY: &str = r#"
package mcpgw

default allow := false

told := input.attributes.metadataContext.filterMetadata.mcpgw

allow if {
	told.mcp.method == "tools/call"
	told.mcp.server == "tools/calc"
	told.mcp.tool == "add"
	told.identity.principal == "system:serviceaccount:tools:research"
	told.path == "redirected"
	told.mcp.arguments.a + told.mcp.arguments.b < 100
	input.attributes.contextExtensions["mcp.tool"] == "add"
	input.attributes.request.http.path == "/mcp"
	input.attributes.source.principal == told.identity.principal
}

allow if {
	told.mcp.tool == "echo"
	not input.attributes.request.http.headers.authorization
	input.attributes.request.http.headers["mcp-name"] == "echo"
}
"#;

fn settings(more: &str) -> String {
    format!(
        "apiVersion: mcpgw.dev/v1alpha1\nkind: ClusterMCPSettings\nmetadata: {{name: default}}\nspec:\n  \
         extAuthz: {{address: \"{ADDRESS}\", timeout: 5s, includeArguments: true{more}}}\n"
    )
}

fn scene(node: &Node, settings: String) -> Result<Scene> {
    let rules = ["{action: Allow}", "{action: Deny, tools: [delete_everything]}"];
    Scene::new(node, &[settings, resources::policy("tools", "rules", &rules)])
}

fn add(scene: &Scene, a: i64, b: i64) -> Result<Got> {
    scene.call("add", json!({"a": a, "b": b}))
}

/// What a refused client sees, but for what differs from decision to decision.
fn seen(mut got: Got) -> Value {
    got.body["error"]["data"]["decisionId"] = Value::Null;
    got.body
}

#[test]
fn a_policy_engine_allows_and_denies_by_arguments_and_its_denials_look_like_those_of_rules() -> Result<()> {
    let node = Node::new()?;
    let _agent = PolicyAgent::start(&node, POLICY)?;
    let scene = scene(&node, settings(""))?;
    let got = add(&scene, 19, 23)?;
    ensure!(got.passed() && got.http.body.contains("42"), "{got:?}");
    ensure!(scene.call("echo", json!({"message": "m"}))?.passed());

    let mark = scene.agent.audit_mark();
    let denied = add(&scene, 70, 30)?;
    ensure!(
        denied.code() == Some(-32602) && denied.reason() == "denied",
        "{denied:?}"
    );
    let id = denied.body["error"]["data"]["decisionId"].clone();
    let line = scene
        .agent
        .audit_after(mark, "the denial", |line| line["decision"] == "deny")?;
    ensure!(
        line["engine"] == NAME && line["rule"] == NAME && line["decisionId"] == id && line["engineError"].is_null(),
        "{line}"
    );
    // The same as for a tool that a rule denies, and for one that is not there: the name apart.
    let by_rule = seen(scene.call("delete_everything", json!({}))?);
    let missing = seen(scene.call("no_such_tool", json!({}))?);
    let named = |name: &str| Value::String(format!("Unknown tool: {name}"));
    let mut by_engine = seen(denied);
    for (body, name) in [(&by_rule, "delete_everything"), (&missing, "no_such_tool")] {
        by_engine["error"]["message"] = named(name);
        ensure!(*body == by_engine, "{body} {by_engine}");
    }
    // What rules deny, the engine is not asked about: add twice, echo, and the tool that is not there.
    ensure!(scene.asked(NAME, "allowed")? == 2.0 && scene.asked(NAME, "refused")? == 2.0);
    // Arguments that the engine could read in another way than the server are not allowed, whatever it would say.
    let large = scene.call("add", json!({"a": 1, "b": -9_007_199_254_740_993_i64}))?;
    ensure!(large.code() == Some(4030), "{large:?}");
    ensure!(scene.server.executed("add")? == 1 && scene.server.executed("delete_everything")? == 0);
    Ok(())
}

#[test]
fn without_its_policy_engine_nothing_passes_until_it_is_back() -> Result<()> {
    let node = Node::new()?;
    let agent = PolicyAgent::start(&node, POLICY)?;
    let scene = scene(&node, settings(""))?;
    ensure!(add(&scene, 1, 2)?.passed());
    drop(agent);
    let mark = scene.agent.audit_mark();
    let got = add(&scene, 1, 2)?;
    ensure!(got.http.status == 200 && got.code() == Some(5030), "{got:?}");
    ensure!(got.reason() == "ext_authz" && got.retry_after() == Some(1), "{got:?}");
    let line = scene
        .agent
        .audit_after(mark, "the denial", |line| line["decision"] == "deny")?;
    ensure!(line["engine"] == NAME && line["engineError"].is_string(), "{line}");
    let engine = scene.engine(NAME)?;
    ensure!(
        engine["failure_mode"] == "Closed" && engine["error"].is_string(),
        "{engine}"
    );
    ensure!(scene.server.executed("add")? == 1);

    let _agent = PolicyAgent::start(&node, POLICY)?;
    until(PATIENCE, "calls to pass again", || {
        add(&scene, 1, 2).is_ok_and(|got| got.passed())
    })?;
    ensure!(scene.engine(NAME)?["error"].is_null());
    Ok(())
}

#[test]
fn a_policy_engine_that_hangs_is_waited_for_no_longer_than_the_settings_say() -> Result<()> {
    let node = Node::new()?;
    let agent = PolicyAgent::start(&node, POLICY)?;
    let scene = scene(&node, settings("").replace("timeout: 5s", "timeout: 300ms"))?;
    until(PATIENCE, "a first answer in time", || {
        add(&scene, 1, 2).is_ok_and(|got| got.passed())
    })?;
    agent.freeze()?;
    let got = add(&scene, 1, 2)?;
    ensure!(got.code() == Some(5030), "{got:?}");
    let error = scene.engine(NAME)?["error"].to_string();
    ensure!(error.contains("300ms"), "{error}");
    Ok(())
}

#[test]
fn with_failure_mode_open_what_the_rules_allow_passes_and_the_status_says_so() -> Result<()> {
    let node = Node::new()?;
    let scene = scene(&node, settings(", failureMode: Open"))?;
    // It was never there.
    ensure!(add(&scene, 70, 30)?.passed());
    ensure!(scene.call("delete_everything", json!({}))?.code() == Some(-32602));
    let engine = scene.engine(NAME)?;
    ensure!(
        engine["failure_mode"] == "Open" && engine["error"].is_string(),
        "{engine}"
    );
    Ok(())
}

#[test]
fn the_example_for_a_policy_engine_works_as_it_is_written() -> Result<()> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/policy-engine");
    let read = |file: &str| fs::read_to_string(examples.join(file)).with_context(|| file.to_owned());
    let node = Node::new()?;
    let _agent = PolicyAgent::start(&node, &read("policy.rego")?)?;
    let settings = read("10-settings.yaml")?;
    ensure!(settings.contains("address: opa.mcpgw-system:9191\n"), "{settings}");
    let settings = settings
        .replace("opa.mcpgw-system:9191", &format!("\"{ADDRESS}\""))
        .replace("timeout: 200ms", "timeout: 5s");
    let scene = Scene::new(&node, &[settings])?;
    ensure!(add(&scene, 19, 23)?.passed());
    ensure!(add(&scene, 1_000, 1)?.code() == Some(-32602));
    ensure!(scene.call("delete_everything", json!({}))?.code() == Some(-32602));
    ensure!(scene.server.executed("delete_everything")? == 0);
    Ok(())
}
