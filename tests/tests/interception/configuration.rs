//! What the operator writes: taken over while running, and refused with the place and the reason.

use std::{fs, io::Write, os::unix::fs::symlink, process::Stdio};

use anyhow::{Context, Result};
use mcpgw_tests::{McpPeer, Node, get, resources, until};
use serde_json::json;

use crate::scene::{SOON, Scene};

#[test]
fn a_changed_policy_is_in_force_without_a_restart() -> Result<()> {
    let scene = Scene::with(McpPeer::Rmcp, &[], |_| Ok(()))?;
    let client = scene.pod.mcp(&scene.server.url());
    assert_eq!(
        client.call("add", json!({"a": 1, "b": 2}))?.text(),
        Some("3"),
        "no policy: allowed"
    );
    let rules = ["{action: Allow, from: [{serviceAccounts: [\"agents/other\"]}], tools: [\"*\"]}"];
    scene
        .node
        .configure("policy.yaml", &[resources::policy("tools", "others-only", &rules)])?;
    until(SOON, "the policy to be in force", || {
        client
            .call("add", json!({"a": 1, "b": 2}))
            .is_ok_and(|answer| answer.error_code() == Some(-32602))
    })?;
    fs::remove_file(scene.node.config_directory().join("policy.yaml"))?;
    until(SOON, "the policy to be gone", || {
        client
            .call("add", json!({"a": 1, "b": 2}))
            .is_ok_and(|answer| answer.text() == Some("3"))
    })
}

#[test]
fn a_bad_change_keeps_the_last_good_plan_and_is_shown() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    scene
        .node
        .configure("policy.yaml", &["kind: MCPPolicy\nspec: {rulez: []}\n".to_owned()])?;
    until(SOON, "the error to be shown", || {
        scene
            .agent
            .status()
            .is_ok_and(|status| status["source"]["errors"].to_string().contains("policy.yaml"))
    })?;
    assert!(scene.agent.metric("mcpgw_configuration_errors", &[])? >= 1.0);
    let client = scene.pod.mcp(&scene.server.url());
    assert_eq!(client.call("add", json!({"a": 1, "b": 2}))?.text(), Some("3"));
    assert_eq!(client.call("delete_everything", json!({}))?.error_code(), Some(-32602));
    Ok(())
}

#[test]
fn a_config_map_is_taken_over_when_its_link_is_swapped() -> Result<()> {
    let node = Node::new()?;
    let server = node.server("calculator", McpPeer::Rmcp)?;
    let pod = node.pod("agent").build()?;
    let directory = node.config_directory();
    let publish = |version: &str, rules: &[&str]| -> Result<()> {
        let data = directory.join(format!("..{version}"));
        fs::create_dir(&data)?;
        let documents = [
            resources::mcp_server("tools", "calculator", &server.addresses(), "/mcp"),
            resources::workload("agents", "research", &pod, "enforce"),
            resources::policy("tools", "rules", rules),
        ];
        fs::write(data.join("node.yaml"), documents.join("---\n"))?;
        let draft = directory.join("..data_tmp");
        symlink(format!("..{version}"), &draft)?;
        fs::rename(&draft, directory.join("..data"))?;
        Ok(())
    };
    publish("v1", &["{action: Allow, tools: [\"*\"]}"])?;
    symlink("..data/node.yaml", directory.join("node.yaml"))?;
    let _agent = node.agent()?;
    let client = pod.mcp(&server.url());
    assert_eq!(client.call("add", json!({"a": 1, "b": 2}))?.text(), Some("3"));
    publish("v2", &["{action: Deny, tools: [\"add\"]}"])?;
    until(SOON, "the new version to be in force", || {
        client
            .call("add", json!({"a": 1, "b": 2}))
            .is_ok_and(|answer| answer.error_code() == Some(-32602))
    })
}

