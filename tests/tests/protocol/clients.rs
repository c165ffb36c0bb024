//! Clients of several SDKs, as programs that take the same steps.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Pod, Process, tools};
use serde_json::Value;

/// For one client to take all its steps.
const LIMIT: Duration = Duration::from_secs(60);

/// Whose client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The TypeScript SDK.
    TypeScript,
    /// The Python SDK.
    Python,
}

/// In which era a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// With a session.
    Legacy,
    /// Without one.
    Modern,
}

impl Client {
    /// The eras that it speaks.
    pub fn eras(self) -> &'static [Era] {
        match self {
            Self::TypeScript => &[Era::Legacy],
            Self::Python => &[Era::Legacy, Era::Modern],
        }
    }

    /// Takes the steps in a pod; what each of them gave.
    pub fn run(self, pod: &Pod, url: &str, era: Era, steps: &Value) -> Result<Vec<Value>> {
        let mut command = match self {
            Self::TypeScript => {
                let mut command = pod.command("node")?;
                command
                    .arg(tools::peer_script("npm/client.mjs"))
                    .env("MCPGW_NPM_PEERS", tools::npm_peers()?);
                command
            }
            Self::Python => {
                let mut command = pod.command(tools::python_peers()?.join("bin/python"))?;
                command.arg(tools::peer_script("python/client.py"));
                command
            }
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
