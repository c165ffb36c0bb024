//! Callers with tokens of a real issuer, at the gateway: its keys change in the midst of calls, it dies, it comes back.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Agent, HttpAnswer, McpPeer, Node, Server, post, until};
use serde_json::{Value, json};

use crate::issuer::Issuer;

/// For the agent to notice something.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the issuer's keys are good when it cannot be asked.
const MAX_AGE: &str = "12s";

struct Scene {
    agent: Agent,
    gateway: SocketAddr,
    node: Node,
    _server: Server,
}

impl Scene {
    fn new() -> Result<Self> {
        let node = Node::new()?;
        let server = node.server("calc", McpPeer::Rmcp)?;
        let gateway = SocketAddr::from((server.pod().gateway_ipv4(), 8080));
        let (issuer, address) = (Issuer::name(), server.address());
        let documents = [
            format!(
                "apiVersion: mcpgw.dev/v1alpha1\nkind: ClusterMCPSettings\nmetadata: {{name: default}}\nspec:\n  \
                 publicURL: https://mcp.example\n  gateway: {{listen: [\"{gateway}\"]}}\n  issuers:\n  \
                 - {{issuer: \"{issuer}\", audiences: [mcpgw], jwks: {{maxAge: {MAX_AGE}}}, oauth: {{scopes: [mcp]}}}}\n"
            ),
            format!(
                "apiVersion: mcpgw.dev/v1alpha1\nkind: MCPServer\nmetadata: {{name: calc, namespace: tools}}\nspec:\n  \
                 backend: {{addresses: [\"{address}\"]}}\n  exposeTo: {{namespaces: [\"*\"]}}\n"
            ),
        ];
        node.configure("node.yaml", &documents)?;
        Ok(Self {
            agent: node.agent()?,
            gateway,
            node,
            _server: server,
        })
    }

    /// What `mcpgw status` says of the issuer.
    fn issuer(&self) -> Value {
        self.agent.status().unwrap_or_default()["issuers"][0].clone()
    }

    fn until_state(&self, state: &str) -> Result<()> {
        until(PATIENCE, state, || self.issuer()["state"] == state)
    }

    /// Asks the gateway, from the node: a caller that the kernel does not know.
    fn ask(&self, token: Option<&str>, message: &Value) -> Result<HttpAnswer> {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        post(self.node.netns(), self.gateway, "/mcp", &headers, &message.to_string())
    }

    fn list(&self, token: Option<&str>) -> Result<HttpAnswer> {
        self.ask(token, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
    }
}

#[test]
fn a_token_of_a_certified_issuer_lets_in_and_its_subject_is_in_the_audit_log() -> Result<()> {
    let scene = Scene::new()?;
    let issuer = Issuer::start(&scene.node)?;
    scene.until_state("Ready")?;
    let none = scene.list(None)?;
    ensure!(none.status == 401, "{none:?}");
    let challenge = none.header("www-authenticate").context("a 401 without a challenge")?;
    ensure!(
        challenge.contains("https://mcp.example/.well-known/oauth-protected-resource/mcp"),
        "{challenge}"
    );

    let token = issuer.token()?;
    until(PATIENCE, "the tools to be known", || {
        scene
            .list(Some(&token))
            .is_ok_and(|answer| answer.body.contains("calc_add"))
    })?;
    let mark = scene.agent.audit_mark();
    let call = json!({
        "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "calc_add", "arguments": {"a": 2, "b": 3}},
    });
    let answer = scene.ask(Some(&token), &call)?;
    ensure!(answer.status == 200 && answer.body.contains("\"5\""), "{answer:?}");
    let line = scene
        .agent
        .audit_after(mark, "the call", |line| line["event"] == "tool_call")?;
    ensure!(line["identity"]["issuer"] == Issuer::name(), "{line}");
    ensure!(line["identity"]["subject"] == "agent", "{line}");

    // One character of the signature is another.
    let (head, tail) = token.split_at(token.len() - 10);
    let other = if tail.starts_with('A') { 'B' } else { 'A' };
    let forged = scene.list(Some(&format!("{head}{other}{}", &tail[1..])))?;
    ensure!(forged.status == 401, "{forged:?}");
    ensure!(scene.agent.metric("mcpgw_jwks_keys", &[])? == 1.0);
    Ok(())
}

#[test]
fn keys_change_in_the_midst_of_calls_and_none_is_refused() -> Result<()> {
    const ROTATIONS: u64 = 2;
    let scene = Scene::new()?;
    let issuer = Issuer::start(&scene.node)?;
    scene.until_state("Ready")?;
    let (ended, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let call = || -> Result<()> {
        let mut token = issuer.token()?;
        while !ended.load(Ordering::Relaxed) {
            let answer = scene.list(Some(&token))?;
            ensure!(answer.status == 200, "{answer:?}");
            // Some are new and some are not.
            if calls.fetch_add(1, Ordering::Relaxed) % 3 == 0 {
                token = issuer.token()?;
            }
        }
        Ok(())
    };
    thread::scope(|scope| -> Result<()> {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
        let rotated = (0..ROTATIONS).try_for_each(|_| {
            let before = calls.load(Ordering::Relaxed);
            until(PATIENCE, "calls", || calls.load(Ordering::Relaxed) > before + 20)?;
            issuer.rotate()?;
            // A token of the new key, which the agent cannot know yet.
            let answer = scene.list(Some(&issuer.token()?))?;
            ensure!(answer.status == 200, "{answer:?}");
            Ok(())
        });
        ended.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.join().unwrap()?;
        }
        rotated
    })?;
    ensure!(scene.issuer()["keys"] == 2, "{}", scene.issuer());
    Ok(())
}

#[test]
fn a_dead_issuers_last_keys_are_good_for_a_while_and_then_its_tokens_are_refused_by_name() -> Result<()> {
    let scene = Scene::new()?;
    let issuer = Issuer::start(&scene.node)?;
    scene.until_state("Ready")?;
    let (used, unused) = (issuer.token()?, issuer.token()?);
    ensure!(scene.list(Some(&used))?.status == 200);
    drop(issuer);
    until(PATIENCE, "the failure to be noticed", || {
        !scene.issuer()["error"].is_null()
    })?;
    if scene.issuer()["state"] == "Ready" {
        for token in [&used, &unused] {
            let answer = scene.list(Some(token))?;
            ensure!(answer.status == 200 || scene.issuer()["state"] != "Ready", "{answer:?}");
        }
    }
    scene.until_state("KeysTooOld")?;
    let mark = scene.agent.audit_mark();
    for token in [&used, &unused] {
        let closed = scene.list(Some(token))?;
        ensure!(closed.status == 503, "{closed:?}");
    }
    scene
        .agent
        .audit_after(mark, "the refusal", |line| line["reason"] == "issuer_keys_too_old")?;

    let issuer = Issuer::start(&scene.node)?;
    scene.until_state("Ready")?;
    ensure!(scene.list(Some(&issuer.token()?))?.status == 200);
    // The keys of its former life are gone.
    let old = scene.list(Some(&used))?;
    ensure!(old.status == 401, "{old:?}");
    Ok(())
}
