//! Limits of the whole cluster. Their windows are days: none ends while a test runs but at midnight.

use std::{fs, net::IpAddr, path::Path};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Node, until};
use serde_json::json;

use crate::{
    rate_limit_service::{PORT, RateLimitService},
    scene::{PATIENCE, Scene},
};

/// All that the service must be told.
const DOMAIN: &str = "domain: mcpgw\n";
const NAME: &str = "rateLimitService";

fn settings(address: IpAddr, more: &str) -> String {
    format!(
        "apiVersion: mcpgw.dev/v1alpha1\nkind: ClusterMCPSettings\nmetadata: {{name: default}}\nspec:\n  \
         rateLimitService: {{address: \"{address}:{PORT}\", timeout: 5s{more}}}\n"
    )
}

/// Calls of `add` by one principal in a day, of all nodes.
fn limit(requests: u32, more: &str) -> String {
    format!(
        "apiVersion: mcpgw.dev/v1alpha1\nkind: MCPPolicy\nmetadata: {{name: fair, namespace: tools}}\nspec:\n  limits:\n  \
         - {{name: daily, requests: {requests}, per: 1d, key: [identity], tools: [add], scope: Cluster{more}}}\n"
    )
}

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Two nodes, the first with the service, each with an agent and these documents.
fn two_nodes(limit: &str, more: &str) -> Result<(RateLimitService, Scene, Scene)> {
    let (first, second) = (Node::new()?, Node::new()?);
    let (near, _) = first.cable_to(&second)?;
    let service = RateLimitService::start(&first, DOMAIN)?;
    let one = Scene::new(&first, &[settings(LOOPBACK, more), limit.to_owned()])?;
    let other = Scene::new(&second, &[settings(near, more), limit.to_owned()])?;
    Ok((service, one, other))
}

#[test]
fn two_agents_share_one_budget() -> Result<()> {
    let (_service, one, other) = two_nodes(&limit(5, ""), "")?;
    for scene in [&one, &other, &one, &other, &one] {
        let got = scene.add()?;
        ensure!(got.passed(), "{got:?}");
    }
    for scene in [&other, &one] {
        let mark = scene.agent.audit_mark();
        for _ in 0..3 {
            let got = scene.add()?;
            ensure!(got.code() == Some(4290) && got.reason() == "limited", "{got:?}");
            ensure!(
                got.retry_after().is_some_and(|wait| (1..=86_400).contains(&wait)),
                "{got:?}"
            );
            let policy = got.http.header("RateLimit-Policy");
            ensure!(policy == Some("\"tools/fair#daily\";q=5;w=86400"), "{got:?}");
        }
        let line = scene
            .agent
            .audit_after(mark, "a refusal", |line| line["decision"] == "limit")?;
        ensure!(line["rule"] == "tools/fair#daily" && line["engine"] == NAME, "{line}");
        // What the service has refused once, nobody asks it again until the budget is whole.
        ensure!(scene.asked(NAME, "refused")? == 1.0, "{}", scene.agent.metrics()?);
        // What the limit does not count, it does not touch.
        ensure!(scene.call("echo", json!({"message": "m"}))?.passed());
    }
    ensure!(one.server.executed("add")? + other.server.executed("add")? == 5);
    ensure!(one.asked(NAME, "allowed")? + other.asked(NAME, "allowed")? == 5.0);
    Ok(())
}

#[test]
fn what_this_node_refuses_nobody_is_asked_about() -> Result<()> {
    let node = Node::new()?;
    let _service = RateLimitService::start(&node, DOMAIN)?;
    let scene = Scene::new(&node, &[settings(LOOPBACK, ""), limit(5, ", burst: 2")])?;
    for _ in 0..2 {
        ensure!(scene.add()?.passed());
    }
    let mark = scene.agent.audit_mark();
    ensure!(scene.add()?.code() == Some(4290));
    let line = scene
        .agent
        .audit_after(mark, "a refusal", |line| line["decision"] == "limit")?;
    ensure!(line["engine"].is_null(), "{line}");
    ensure!(scene.asked(NAME, "allowed")? == 2.0 && scene.asked(NAME, "refused")? == 0.0);
    Ok(())
}

