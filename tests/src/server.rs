//! A pod with a running MCP server, and a counter of what reaches it.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{PacketCounter, Pod, PodBuilder, Process, binary, http, tools, wait};

/// The port that servers listen on, each in its own network namespace.
const PORT: u16 = 3001;
/// The certificate of servers with TLS, among the files that pods share; a test makes it.
pub const CERTIFICATE: &str = "server.crt";
/// Its key.
pub const KEY: &str = "server.key";
/// For a server to come up.
const LIMIT: Duration = Duration::from_secs(20);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum McpPeer {
    /// rmcp 3.9 over hyper, both eras; tools `add`, `echo`, `get_time`, `delete_everything`.
    Rmcp,
    /// Everything that the conformance suite asks for, made with rmcp, both eras; for clients that know it as
    /// `localhost` or by its address.
    Conformance,
    /// The same, in the modern era only, with lists of several pages.
    Modern,
    /// npm's `server-everything` (legacy era); `cargo xtask setup` installs it.
    Everything,
    /// The Python SDK's `MCPServer`, both eras; `cargo xtask setup` installs it.
    Python,
    /// The same, with a store of events: it ends the stream of a call before the answer, for the client to resume it.
    PythonResumable,
    /// FastMCP, both eras; `cargo xtask setup` installs it.
    FastMcp,
    /// Version 2 of the TypeScript SDK, both eras, without sessions; `cargo xtask setup` installs it.
    TypeScript,
    /// The same, with sessions in the legacy era.
    TypeScriptSessions,
    /// [`McpPeer::TypeScript`] in HTTP/2 alone, without TLS.
    TypeScriptHttp2,
    /// The same, in HTTP/2 as TLS agrees, with [`CERTIFICATE`] and [`KEY`] of its pod's shared directory.
    TypeScriptTls,
    /// npm's `server-everything` with the HTTP+SSE transport of 2024-11-05.
    EverythingSse,
    /// The Python SDK's `MCPServer` with that transport.
    PythonSse,
    /// Answers any POST at once with its `params.arguments.nonce` and who it is; for stress.
    Echo,
    /// Sends every byte back: traffic that is no HTTP.
    Raw,
    /// Reads the request's head and resets the connection.
    Reset,
    /// Sends half of an answer and closes.
    Half,
    /// Offers tools, each of which misbehaves in the way that its name says.
    Hostile,
}

/// A server in a pod of its own.
pub struct Server {
    process: Process,
    counter: PacketCounter,
    pod: Pod,
    peer: McpPeer,
}

impl Server {
    pub(crate) fn start(pod: PodBuilder, peer: McpPeer) -> Result<Self> {
        let pod = pod.build()?;
        let counter = PacketCounter::new(pod.netns())?;
        let mut server = Self {
            process: spawn(&pod, peer)?,
            counter,
            pod,
            peer,
        };
        server.listening()?;
        Ok(server)
    }

    /// Whether it has the HTTP+SSE transport.
    pub fn is_sse(&self) -> bool {
        matches!(self.peer, McpPeer::EverythingSse | McpPeer::PythonSse)
    }

    /// Whether it speaks HTTP/2 alone.
    pub fn is_http2(&self) -> bool {
        matches!(self.peer, McpPeer::TypeScriptHttp2 | McpPeer::TypeScriptTls)
    }

