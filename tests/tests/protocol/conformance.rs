//! The conformance suite against the server that it asks for: every check comes out through mcpgw as it does without.
//!
//! The suite checks how a server protects itself from web pages of other origins, and only one that it knows as
//! `localhost`. So that is what the address is called where the suite runs; nothing else there has a name.

use std::{collections::BTreeMap, fmt::Write, fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use mcpgw_tests::{McpPeer, Pod, Process, tools};
use serde_json::Value;

use crate::scene::{Scene, Way};

/// For one run of the suite.
const LIMIT: Duration = Duration::from_secs(120);

/// The checks of one run, by scenario, in their order.
type Checks = BTreeMap<String, Vec<Value>>;

/// Runs the suite in a pod, against what it knows as `localhost`.
fn run(pod: &Pod, address: SocketAddr, revision: &str, name: &str) -> Result<Checks> {
    let results = pod.shared_path(format!("conformance-{revision}-{name}"));
    let mut command = pod.command_knowing(tools::node22()?, &[("localhost", address.ip())])?;
    command
        .arg(tools::npm_script("@modelcontextprotocol/conformance/dist/index.js")?)
        .args(["server", "--url", &format!("http://localhost:{}/mcp", address.port())])
        .args(["--requirements", revision, "--output-dir"])
        .arg(&results);
    let mut process = Process::spawn("conformance", command)?;
    // It exits with 1 where a check failed: which, is in its results.
    process.wait(LIMIT)?;
    let checks = read(&results)?;
    if checks.is_empty() {
        bail!("the suite has no results: {}", process.epitaph());
    }
    Ok(checks)
}

/// The results: a directory for each scenario, called `server-SCENARIO-TIME`.
fn read(results: &Path) -> Result<Checks> {
    let mut checks = Checks::new();
    for entry in fs::read_dir(results).with_context(|| format!("list {}", results.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = name.strip_prefix("server-").unwrap_or(&name);
        let end = name.len().saturating_sub("-2026-01-01T00-00-00-000Z".len());
        let file = entry.path().join("checks.json");
        let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let list = serde_json::from_slice(&text).with_context(|| format!("parse {}", file.display()))?;
        checks.insert(name[..end].to_owned(), list);
    }
    Ok(checks)
}

/// How a check came out.
fn outcome(check: &Value) -> (&str, &str, &str) {
    let text = |name: &str| check[name].as_str().unwrap_or_default();
    (text("id"), text("name"), text("status"))
}

fn count(checks: &Checks, status: &str) -> usize {
    checks
        .values()
        .flatten()
        .filter(|check| check["status"] == status)
        .count()
}

/// What came out in another way than directly, with both.
fn differences(direct: &Checks, through: &Checks, way: &str) -> String {
    let mut text = String::new();
    let none = Vec::new();
    for (scenario, expected) in direct {
        let got = through.get(scenario).unwrap_or(&none);
        if expected.iter().map(outcome).eq(got.iter().map(outcome)) {
            continue;
        }
        let _ = writeln!(text, "{scenario}:");
        let both = expected.len().max(got.len());
        for place in 0..both {
            let (expected, got) = (expected.get(place), got.get(place));
            if expected.map(outcome) != got.map(outcome) {
                let shown = |check: Option<&Value>| check.map_or("nothing".to_owned(), Value::to_string);
                let _ = writeln!(text, "  direct {}\n  {way} {}", shown(expected), shown(got));
            }
        }
    }
    text
}

/// `passing`: how many checks the server itself passes: all that there are.
fn every_check_comes_out_the_same(revision: &str, passing: usize) -> Result<()> {
    let scene = Scene::unprefixed("conformance", McpPeer::Conformance)?;
    let server = &scene.servers[0].1;
    let direct = run(&scene.free, server.address(), revision, "direct")?;
    println!("conformance {revision}: direct {} passed", count(&direct, "SUCCESS"));
    let failed: Vec<&Value> = direct
        .values()
        .flatten()
        .filter(|check| check["status"] == "FAILURE")
        .collect();
    assert!(failed.is_empty(), "the server itself fails: {failed:#?}");
    assert_eq!(count(&direct, "SUCCESS"), passing);
    let mut different = String::new();
    for way in Way::ALL {
        let name = way.name();
        let through = run(scene.pod(way), scene.address(way, server), revision, &name)?;
        let found = differences(&direct, &through, &name);
        let mark = if found.is_empty() { "equal" } else { "DIFFERENT" };
        println!(
            "conformance {revision}: {name} {} passed, {mark}",
            count(&through, "SUCCESS")
        );
        different.push_str(&found);
    }
    assert!(different.is_empty(), "{different}");
    Ok(())
}

#[test]
fn every_check_of_2025_11_25_comes_out_through_mcpgw_as_without() -> Result<()> {
    every_check_comes_out_the_same("2025-11-25", 84)
}

#[test]
fn every_check_of_2026_07_28_comes_out_through_mcpgw_as_without() -> Result<()> {
    every_check_comes_out_the_same("2026-07-28", 197)
}
