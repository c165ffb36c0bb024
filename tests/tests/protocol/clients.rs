//! Clients of several SDKs, as programs that take the same steps.

use std::{path::Path, process::Command, time::Duration};

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

/// In which version of HTTP a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire<'a> {
    /// As it does by itself.
    Http1,
    /// HTTP/2 alone, with prior knowledge; Node's clients only.
    Http2,
    /// HTTP/2 alone, as TLS agrees, with a certificate of this name that is in this file; Node's clients only.
    Tls(&'a str, &'a Path),
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

    /// Whether it can speak HTTP/2 as well.
    pub fn speaks_http2(self) -> bool {
        matches!(self, Self::TypeScript | Self::TypeScript2)
    }

    /// Takes the steps in a pod; what each of them gave.
    pub fn run(self, pod: &Pod, url: &str, era: Era, wire: Wire, steps: &Value) -> Result<Vec<Value>> {
        ensure!(
            wire == Wire::Http1 || self.speaks_http2(),
            "{self:?} speaks HTTP/1.1 only"
        );
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
        if wire != Wire::Http1 {
            command.env("MCPGW_HTTP2", "1");
        }
        if let Wire::Tls(name, certificate) = wire {
            command
                .env("MCPGW_SERVER_NAME", name)
                .env("NODE_EXTRA_CA_CERTS", certificate);
        }
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