    /// The path of its endpoint, or of its stream.
    pub fn path(&self) -> &'static str {
        if self.is_sse() { "/sse" } else { "/mcp" }
    }

    /// Its MCP URL over IPv4.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address(), self.path())
    }

    /// Its MCP URL over IPv6.
    pub fn url_v6(&self) -> String {
        format!("http://{}{}", self.address_v6(), self.path())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (self.pod.ipv4(), PORT).into()
    }

    /// Where it listens over IPv6.
    pub fn address_v6(&self) -> SocketAddr {
        (self.pod.ipv6(), PORT).into()
    }

    /// Both addresses.
    pub fn addresses(&self) -> [SocketAddr; 2] {
        [self.address(), self.address_v6()]
    }

    /// What arrives in its namespace.
    pub fn counter(&self) -> &PacketCounter {
        &self.counter
    }

    /// The pod that it runs in.
    pub fn pod(&self) -> &Pod {
        &self.pod
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it in whatever it is doing.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(LIMIT).map(drop)
    }

    /// Starts it again after it was killed, at the same address, and waits until it listens.
    pub fn restart(&mut self) -> Result<()> {
        self.process = spawn(&self.pod, self.peer)?;
        self.listening()
    }

    /// How often each tool was executed ([`McpPeer::Rmcp`] only), asked over its own loopback.
    pub fn executions(&self) -> Result<BTreeMap<String, u64>> {
        let answer = http::get(self.pod.netns(), (Ipv4Addr::LOCALHOST, PORT).into(), "/executions")?;
        ensure!(answer.status == 200, "/executions answered {}", answer.status);
        serde_json::from_str(&answer.body).context("parse /executions")
    }

    /// The last tool calls as they came ([`McpPeer::Rmcp`] only): `{traceparent, tracestate, baggage, body}`.
    pub fn seen(&self) -> Result<Vec<Value>> {
        let answer = http::get(self.pod.netns(), (Ipv4Addr::LOCALHOST, PORT).into(), "/seen")?;
        ensure!(answer.status == 200, "/seen answered {}", answer.status);
        serde_json::from_str(&answer.body).context("parse /seen")
    }

    /// Executions of one tool.
    pub fn executed(&self, tool: &str) -> Result<u64> {
        Ok(self.executions()?.get(tool).copied().unwrap_or(0))
    }

    /// SYNs that came straight from `pod`, over IPv4 and IPv6: dials that bypassed the agent.
    pub fn direct_from(&self, pod: &Pod) -> u64 {
        self.counter.syns_from(pod.ipv4()) + self.counter.syns_from(pod.ipv6())
    }

    /// SYNs that came from the node: the agent's own dials.
    pub fn from_node(&self) -> u64 {
        self.counter.syns_from(self.pod.gateway_ipv4()) + self.counter.syns_from(self.pod.gateway_ipv6())
    }

    fn listening(&mut self) -> Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let netns = self.pod.netns().try_clone()?;
        let up = wait::eventually(LIMIT, "the server to listen", || {
            if netns.run(|| TcpStream::connect(address)).is_ok() {
                return Some(true);
            }
            (!matches!(self.process.ended(), Ok(None))).then_some(false)
        });
        match up {
            Ok(true) => Ok(()),
            _ => bail!("the server did not come up: {}", self.process.epitaph()),
        }
    }
}

fn spawn(pod: &Pod, peer: McpPeer) -> Result<Process> {
    let port = PORT.to_string();
    let command = match peer {
        McpPeer::Rmcp => {
            let mut command = pod.command(binary("rmcp-server")?)?;
            command.args(["--port", &port]);
            command
        }
        McpPeer::Conformance | McpPeer::Modern => {
            let mut command = pod.command(binary("conformance-server")?)?;
            command.args(["--port", &port, "--host", &pod.ipv4().to_string()]);
            command.args((peer == McpPeer::Modern).then_some("--modern"));
            command
        }
        McpPeer::Everything | McpPeer::EverythingSse => {
            let script = tools::npm_script("@modelcontextprotocol/server-everything/dist/index.js")?;
            let mut command = pod.command("node")?;
            let transport = if peer == McpPeer::Everything {
                "streamableHttp"
            } else {
                "sse"
            };
            command.arg(script).arg(transport).env("PORT", &port);
            command
        }
        McpPeer::TypeScript | McpPeer::TypeScriptSessions | McpPeer::TypeScriptHttp2 | McpPeer::TypeScriptTls => {
            let mut command = pod.command("node")?;
            command
                .arg(tools::peer_script("npm/server.mjs"))
                .arg(&port)
                .env("MCPGW_NPM_PEERS", tools::npm_peers()?);
            command.args(match peer {
                McpPeer::TypeScript => None,
                McpPeer::TypeScriptSessions => Some("--sessions"),
                _ => Some("--http2"),
            });
            if peer == McpPeer::TypeScriptTls {
                command
                    .arg("--tls")
                    .args([CERTIFICATE, KEY].map(|name| pod.shared_path(name)));
            }
            command
        }
        McpPeer::Python | McpPeer::PythonSse | McpPeer::PythonResumable | McpPeer::FastMcp => {
            let script = match peer {
                McpPeer::FastMcp => "python/fast_server.py",
                _ => "python/server.py",
            };
            let mut command = pod.command(tools::python_peers()?.join("bin/python"))?;
            command.arg(tools::peer_script(script)).args(["--port", &port]);
            command.args((peer == McpPeer::PythonSse).then_some("--sse"));
            command.args((peer == McpPeer::PythonResumable).then_some("--resumable"));
            command
        }
        McpPeer::Echo | McpPeer::Raw | McpPeer::Reset | McpPeer::Half | McpPeer::Hostile => {
            let mode = format!("{peer:?}").to_lowercase();
            let mut command = pod.command(binary("echo-server")?)?;
            command.args(["--port", &port, "--name", pod.name(), "--mode", &mode]);
            command
        }
    };
    Process::spawn(pod.name(), command)
}

/// The JSON-RPC request that [`McpPeer::Echo`] answers: a tool call that carries `nonce`.
pub fn echo_request(nonce: &str) -> Value {
    serde_json::json!({
        "jsonrpc": "2.0", "id": nonce, "method": "tools/call",
        "params": {"name": "echo", "arguments": {"nonce": nonce}}
    })
}