#[test]
fn a_workload_that_is_removed_dials_directly_again() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    assert!(scene.pod.connect(scene.server.address(), &[])?.connected);
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    let server = resources::mcp_server("tools", "calculator", &scene.server.addresses(), "/mcp");
    scene.node.configure("node.yaml", &[server])?;
    until(SOON, "the pod to dial directly", || {
        let _ = scene.pod.connect(scene.server.address(), &[]);
        scene.server.direct_from(&scene.pod) > 0
    })?;
    until(SOON, "the programs to be detached", || {
        scene
            .agent
            .status()
            .is_ok_and(|status| status["datapath"]["programs"] == json!([]))
    })
}

#[test]
fn a_bad_configuration_at_start_is_exit_code_2_with_the_place_and_leaves_nothing() -> Result<()> {
    let node = Node::new()?;
    let bad =
        resources::mcp_server("tools", "calculator", &["10.0.0.1:80".parse()?], "/mcp").replace("backend", "bakend");
    node.configure("bad.yaml", &[bad])?;
    for arguments in [["run"].as_slice(), &["check"]] {
        let output = node.mcpgw()?.args(arguments).output().context("run mcpgw")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains("bad.yaml:") && errors.contains("bakend"), "{errors}");
    }
    assert!(!node.pin_directory().join("mcpgw").exists(), "nothing is pinned");
    Ok(())
}

#[test]
fn a_setting_that_takes_a_restart_is_named_until_there_was_one() -> Result<()> {
    let mut scene = Scene::with(McpPeer::Echo, &[], |node| {
        node.configure("settings.yaml", &[gateway("127.0.0.1:18080")])
    })?;
    let state = |scene: &Scene| -> Result<_> {
        let status = scene.agent.status()?;
        Ok((status["gateway"]["listen"].clone(), status["restart_needed"].clone()))
    };
    assert_eq!(state(&scene)?, (json!(["127.0.0.1:18080"]), json!([])));
    scene.node.configure("settings.yaml", &[gateway("127.0.0.1:18081")])?;
    let moved = (json!(["127.0.0.1:18080"]), json!(["spec.gateway.listen"]));
    until(SOON, "the change to be named", || {
        state(&scene).is_ok_and(|found| found == moved)
    })?;
    scene.agent.restart()?;
    assert_eq!(state(&scene)?, (json!(["127.0.0.1:18081"]), json!([])));
    Ok(())
}

/// Settings with a gateway that listens there.
fn gateway(listen: &str) -> String {
    resources::settings("Pass") + &format!("  gateway:\n    listen: [\"{listen}\"]\n")
}

#[test]
fn a_variable_that_is_empty_is_one_that_is_not_set() -> Result<()> {
    let node = Node::new()?;
    let server = resources::mcp_server("tools", "calculator", &["10.0.0.5:80".parse()?], "/mcp");
    node.configure("node.yaml", &[server])?;
    let explain = |name: &str, value: &str| -> Result<std::process::Output> {
        let mut command = node.mcpgw()?;
        command.args(["explain", "--server", "tools/calculator", "--prompt", "poem"]);
        Ok(command.env(name, value).output()?)
    };
    for name in [
        "MCPGW_TOOL",
        "MCPGW_IDENTITY",
        "MCPGW_CLAIMS",
        "MCPGW_NODE",
        "MCPGW_JSON",
    ] {
        let output = explain(name, "")?;
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert!(!explain("MCPGW_CLAIMS", "x")?.status.success(), "what is set is read");
    let missing = explain("MCPGW_CONFIG", "")?;
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(!missing.status.success() && said.contains("--config"), "{said}");
    Ok(())
}

#[test]
fn a_server_whose_place_is_no_longer_granted_is_left_alone_until_it_is_again() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    let client = scene.pod.mcp(&scene.server.url());
    assert_eq!(client.call("delete_everything", json!({}))?.error_code(), Some(-32602));
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    let configure = |grants: &str| {
        let settings = resources::settings("Pass") + &format!("  externalBackends: {grants}\n");
        scene.node.configure("settings.yaml", &[settings])
    };
    configure("[{namespaces: [others], addresses: [0.0.0.0/0, \"::/0\"]}]")?;
    until(SOON, "the pod to dial directly", || {
        let _ = scene.pod.connect(scene.server.address(), &[]);
        scene.server.direct_from(&scene.pod) > 0
    })?;
    let server = scene.agent.status()?["servers"][0].clone();
    assert_eq!(
        (&server["name"], &server["programmed"]),
        (&json!("tools/calculator"), &json!("NotGranted"))
    );
    let problem = server["problems"][0].as_str().unwrap_or_default();
    let expected = format!("does not grant {} to namespace tools", scene.server.address().ip());
    assert!(
        problem.starts_with("NotGranted: ") && problem.contains(&expected),
        "{server}"
    );

    configure("[{namespaces: [tools], addresses: [0.0.0.0/0, \"::/0\"]}]")?;
    until(SOON, "the rules to hold again", || {
        let refused = client.call("delete_everything", json!({}));
        refused.is_ok_and(|answer| answer.error_code() == Some(-32602))
    })
}

