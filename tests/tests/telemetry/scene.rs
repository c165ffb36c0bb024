//! A server behind the gateway and on its own address, a governed pod, and an agent that exports.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Agent, AgentOptions, HttpAnswer, McpPeer, Node, Pod, Server, resources, until};
use serde_json::{Value, json};

/// For something to be noticed.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// A caller's span.
pub const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
pub const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub const SPAN: &str = "b7ad6b7169203331";

/// The revision that callers speak.
const REVISION: &str = "2026-07-28";

pub struct Scene {
    pub agent: Agent,
    pub pod: Pod,
    pub server: Server,
    pub gateway: SocketAddr,
    pub node: Node,
}

/// The way that a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Redirected,
    Gateway,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::Redirected, Self::Gateway];

    pub fn word(self) -> &'static str {
        match self {
            Self::Redirected => "redirected",
            Self::Gateway => "gateway",
        }
    }
}

impl Scene {
    /// On this node, with an agent in this environment. The pod's ServiceAccount may call all tools but those that
    /// begin with `delete_`; `get_time` once an hour.
    pub fn new(node: &Node, environment: Vec<(String, String)>) -> Result<Self> {
        Self::with_settings(node, environment, "")
    }

    /// With this in the settings besides.
    pub fn with_settings(node: &Node, environment: Vec<(String, String)>, settings: &str) -> Result<Self> {
        let server = node.server("calc", McpPeer::Rmcp)?;
        let pod = node.pod("agent").build()?;
        let gateway = SocketAddr::from((pod.gateway_ipv4(), 8080));
        configure(node, &server, &pod, gateway, settings)?;
        let agent = node.agent_with(AgentOptions {
            environment,
            ..AgentOptions::default()
        })?;
        let scene = Self {
            agent,
            pod,
            server,
            gateway,
            node: node.clone(),
        };
        let list = json!({"jsonrpc": "2.0", "id": 0, "method": "tools/list", "params": {"_meta": meta(&[])}});
        let headers = [("MCP-Protocol-Version", REVISION), ("Mcp-Method", "tools/list")];
        let mut last = None;
        let known = until(PATIENCE, "the tools to be known", || {
            let answer = scene.ask(Way::Gateway, &headers, &list);
            let known = answer.as_ref().is_ok_and(|answer| answer.body.contains("calc_add"));
            last = Some(answer);
            known
        });
        known.with_context(|| format!("{last:?}"))?;
        Ok(scene)
    }

    /// Puts this in the settings in place of what was there besides.
    pub fn reload(&self, settings: &str) -> Result<()> {
        configure(&self.node, &self.server, &self.pod, self.gateway, settings)
    }

    /// Asks from the pod.
    pub fn ask(&self, way: Way, headers: &[(&str, &str)], message: &Value) -> Result<HttpAnswer> {
        let address = match way {
            Way::Redirected => self.server.address(),
            Way::Gateway => self.gateway,
        };
        let own = [
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            ("Connection", "close"),
        ];
        let headers: String = own
            .iter()
            .chain(headers)
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let body = message.to_string();
        let length = body.len();
        let request =
            format!("POST /mcp HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        let dialled = self.pod.send(address, request.as_bytes(), &[])?;
        HttpAnswer::parse(&dialled.received).with_context(|| format!("{dialled:?}"))
    }

    /// Calls a tool by this way, as a client of the modern era.
    pub fn call(&self, way: Way, tool: &str, arguments: Value, trace: &Trace<'_>) -> Result<HttpAnswer> {
        let name = match way {
            Way::Redirected => tool.to_owned(),
            Way::Gateway => format!("calc_{tool}"),
        };
        let message = json!({
            "jsonrpc": "2.0", "id": "r-1", "method": "tools/call",
            "params": {"name": name, "arguments": arguments, "_meta": meta(trace.meta)},
        });
        let mut headers = vec![
            ("MCP-Protocol-Version", REVISION),
            ("Mcp-Method", "tools/call"),
            ("Mcp-Name", &*name),
        ];
        headers.extend(trace.headers);
        let answer = self.ask(way, &headers, &message)?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(answer)
    }
}

/// What a client of the modern era says of itself, and this.
fn meta(more: &[(&str, &str)]) -> Value {
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    for (key, value) in more {
        meta[*key] = (*value).into();
    }
    meta
}

/// What a caller says of its trace.
#[derive(Default)]
pub struct Trace<'a> {
    pub headers: &'a [(&'a str, &'a str)],
    pub meta: &'a [(&'a str, &'a str)],
}

/// An environment with one variable more.
pub fn with(mut environment: Vec<(String, String)>, name: &str, value: &str) -> Vec<(String, String)> {
    environment.push((name.to_owned(), value.to_owned()));
    environment
}

fn configure(node: &Node, server: &Server, pod: &Pod, gateway: SocketAddr, settings: &str) -> Result<()> {
    let documents = [
        resources::gateway(gateway) + settings,
        format!(
            "apiVersion: mcpgw.dev/v1alpha1\nkind: MCPServer\nmetadata: {{name: calc, namespace: tools}}\nspec:\n  \
             backend: {{addresses: [\"{}\"]}}\n  exposeTo: {{namespaces: [\"*\"]}}\n",
            server.address()
        ),
        resources::workload("agents", "research", pod, "enforce"),
        resources::policy(
            "tools",
            "rules",
            &[
                "{action: Allow, tools: [\"*\"]}",
                "{action: Deny, tools: [\"delete_*\"]}",
            ],
        ),
        "apiVersion: mcpgw.dev/v1alpha1\nkind: MCPPolicy\nmetadata: {name: slow, namespace: tools}\nspec:\n  \
         limits:\n  - {name: hourly, requests: 1, per: 1h, scope: Node, key: [identity], tools: [get_time]}\n"
            .to_owned(),
    ];
    node.configure("node.yaml", &documents)
}
