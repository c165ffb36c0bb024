//! A server on its own address, a governed pod, and an agent.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use mcpgw_tests::{Agent, AgentOptions, HttpAnswer, McpPeer, Node, Pod, Server, resources};
use serde_json::{Value, json};

/// For something to be noticed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The revision that callers speak.
const REVISION: &str = "2026-07-28";

/// The fields end in this order.
pub struct Scene {
    pub agent: Agent,
    pub pod: Pod,
    pub server: Server,
}

/// What a call got.
#[derive(Debug)]
pub struct Got {
    pub http: HttpAnswer,
    pub body: Value,
}

impl Got {
    /// Whether the server has answered it.
    pub fn passed(&self) -> bool {
        self.body["result"].is_object()
    }

    pub fn code(&self) -> Option<i64> {
        self.body["error"]["code"].as_i64()
    }

    pub fn reason(&self) -> &str {
        self.body["error"]["data"]["reason"].as_str().unwrap_or_default()
    }

    /// Of `Retry-After`, in seconds.
    pub fn retry_after(&self) -> Option<u64> {
        self.http.header("Retry-After")?.parse().ok()
    }
}

impl Scene {
    /// On a node of its own, with these documents; the pod is of the ServiceAccount `tools/research`.
    pub fn new(node: &Node, documents: &[String]) -> Result<Self> {
        let server = node.server("calc", McpPeer::Rmcp)?;
        let pod = node.pod("agent").build()?;
        let mut all = vec![
            resources::mcp_server("tools", "calc", &[server.address()], "/mcp"),
            resources::workload("tools", "research", &pod, "enforce"),
        ];
        all.extend_from_slice(documents);
        node.configure("node.yaml", &all)?;
        let agent = node.agent_with(AgentOptions::default())?;
        Ok(Self { agent, pod, server })
    }

    /// Calls a tool at the server's own address, as a client of the modern era.
    pub fn call(&self, tool: &str, arguments: Value) -> Result<Got> {
        let address: SocketAddr = self.server.address();
        let message = json!({
            "jsonrpc": "2.0", "id": "r-1", "method": "tools/call",
            "params": {"name": tool, "arguments": arguments, "_meta": {
                "io.modelcontextprotocol/protocolVersion": REVISION,
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            }},
        });
        let body = message.to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nConnection: close\r\n\
             MCP-Protocol-Version: {REVISION}\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n\
             Authorization: Bearer the-callers-own\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let dialled = self.pod.send(address, request.as_bytes(), &[])?;
        let http = HttpAnswer::parse(&dialled.received).with_context(|| format!("{dialled:?}"))?;
        // One message, as JSON or as the one event of a stream.
        let text = http.body.lines().find_map(|line| {
            let line = line.strip_prefix("data:").unwrap_or(line).trim();
            line.starts_with('{').then_some(line)
        });
        let body = serde_json::from_str(text.with_context(|| format!("{http:?}"))?)?;
        Ok(Got { http, body })
    }

    /// Adds two numbers.
    pub fn add(&self) -> Result<Got> {
        self.call("add", json!({"a": 1, "b": 2}))
    }

    /// What `mcpgw status` says of an engine.
    pub fn engine(&self, name: &str) -> Result<Value> {
        let status = self.agent.status()?;
        let engines = status["engines"].as_array().cloned().unwrap_or_default();
        let found = engines.into_iter().find(|engine| engine["name"] == name);
        found.with_context(|| format!("no {name} in {status}"))
    }

    /// How often an engine gave this answer.
    pub fn asked(&self, engine: &str, outcome: &str) -> Result<f64> {
        let labels = [("engine", engine), ("outcome", outcome)];
        self.agent.metric("mcpgw_engine_requests_total", &labels)
    }
}