#[test]
fn the_gateway_has_a_certificate_as_soon_as_the_settings_name_one_and_none_as_soon_as_they_do_not() -> Result<()> {
    let listen = "127.0.0.1:18080";
    let scene = Scene::with(McpPeer::Echo, &[], |node| {
        node.configure("settings.yaml", &[gateway(listen)])
    })?;
    let made = rcgen::generate_simple_self_signed(vec!["gateway".to_owned()])?;
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| scene.node.state_directory().join(name));
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    let secured = gateway(listen)
        + &format!(
            "    tls: {{certificateFile: {}, keyFile: {}}}\n",
            certificate.display(),
            key.display()
        );
    // Who speaks plain HTTP where there is TLS is told so.
    let is_plain = || {
        let answer = get(scene.node.netns(), listen.parse()?, "/mcp")?;
        anyhow::Ok(!answer.body.contains("begin with https://"))
    };
    assert!(is_plain()?);
    for (settings, plain) in [(secured, false), (gateway(listen), true)] {
        scene.node.configure("settings.yaml", &[settings])?;
        until(SOON, "the change to be in force", || {
            is_plain().is_ok_and(|found| found == plain)
        })?;
        let status = scene.agent.status()?;
        assert_eq!(
            (&status["gateway"]["tls"], &status["restart_needed"]),
            (&json!(!plain), &json!([]))
        );
    }
    Ok(())
}

#[test]
fn a_decision_is_explained_from_a_log_on_standard_input() -> Result<()> {
    let scene = Scene::new(McpPeer::Rmcp)?;
    let mark = scene.agent.audit_mark();
    let client = scene.pod.mcp(&scene.server.url());
    assert_eq!(client.call("delete_everything", json!({}))?.error_code(), Some(-32602));
    let is_denial = |line: &serde_json::Value| line["decision"] == "deny";
    let line = scene.agent.audit_after(mark, "the denial", is_denial)?;
    let id = line["decisionId"].as_str().context("an id")?;
    let explain = |log: &str| -> Result<std::process::Output> {
        let mut command = scene.node.mcpgw()?;
        command.args(["explain", "--decision", id, "--audit", "-"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().context("its input")?.write_all(log.as_bytes())?;
        Ok(child.wait_with_output()?)
    };
    // As a journal has it, with other lines between.
    let found = explain(&format!("INFO ready\n{line}\nINFO {id}\n"))?;
    let said = String::from_utf8_lossy(&found.stdout);
    assert!(said.starts_with("deny (tools/rules#2)\n"), "{said}");
    assert!(
        said.contains("The rule, as it is configured now:\n  action: Deny\n"),
        "{said}"
    );
    let missing = explain("INFO ready\n")?;
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(
        !missing.status.success() && said.contains("in standard input"),
        "{said}"
    );
    Ok(())
}
