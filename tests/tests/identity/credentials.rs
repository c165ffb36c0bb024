//! What a server is shown in place of what its caller showed: a token that a real authorization server gives.

use std::fs;

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{McpPeer, Node, echo_request, resources};
use serde_json::Value;

use crate::issuer::{Issuer, SECRET};

#[test]
fn a_server_is_shown_a_token_that_its_authorization_server_gives_to_the_agent() -> Result<()> {
    let node = Node::new()?;
    let issuer = Issuer::start(&node)?;
    let server = node.server("echo", McpPeer::Echo)?;
    let pod = node.pod("agent").build()?;
    let secret = node.config_directory().join("client-secret");
    fs::write(&secret, SECRET).context("write the client's secret")?;
    let credential = format!(
        "  credential: {{oauth2: {{tokenUrl: \"{}/token\", clientId: agent, clientSecretFile: {}, scopes: [mcp]}}}}\n",
        Issuer::name(),
        secret.display()
    );
    let documents = [
        resources::workload("agents", "research", &pod, "enforce"),
        resources::mcp_server("tools", "echo", &[server.address()], "/mcp") + &credential,
    ];
    node.configure("node.yaml", &documents)?;
    let mut agent = node.agent()?;
    let body = echo_request("n").to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: echo\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Authorization: Bearer the-callers-own\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = pod.send(server.address(), request.as_bytes(), &[])?.received;
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("no answer: {answer:?}"))?;
    let answer: Value = serde_json::from_str(body).with_context(|| format!("parse {body}"))?;
    let shown = &answer["result"]["structuredContent"]["credentials"];
    let token = shown[0].as_str().with_context(|| format!("no credential: {answer}"))?;
    ensure!(shown.as_array().is_some_and(|all| all.len() == 1), "{shown}");
    ensure!(
        token.starts_with("Bearer eyJ") && token.split('.').count() == 3,
        "{token}"
    );
    // Neither the log nor the audit log has a word of it, nor of the secret.
    agent.terminate()?;
    let process = agent.process();
    let written = [process.stdout().all(), process.stderr().all()].concat().join("\n");
    for secret in [&token["Bearer ".len()..], SECRET, "the-callers-own"] {
        ensure!(!written.contains(secret), "{written}");
    }
    drop(issuer);
    Ok(())
}