#[test]
fn in_the_background_calls_go_on_until_the_service_has_said_that_the_budget_is_spent() -> Result<()> {
    let (_service, one, other) = two_nodes(&limit(5, ", mode: Background"), "")?;
    for _ in 0..5 {
        ensure!(one.add()?.passed());
    }
    until(PATIENCE, "the service to have counted", || {
        one.asked(NAME, "allowed").is_ok_and(|asked| asked == 5.0)
    })?;
    // The other node finds out by its first call.
    let got = other.add()?;
    ensure!(got.passed(), "{got:?}");
    until(PATIENCE, "the service to have answered", || {
        other.asked(NAME, "refused").is_ok_and(|asked| asked == 1.0)
    })?;
    let got = other.add()?;
    ensure!(got.code() == Some(4290) && got.retry_after().is_some(), "{got:?}");
    ensure!(other.server.executed("add")? == 1);
    Ok(())
}

#[test]
fn without_redis_calls_are_refused_with_the_reason_until_it_is_back() -> Result<()> {
    let node = Node::new()?;
    let mut service = RateLimitService::start(&node, DOMAIN)?;
    let scene = Scene::new(&node, &[settings(LOOPBACK, ""), limit(2, "")])?;
    ensure!(scene.add()?.passed());
    service.stop_redis();
    let mark = scene.agent.audit_mark();
    let got = scene.add()?;
    ensure!(got.http.status == 200 && got.code() == Some(5030), "{got:?}");
    ensure!(
        got.reason() == "rate_limit_service" && got.retry_after() == Some(1),
        "{got:?}"
    );
    let said = got.body["error"]["message"].as_str().unwrap_or_default();
    ensure!(said.starts_with("The rate limit service does not answer"), "{said}");
    let line = scene
        .agent
        .audit_after(mark, "a refusal", |line| line["decision"] == "limit")?;
    ensure!(line["engine"] == NAME && line["engineError"].is_string(), "{line}");
    let engine = scene.engine(NAME)?;
    ensure!(
        engine["failure_mode"] == "Closed" && engine["error"].is_string(),
        "{engine}"
    );
    // What needs no count passes.
    ensure!(scene.call("echo", json!({"message": "m"}))?.passed());
    ensure!(scene.server.executed("add")? == 1);

    // What was refused for want of an answer has spent nothing: of two calls one is left.
    service.start_redis()?;
    until(PATIENCE, "calls to pass again", || {
        scene.add().is_ok_and(|got| got.passed())
    })?;
    let engine = scene.engine(NAME)?;
    ensure!(engine["error"].is_null(), "{engine}");
    ensure!(scene.asked(NAME, "failed")? >= 1.0);
    Ok(())
}

#[test]
fn with_failure_mode_open_calls_pass_without_redis_and_the_status_says_so() -> Result<()> {
    let node = Node::new()?;
    let mut service = RateLimitService::start(&node, DOMAIN)?;
    let scene = Scene::new(&node, &[settings(LOOPBACK, ", failureMode: Open"), limit(3, "")])?;
    ensure!(scene.add()?.passed());
    service.stop_redis();
    for _ in 0..2 {
        let got = scene.add()?;
        ensure!(got.passed(), "{got:?}");
    }
    // This node still counts for itself.
    ensure!(scene.add()?.code() == Some(4290));
    let engine = scene.engine(NAME)?;
    ensure!(
        engine["failure_mode"] == "Open" && engine["error"].is_string(),
        "{engine}"
    );
    let output = node.mcpgw()?.arg("status").output()?;
    let status = String::from_utf8_lossy(&output.stdout);
    ensure!(status.contains("Open: calls pass"), "{status}");
    Ok(())
}

