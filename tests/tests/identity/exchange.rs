//! A server that wants a token in exchange for its caller's: two users of a real issuer, on both paths at once, and each
//! call reaches the server with a token of its own user.

use std::{fs, net::SocketAddr, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use mcpgw_tests::{Agent, HttpAnswer, McpPeer, Node, Pod, Server, echo_request, resources, until};
use serde_json::Value;

use crate::issuer::{Issuer, SECRET};

/// For the gateway to know what the server offers.
const PATIENCE: Duration = Duration::from_secs(60);
/// Calls of each user on each path.
const CALLS: usize = 20;
/// For whom the server's tokens are.
const SERVER: &str = "urn:the-server";

struct Scene {
    agent: Agent,
    pod: Pod,
    gateway: SocketAddr,
    server: Server,
    issuer: Issuer,
    _node: Node,
}

impl Scene {
    fn new() -> Result<Self> {
        let node = Node::new()?;
        let issuer = Issuer::start(&node)?;
        let server = node.server("echo", McpPeer::Echo)?;
        let pod = node.pod("agent").build()?;
        let gateway = SocketAddr::from((server.pod().gateway_ipv4(), 8080));
        let secret = node.config_directory().join("client-secret");
        fs::write(&secret, SECRET).context("write the client's secret")?;
        let name = Issuer::name();
        let documents = [
            format!(
                "apiVersion: mcpgw.dev/v1alpha1\nkind: ClusterMCPSettings\nmetadata: {{name: default}}\nspec:\n  \
                 gateway: {{listen: [\"{gateway}\"], authentication: {{mode: Token}}}}\n  issuers:\n  \
                 - {{issuer: \"{name}\", audiences: [mcpgw]}}\n"
            ),
            resources::workload("agents", "research", &pod, "enforce"),
            resources::unprefixed_server("tools", "echo", server.address(), "/mcp")
                + &format!(
                    "  exposeTo: {{namespaces: [\"*\"]}}\n  credential:\n    tokenExchange:\n      \
                     tokenUrl: \"{name}/token\"\n      clientId: mcpgw\n      clientSecretFile: {}\n      \
                     audience: \"{SERVER}\"\n      scopes: [mcp]\n",
                    secret.display()
                ),
        ];
        node.configure("node.yaml", &documents)?;
        let agent = node.agent()?;
        let scene = Self {
            agent,
            pod,
            gateway,
            server,
            issuer,
            _node: node,
        };
        let token = scene.issuer.token_of("alice")?;
        until(PATIENCE, "the gateway to know the tools", || {
            scene
                .call(scene.gateway, &token)
                .is_ok_and(|answer| shown(&answer).is_ok())
        })?;
        Ok(scene)
    }

    /// From the pod, straight to the server or to the gateway.
    fn call(&self, address: SocketAddr, token: &str) -> Result<HttpAnswer> {
        let body = echo_request("n").to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: echo\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        HttpAnswer::parse(&self.pod.send(address, request.as_bytes(), &[])?.received)
    }
}

/// The one token that the server was shown with a call, and what it claims.
fn shown(answer: &HttpAnswer) -> Result<(String, Value)> {
    ensure!(answer.status == 200, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body).with_context(|| format!("parse {:?}", answer.body))?;
    let all = body["result"]["structuredContent"]["credentials"].as_array();
    let [Value::String(only)] = &all.context("no credentials")?[..] else {
        anyhow::bail!("{body}");
    };
    let token = only.strip_prefix("Bearer ").context("no bearer token")?;
    let claims = token.split('.').nth(1).context("no JWT")?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).context("no base64")?;
    Ok((token.to_owned(), serde_json::from_slice(&claims).context("no JSON")?))
}

#[test]
fn each_users_calls_reach_the_server_with_that_users_own_exchanged_token() -> Result<()> {
    let mut scene = Scene::new()?;
    let ways = [scene.gateway, scene.server.address()];
    // All at the same time, in one pod: what one of them is given could be shown for another.
    let tokens = thread::scope(|scope| -> Result<Vec<String>> {
        let mut callers = Vec::new();
        for user in ["alice", "bob"] {
            for way in ways {
                let scene = &scene;
                callers.push(scope.spawn(move || -> Result<Vec<String>> {
                    let own = scene.issuer.token_of(user)?;
                    let mut tokens = vec![own.clone()];
                    for _ in 0..CALLS {
                        let (token, claims) = shown(&scene.call(way, &own)?)?;
                        ensure!(claims["sub"] == user, "{user} at {way}: {claims}");
                        ensure!(claims["aud"] == SERVER, "{claims}");
                        ensure!(claims["client_id"] == "mcpgw", "{claims}");
                        ensure!(token != own, "the user's own token went on");
                        tokens.push(token);
                    }
                    Ok(tokens)
                }));
            }
        }
        let mut all = Vec::new();
        for caller in callers {
            all.extend(caller.join().unwrap()?);
        }
        Ok(all)
    })?;

    // Whose token is not exchanged does not get there: not with its own, nor with another's, nor with none.
    let agent = scene.issuer.token_of("agent")?;
    // At the gateway it is not even shown what there is: that is asked for with the user's token, too.
    for (way, outcome) in ways.into_iter().zip(["denied", "error"]) {
        let mark = scene.agent.audit_mark();
        let answer = scene.call(way, &agent)?;
        ensure!(
            shown(&answer).is_err() && !answer.body.contains("credentials"),
            "{answer:?}"
        );
        let line = scene
            .agent
            .audit_after(mark, "the refusal", |line| line["identity"]["subject"] == "agent")?;
        ensure!(line["outcome"] == outcome, "{line}");
    }
    for user in ["alice", "bob"] {
        let own = |line: &Value| line["identity"]["subject"] == user && line["outcome"] == "ok";
        let answered = scene.agent.audit().into_iter().filter(own).count();
        ensure!(answered >= CALLS * ways.len(), "{answered} of {user}");
    }

    // Neither log has a word of any of them.
    scene.agent.terminate()?;
    let process = scene.agent.process();
    let written = [process.stdout().all(), process.stderr().all()].concat().join("\n");
    for token in tokens.iter().map(String::as_str).chain([SECRET, &agent]) {
        ensure!(!written.contains(token), "{written}");
    }
    Ok(())
}
