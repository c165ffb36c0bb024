//! Clients of several SDKs, as programs that take the same steps.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Pod, Process, binary, tools};
use serde_json::Value;

/// For one client to take all its steps.
const LIMIT: Duration = Duration::from_secs(60);

/// Whose client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The TypeScript SDK, version 1.
    TypeScript,
    /// The TypeScript SDK, version 2.
    TypeScript2,
    /// The Python SDK.
    Python,
    /// FastMCP.
    FastMcp,
    /// rmcp.
    Rmcp,
}

/// In which era a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// With a session.
    Legacy,
    /// Without one.
    Modern,
    /// With a session, over the HTTP+SSE transport of 2024-11-05.
    HttpSse,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::TypeScript,
        Self::TypeScript2,
        Self::Python,
        Self::FastMcp,
        Self::Rmcp,
    ];

    /// The eras that it speaks.
    pub fn eras(self) -> &'static [Era] {
        match self {
            Self::TypeScript => &[Era::Legacy],
            _ => &[Era::Legacy, Era::Modern],
        }
    }

    /// Whether it has the HTTP+SSE transport too.
    pub fn has_http_sse(self) -> bool {
        matches!(self, Self::TypeScript | Self::Python)
    }

    /// Takes the steps in a pod; what each of them gave.
    pub fn run(self, pod: &Pod, url: &str, era: Era, steps: &Value) -> Result<Vec<Value>> {
        let node = |script: &str| -> Result<Command> {
            let mut command = pod.command("node")?;
            command
                .arg(tools::peer_script(script))
                .env("MCPGW_NPM_PEERS", tools::npm_peers()?);
            Ok(command)
        };
        let python = |script: &str| -> Result<Command> {
            let mut command = pod.command(tools::python_peers()?.join("bin/python"))?;
            command
                .arg(tools::peer_script(script))
                .env("PYTHONDONTWRITEBYTECODE", "1");
            Ok(command)
        };
        let mut command = match self {
            Self::TypeScript => node("npm/client.mjs")?,
            Self::TypeScript2 => node("npm/client2.mjs")?,
            Self::Python => python("python/client.py")?,
            Self::FastMcp => python("python/fast_client.py")?,
            Self::Rmcp => pod.command(binary("rmcp-steps")?)?,
        };
        let era = format!("{era:?}").to_lowercase();
        command.args([url, &era, &steps.to_string()]);
        output(command)
    }
}

fn output(command: Command) -> Result<Vec<Value>> {
    let mut process = Process::spawn("client", command)?;
    let ended = process.wait(LIMIT)?;
    ensure!(ended.success(), "{}", process.epitaph());
    let lines = process.stdout().all();
    let last = lines.last().context("the client said nothing")?;
    serde_json::from_str(last).with_context(|| format!("parse {last}"))
}
