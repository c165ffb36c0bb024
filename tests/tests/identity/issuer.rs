//! A certified OpenID Connect issuer (npm `oidc-provider`) on the node's loopback.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{NetNs, Node, Process, post, tools};
use serde_json::Value;

const PORT: u16 = 9400;
/// The secret of each of its clients.
pub const SECRET: &str = "a-secret-of-the-test";
/// For it to listen.
const LIMIT: Duration = Duration::from_secs(30);

/// A running issuer. Killed on drop.
pub struct Issuer {
    netns: NetNs,
    #[allow(dead_code, reason = "held while the issuer is wanted")]
    process: Process,
}

impl Issuer {
    /// Its name, which is its URL.
    pub fn name() -> String {
        format!("http://127.0.0.1:{PORT}")
    }

    /// Starts it; every start has keys of its own.
    pub fn start(node: &Node) -> Result<Self> {
        let mut command = node.command("node")?;
        command
            .arg(tools::peer_script("npm/issuer.mjs"))
            .arg(PORT.to_string())
            .env("MCPGW_NPM_PEERS", tools::npm_peers()?);
        let mut process = Process::spawn("issuer", command)?;
        let up = process
            .stdout()
            .wait_for(LIMIT, "listening", |line| (line == "listening").then_some(()));
        if up.is_err() {
            up.with_context(|| process.epitaph())?;
        }
        Ok(Self {
            netns: node.netns().try_clone()?,
            process,
        })
    }

    /// An access token of its client `agent`, by client credentials.
    pub fn token(&self) -> Result<String> {
        self.token_of("agent")
    }

    /// An access token of one of its clients, which is the token's subject: `agent`, or the users `alice` and `bob`.
    pub fn token_of(&self, client: &str) -> Result<String> {
        let form = format!("grant_type=client_credentials&client_id={client}&client_secret={SECRET}&scope=mcp");
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = post(&self.netns, address(), "/token", &headers, &form)?;
        ensure!(answer.status == 200, "the issuer gave no token: {answer:?}");
        let answer: Value = serde_json::from_str(&answer.body).context("parse the issuer's answer")?;
        let token = answer["access_token"].as_str().context("an answer without a token")?;
        Ok(token.to_owned())
    }

    /// Has it sign with a new key from now on.
    pub fn rotate(&self) -> Result<()> {
        let answer = post(&self.netns, address(), "/rotate", &[], "")?;
        ensure!(answer.status == 200, "the issuer did not rotate its key: {answer:?}");
        Ok(())
    }
}

fn address() -> SocketAddr {
    ([127, 0, 0, 1], PORT).into()
}
