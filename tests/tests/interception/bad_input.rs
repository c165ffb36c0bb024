//! What is not a well-formed call gets an answer in the protocol's own form where HTTP is possible, else a
//! clean close; it is counted and audited, it reaches nobody, and nobody else notices.

use anyhow::{Context, Result};
use mcpgw_tests::{McpPeer, echo_request, until};
use serde_json::Value;

use crate::{
    governed::post,
    scene::{SOON, Scene},
};

/// Sends `bytes`, and expects an HTTP status with a JSON-RPC error body.
fn refused(scene: &Scene, what: &str, bytes: &[u8], status: u16) -> Result<Value> {
    let mark = scene.agent.audit_mark();
    let answer = scene.pod.send(scene.server.address(), bytes, &[])?;
    let got = answer
        .received
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse::<u16>().ok());
    assert_eq!(got, Some(status), "{what}: {answer:?}");
    let (_, body) = answer
        .received
        .split_once("\r\n\r\n")
        .context("an answer without a head")?;
    let body: Value = serde_json::from_str(body).with_context(|| format!("{what}: {body}"))?;
    assert_eq!(body["jsonrpc"], "2.0", "{what}: {body}");
    assert!(
        body["error"]["code"].is_i64() && body["error"]["message"].is_string(),
        "{what}: {body}"
    );
    let line = scene.agent.audit_after(mark, what, |line| line["event"] == "refused")?;
    assert_eq!(line["identity"]["workload"], "agent", "{line}");
    Ok(body)
}

/// Sends `bytes`, and expects the connection to end without an answer.
fn closed(scene: &Scene, what: &str, bytes: &[u8], reason: &str) -> Result<()> {
    let mark = scene.agent.audit_mark();
    let answer = scene.pod.send(scene.server.address(), bytes, &[])?;
    assert!(answer.received.is_empty(), "{what}: {answer:?}");
    assert!(matches!(answer.end.as_str(), "eof" | "reset"), "{what}: {answer:?}");
    let line = scene.agent.audit_after(mark, what, |line| line["event"] == "refused")?;
    assert_eq!(line["reason"], reason, "{line}");
    until(SOON, "the refusal to be counted", || {
        scene
            .agent
            .metric("mcpgw_requests_refused_total", &[("reason", reason)])
            .is_ok_and(|count| count >= 1.0)
    })
}

#[test]
fn every_kind_of_bad_input_is_refused_in_its_own_form_and_reaches_nobody() -> Result<()> {
    let scene = Scene::with(McpPeer::Echo, &[], |_| Ok(()))?;
    closed(
        &scene,
        "bytes that are not HTTP",
        b"\x00\x01\x02\x03 hello\r\n\r\n",
        "not_http",
    )?;
    closed(
        &scene,
        "a TLS ClientHello",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
        "tls",
    )?;

    let long = format!(
        "POST /mcp HTTP/1.1\r\nhost: x\r\nx-long: {}\r\ncontent-length: 0\r\n\r\n",
        "a".repeat(100_000)
    );
    refused(&scene, "oversize headers", long.as_bytes(), 431)?;
    let declared =
        b"POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n";
    refused(&scene, "an oversize body", declared, 413)?;
    refused(&scene, "invalid JSON", &post("{\"jsonrpc\":"), 400)?;
    refused(&scene, "an array", &post("[]"), 400)?;
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"delete_everything"}}"#;
    refused(&scene, "a duplicate key in params", &post(twice), 400)?;
    let escaped = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","n\u0061me":"x"}}"#;
    refused(&scene, "an escaped duplicate key", &post(escaped), 400)?;
    let envelope = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"x"}}"#;
    refused(&scene, "a duplicate key in the envelope", &post(envelope), 400)?;
    let lying = post(&echo_request("1").to_string());
    let lying = String::from_utf8(lying)?.replacen("host:", "mcp-name: harmless\r\nhost:", 1);
    let body = refused(&scene, "a header that is not the body's tool", lying.as_bytes(), 400)?;
    assert_eq!(body["error"]["code"], -32020, "{body}");
    let encoded = post("x");
    let encoded = String::from_utf8(encoded)?.replacen("host:", "content-encoding: gzip\r\nhost:", 1);
    refused(&scene, "a content encoding", encoded.as_bytes(), 415)?;
    let elsewhere = String::from_utf8(post(&echo_request("2").to_string()))?;
    refused(
        &scene,
        "another path",
        elsewhere.replacen("/mcp", "/admin", 1).as_bytes(),
        403,
    )?;
    refused(
        &scene,
        "an ambiguous path",
        elsewhere.replacen("/mcp", "/%256dcp", 1).as_bytes(),
        400,
    )?;
    refused(
        &scene,
        "another method",
        elsewhere.replacen("POST", "PUT", 1).as_bytes(),
        405,
    )?;

    let fine = scene
        .pod
        .send(scene.server.address(), &post(&echo_request("fine").to_string()), &[])?;
    assert!(fine.received.contains("\"nonce\":\"fine\""), "{fine:?}");
    assert_eq!(scene.server.from_node(), 1, "only the good call reached the server");
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    Ok(())
}

#[test]
fn bad_input_on_one_connection_leaves_the_others_alone() -> Result<()> {
    let scene = Scene::with(McpPeer::Echo, &[], |_| Ok(()))?;
    std::thread::scope(|scope| {
        let good = scope.spawn(|| {
            let target = format!("{}=calculator", scene.server.address());
            scene
                .pod
                .probe::<Value>(&["stress", &target, "--connections", "200", "--concurrency", "8"], b"")
        });
        for _ in 0..20 {
            scene.pod.send(scene.server.address(), b"\x16\x03\x01garbage", &[])?;
            scene.pod.send(scene.server.address(), &post("{"), &[])?;
        }
        let report = good
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the good client panicked"))?;
        assert_eq!(report["answered"], 200, "{report}");
        Ok(())
    })
}