#[test]
fn a_service_that_does_not_know_our_domain_counts_nothing_and_that_is_noticed() -> Result<()> {
    let node = Node::new()?;
    let _service = RateLimitService::start(&node, "domain: somebody-elses\n")?;
    let scene = Scene::new(&node, &[settings(LOOPBACK, ""), limit(5, "")])?;
    ensure!(scene.add()?.code() == Some(5030));
    let engine = scene.engine(NAME)?;
    let error = engine["error"].as_str().context("no error")?;
    ensure!(error.contains("is our domain in its configuration?"), "{error}");
    Ok(())
}

#[test]
fn a_service_is_asked_over_tls_if_its_certificate_is_of_its_name_and_of_a_known_authority() -> Result<()> {
    let node = Node::new()?;
    let place = node.config_directory();
    let made = rcgen::generate_simple_self_signed(["ratelimit.test".to_owned()])?;
    let (certificate, key) = (place.join("service.crt"), place.join("service.key"));
    fs::write(&certificate, made.cert.pem()).context("write the certificate")?;
    fs::write(&key, made.signing_key.serialize_pem()).context("write its key")?;
    let environment = [
        ("GRPC_SERVER_USE_TLS", Path::new("true")),
        ("GRPC_SERVER_TLS_CERT", &certificate),
        ("GRPC_SERVER_TLS_KEY", &key),
    ];
    let _service = RateLimitService::start_with(&node, DOMAIN, &environment)?;
    let tls = |name: &str| format!(", tls: {{serverName: {name}, caFile: {}}}", certificate.display());
    let scene = Scene::new(&node, &[settings(LOOPBACK, &tls("ratelimit.test")), limit(100, "")])?;
    let got = scene.add()?;
    ensure!(got.passed(), "{got:?} {:?}", scene.engine(NAME));
    ensure!(scene.asked(NAME, "allowed")? == 1.0);
    // Another name, the system's authorities, and none at all.
    let files = fs::read_to_string(place.join("node.yaml"))?;
    for (wrong, error) in [
        (files.replace("ratelimit.test", "other.test"), "not trusted"),
        (
            files.replace(&format!(", caFile: {}", certificate.display()), ""),
            "not trusted",
        ),
        (files.replace(&tls("ratelimit.test"), ""), ""),
    ] {
        ensure!(wrong != files);
        node.configure("node.yaml", &[wrong])?;
        until(PATIENCE, "the change to be in force", || {
            scene.add().is_ok_and(|got| got.code() == Some(5030))
        })?;
        let said = scene.engine(NAME)?["error"].to_string();
        ensure!(said.contains(error) && said != "null", "{said}");
        node.configure("node.yaml", std::slice::from_ref(&files))?;
        until(PATIENCE, "the service to be trusted again", || {
            scene.add().is_ok_and(|got| got.passed())
        })?;
    }
    Ok(())
}

#[test]
fn the_example_for_the_whole_cluster_works_as_it_is_written() -> Result<()> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/cluster-limits");
    let read = |file: &str| fs::read_to_string(examples.join(file)).with_context(|| file.to_owned());
    let node = Node::new()?;
    let _service = RateLimitService::start(&node, &read("ratelimit/config.yaml")?)?;
    let settings = read("10-settings.yaml")?;
    ensure!(
        settings.contains("address: ratelimit.mcpgw-system:8081\n"),
        "{settings}"
    );
    let settings = settings.replace("ratelimit.mcpgw-system:8081", &format!("\"127.0.0.1:{PORT}\""));
    let policies = read("40-policies.yaml")?;
    ensure!(policies.contains("requests: 10000\n"), "{policies}");
    let scene = Scene::new(
        &node,
        &[settings, policies.replace("requests: 10000\n", "requests: 2\n")],
    )?;
    ensure!(scene.add()?.passed() && scene.add()?.passed());
    ensure!(scene.add()?.code() == Some(4290));
    ensure!(scene.asked(NAME, "allowed")? >= 2.0);
    Ok(())
}
