//! Two witnesses, both real: the kernel of this machine, and tokens of ServiceAccounts. Two pods, on both paths.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Agent, HttpAnswer, McpPeer, Node, Pod, Server, echo_request, post, resources, until};
use serde_json::Value;

use crate::service_accounts::{CLUSTER, Cluster};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server whose policy asks for `mode`, behind a gateway that asks for tokens, and two pods of one ServiceAccount.
struct Scene {
    agent: Agent,
    pods: [Pod; 2],
    server: Server,
    gateway: SocketAddr,
    cluster: Cluster,
    node: Node,
}

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Redirect,
    Gateway,
}

const BOTH: [By; 2] = [By::Redirect, By::Gateway];

impl Scene {
    fn new(mode: &str) -> Result<Self> {
        let node = Node::new()?;
        let server = node.server("echo", McpPeer::Echo)?;
        let pods = [node.pod("one").build()?, node.pod("two").build()?];
        let gateway = SocketAddr::from((server.pod().gateway_ipv4(), 8080));
        let keys = node.state_directory().join("cluster-jwks.json");
        let cluster = Cluster::new(&keys)?;
        let documents = [
            format!(
                "apiVersion: mcpgw.dev/v1alpha1\nkind: ClusterMCPSettings\nmetadata: {{name: default}}\nspec:\n  \
                 gateway: {{listen: [\"{gateway}\"], authentication: {{mode: Token}}}}\n  issuers:\n  \
                 - {{issuer: \"{CLUSTER}\", jwks: {{file: {}}}, kubernetes: {{}}}}\n",
                keys.display()
            ),
            resources::unprefixed_server("tools", "echo", server.address(), "/mcp")
                + "  exposeTo: {namespaces: [\"*\"]}\n",
            format!(
                "apiVersion: mcpgw.dev/v1alpha1\nkind: MCPPolicy\nmetadata: {{namespace: tools, name: callers}}\n\
                 spec: {{authentication: {{mode: {mode}, issuers: [\"{CLUSTER}\"]}}}}\n"
            ),
            resources::workload("agents", "research", &pods[0], "enforce"),
            resources::workload("agents", "research", &pods[1], "enforce"),
        ];
        node.configure("node.yaml", &documents)?;
        let scene = Self {
            agent: node.agent()?,
            pods,
            server,
            gateway,
            cluster,
            node,
        };
        let token = scene.token_of(0)?;
        until(PATIENCE, "the gateway to know the tools", || {
            scene
                .call(0, By::Gateway, Some(&token))
                .is_ok_and(|answer| credentials(&answer).is_ok())
        })?;
        Ok(scene)
    }

    /// The token that was made for a pod.
    fn token_of(&self, pod: usize) -> Result<String> {
        self.cluster.token("agents", "research", self.pods[pod].name())
    }

    fn call(&self, pod: usize, by: By, token: Option<&str>) -> Result<HttpAnswer> {
        let address = match by {
            By::Redirect => self.server.address(),
            By::Gateway => self.gateway,
        };
        let bearer = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let body = echo_request("n").to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: echo\r\nContent-Type: application/json\r\nConnection: close\r\n\
             {bearer}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        HttpAnswer::parse(&self.pods[pod].send(address, request.as_bytes(), &[])?.received)
    }
}

/// What the server was shown with a call that it answered.
fn credentials(answer: &HttpAnswer) -> Result<Value> {
    ensure!(answer.status == 200, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body).with_context(|| format!("parse {:?}", answer.body))?;
    let shown = &body["result"]["structuredContent"]["credentials"];
    ensure!(shown.is_array(), "{body}");
    Ok(shown.clone())
}

#[test]
fn a_token_is_good_in_the_pod_that_it_was_made_for_and_stolen_in_another_on_both_paths() -> Result<()> {
    let scene = Scene::new("AttestedAndToken")?;
    for by in BOTH {
        let path = if by == By::Gateway { "gateway" } else { "redirected" };
        let mark = scene.agent.audit_mark();
        for pod in [0, 1] {
            let shown = credentials(&scene.call(pod, by, Some(&scene.token_of(pod)?))?)?;
            ensure!(
                shown.as_array().is_some_and(Vec::is_empty),
                "{by:?}: the server saw {shown}"
            );
        }
        let line = scene.agent.audit_after(mark, "the call", |line| {
            line["event"] == "tool_call" && line["path"] == path
        })?;
        ensure!(line["identity"]["workload"] == "one", "{line}");
        ensure!(
            line["identity"]["subject"] == "system:serviceaccount:agents:research",
            "{line}"
        );

        let (mark, served) = (scene.agent.audit_mark(), scene.server.from_node());
        let stolen = scene.call(1, by, Some(&scene.token_of(0)?))?;
        ensure!(stolen.status == 401, "{by:?}: {stolen:?}");
        let challenge = stolen.header("www-authenticate").context("no challenge")?;
        ensure!(
            challenge.contains("the token belongs to another workload"),
            "{challenge}"
        );
        let line = scene
            .agent
            .audit_after(mark, "the theft", |line| line["reason"] == "stolen_token")?;
        ensure!(line["path"] == path, "{line}");
        // The pod that the kernel saw, and not the one that the token names.
        ensure!(line["identity"]["workload"] == "two", "{line}");
        ensure!(
            line["identity"]["executable"]
                .as_str()
                .is_some_and(|name| name.ends_with("pod-probe")),
            "{line}"
        );

        let mark = scene.agent.audit_mark();
        let without = scene.call(0, by, None)?;
        ensure!(without.status == 401, "{by:?}: {without:?}");
        scene.agent.audit_after(mark, "no token", |line| {
            line["reason"] == "no_token" && line["path"] == path
        })?;
        ensure!(
            scene.server.from_node() == served,
            "{by:?}: the server heard of what was refused"
        );
    }
    Ok(())
}

#[test]
fn who_brings_a_pods_token_from_elsewhere_is_not_let_in_where_the_kernel_must_vouch() -> Result<()> {
    let scene = Scene::new("AttestedAndToken")?;
    let bearer = format!("Bearer {}", scene.token_of(0)?);
    let headers = [("Content-Type", "application/json"), ("Authorization", &bearer)];
    let call = echo_request("n").to_string();
    let answer = post(scene.node.netns(), scene.gateway, "/mcp", &headers, &call)?;
    ensure!(answer.body.contains("Unknown tool: echo"), "{answer:?}");
    Ok(())
}

#[test]
fn a_direct_dial_with_a_token_alone_is_enough_where_a_policy_asks_for_no_more() -> Result<()> {
    let scene = Scene::new("Token")?;
    for by in BOTH {
        credentials(&scene.call(0, by, Some(&scene.token_of(0)?))?)?;
        ensure!(scene.call(0, by, None)?.status == 401, "{by:?}");
        let forged = scene.token_of(0)?.replacen('.', ".A", 1);
        ensure!(scene.call(0, by, Some(&forged))?.status == 401, "{by:?}");
        // Whose it is does not matter where the kernel is not asked.
        credentials(&scene.call(1, by, Some(&scene.token_of(0)?))?)?;
    }
    Ok(())
}
