//! An unmodified rmcp client, run as a child process in a pod.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Pod, binary};

/// How the client opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Era {
    /// `initialize`, then a session: revisions up to 2025-11-25.
    #[default]
    Legacy,
    /// Self-contained requests: revision 2026-07-28.
    Modern,
    /// Probes for modern, falls back to legacy.
    Auto,
}

/// A client for one URL. Each call is a process and a session of its own.
pub struct McpClient<'a> {
    pod: &'a Pod,
    url: String,
    era: Era,
}

impl<'a> McpClient<'a> {
    pub(crate) fn new(pod: &'a Pod, url: &str) -> Self {
        Self {
            pod,
            url: url.to_owned(),
            era: Era::default(),
        }
    }

    /// Chooses the era.
    pub fn era(mut self, era: Era) -> Self {
        self.era = era;
        self
    }

    /// Calls a tool.
    pub fn call(&self, tool: &str, arguments: Value) -> Result<McpAnswer> {
        let mut answers = self.session(&[(tool, arguments)])?;
        answers.pop().context("rmcp-client gave no answer")
    }

    /// Calls several tools one after the other in one session; stops at the first that gets no answer.
    pub fn session(&self, calls: &[(&str, Value)]) -> Result<Vec<McpAnswer>> {
        let calls = calls
            .iter()
            .flat_map(|(tool, arguments)| ["--call".into(), (*tool).into(), arguments.to_string()]);
        self.run(calls.collect())
    }

    /// Lists the tools' names.
    pub fn list(&self) -> Result<Vec<String>> {
        let answer = self
            .run(vec!["--list".into()])?
            .pop()
            .context("rmcp-client gave no answer")?;
        let tools = answer.0["result"]["tools"]
            .as_array()
            .with_context(|| format!("no tool list: {}", answer.0))?;
        Ok(tools
            .iter()
            .filter_map(|tool| tool["name"].as_str().map(str::to_owned))
            .collect())
    }

    fn run(&self, arguments: Vec<String>) -> Result<Vec<McpAnswer>> {
        let era = match self.era {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
            Era::Auto => "auto",
        };
        let mut command = self.pod.command(binary("rmcp-client")?)?;
        let output = command
            .args([&self.url, "--era", era])
            .args(arguments)
            .output()
            .context("run rmcp-client")?;
        let answers: Vec<McpAnswer> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).map(McpAnswer))
            .collect::<Result<_, _>>()
            .context("parse rmcp-client's output")?;
        ensure!(
            !answers.is_empty(),
            "rmcp-client said nothing: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(answers)
    }
}

/// What the client got: `{"result": …}` or `{"error": {kind, message, code?, data?}}`, with `kind` one of `rpc`
/// (a JSON-RPC error), `transport` and `connect` (the session did not open).
#[derive(Clone, Debug, PartialEq)]
pub struct McpAnswer(pub Value);

impl McpAnswer {
    /// The first text of a result.
    pub fn text(&self) -> Option<&str> {
        self.0.pointer("/result/content/0/text")?.as_str()
    }

    /// The code of a JSON-RPC error.
    pub fn error_code(&self) -> Option<i64> {
        self.0.pointer("/error/code")?.as_i64()
    }

    /// The message of an error of any kind, as the client shows it.
    pub fn error_message(&self) -> Option<&str> {
        self.0.pointer("/error/message")?.as_str()
    }

    /// `rpc`, `transport` or `connect`; `None` for a result.
    pub fn error_kind(&self) -> Option<&str> {
        self.0.pointer("/error/kind")?.as_str()
    }

    /// Whether the session did not open: rmcp does not say more when a connection is refused.
    pub fn refused(&self) -> bool {
        self.error_kind() == Some("connect")
    }
}
