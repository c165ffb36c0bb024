//! A server that is dead or misbehaves.

use std::time::Duration;

use anyhow::{Context, Result};
use mcpgw_tests::{McpPeer, echo_request};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{governed::post, scene::Scene};

#[test]
fn a_dead_server_is_answered_for_with_a_502_that_names_it() -> Result<()> {
    let mut scene = Scene::with(McpPeer::Echo, &[], |_| Ok(()))?;
    scene.server.process().signal(Signal::SIGKILL)?;
    scene.server.process().wait(Duration::from_secs(5))?;
    let answer = scene
        .pod
        .send(scene.server.address(), &post(&echo_request("n-1").to_string()), &[])?;
    assert!(answer.received.starts_with("HTTP/1.1 502"), "{answer:?}");
    let (_, body) = answer.received.split_once("\r\n\r\n").context("no head")?;
    let body: Value = serde_json::from_str(body)?;
    assert_eq!(body["id"], "n-1", "{body}");
    assert!(
        body["error"]["message"]
            .as_str()
            .is_some_and(|m| m.contains("tools/calculator")),
        "{body}"
    );
    let line = scene
        .agent
        .audit_after(0, "the failed call", |line| line["requestId"] == "n-1")?;
    assert_eq!(line["outcome"], "error", "{line}");
    assert_eq!(line["status"], 502);
    Ok(())
}

#[test]
fn a_reset_before_the_answer_is_a_502() -> Result<()> {
    let scene = Scene::with(McpPeer::Reset, &[], |_| Ok(()))?;
    let answer = scene
        .pod
        .send(scene.server.address(), &post(&echo_request("n-2").to_string()), &[])?;
    assert!(answer.received.starts_with("HTTP/1.1 502"), "{answer:?}");
    assert!(answer.received.contains("tools/calculator"), "{answer:?}");
    Ok(())
}

#[test]
fn half_an_answer_never_ends_as_if_it_were_whole() -> Result<()> {
    let scene = Scene::with(McpPeer::Half, &[], |_| Ok(()))?;
    let answer = scene
        .pod
        .send(scene.server.address(), &post(&echo_request("n-3").to_string()), &[])?;
    let (head, body) = answer.received.split_once("\r\n\r\n").context("no head")?;
    let length: usize = head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .context("the length was told, so a shorter body is an error to the client")?;
    assert!(body.len() < length, "{answer:?}");
    let line = scene
        .agent
        .audit_after(0, "the cut call", |line| line["requestId"] == "n-3")?;
    assert_eq!(line["outcome"], "error", "{line}");
    Ok(())
}
