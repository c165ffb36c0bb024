//! Clients that ask as fast as they are answered. Every answer is checked; one that is wrong voids the run.

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpStream, task::JoinSet};

/// A load.
#[derive(Args)]
pub struct Load {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// What is asked.
    #[arg(long, value_enum)]
    case: Case,
    /// The tool that is called.
    #[arg(long, default_value = "tool_000")]
    tool: String,
    /// A file with a token to show.
    #[arg(long)]
    bearer: Option<PathBuf>,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// For how long, in milliseconds, after a tenth of it to warm up.
    #[arg(long, default_value_t = 2000)]
    milliseconds: u64,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// A tool call of about 64 bytes of arguments in a session.
    Call,
    /// The same without a session, in the modern era.
    CallModern,
    /// As `call`, answered with a stream of events.
    CallStreamed,
    /// A list of tools.
    List,
    /// A tool call with 64 KiB of arguments.
    Args64k,
}

impl Load {
    /// Runs it, and prints one line of JSON.
    pub async fn run(self) -> Result<()> {
        let warm = Instant::now() + Duration::from_millis(self.milliseconds / 10);
        let end = warm + Duration::from_millis(self.milliseconds);
        let mut clients = JoinSet::new();
        let bearer = self.bearer.as_ref().map(std::fs::read_to_string).transpose()?;
        for _ in 0..self.connections {
            let client = Client::open(&self, bearer.as_deref()).await?;
            clients.spawn(client.ask_until(warm, end));
        }
        let mut micros: Vec<u32> = Vec::new();
        let mut all = 0;
        while let Some(client) = clients.join_next().await {
            let (asked, times) = client??;
            all += asked;
            micros.extend(times);
        }
        ensure!(!micros.is_empty(), "nothing was answered");
        micros.sort_unstable();
        let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
        let rps = micros.len() as f64 / Duration::from_millis(self.milliseconds).as_secs_f64();
        let line = json!({"requests": all, "rps": rps, "p50_us": at(0.5), "p99_us": at(0.99)});
        println!("{line}");
        Ok(())
    }

    fn message(&self, id: u64) -> String {
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}},"#;
        let (method, params) = match self.case {
            Case::List => ("tools/list", String::new()),
            case => {
                let text = match case {
                    Case::Args64k => "lorem ipsum ".repeat(64 * 1024 / 12),
                    _ => "forty characters of text, more or less.".to_owned(),
                };
                let meta = if case == Case::CallModern { meta } else { "" };
                let tool = &self.tool;
                (
                    "tools/call",
                    format!(r#"{meta}"name":"{tool}","arguments":{{"text":"{text}"}}"#),
                )
            }
        };
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}}}}}"#)
    }
}

/// One connection.
struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
    session: Option<String>,
    headers: Vec<(&'static str, String)>,
    before_id: String,
    behind_id: String,
    /// The id of an answer begins among so many of its first bytes.
    searched: usize,
}

impl Client {
    async fn open(load: &Load, bearer: Option<&str>) -> Result<Self> {
        let stream = TcpStream::connect(load.to).await.context("connect")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        // The id stands where it can be exchanged without making the message anew.
        let message = load.message(987_654_321);
        let (before_id, behind_id) = message.split_once("987654321").context("a message without an id")?;
        let mut client = Self {
            sender,
            host: load.to.to_string(),
            session: None,
            headers: bearer
                .map(|token| ("authorization", format!("Bearer {token}")))
                .into_iter()
                .collect(),
            before_id: before_id.to_owned(),
            behind_id: behind_id.to_owned(),
            // An event stream has others before the answer.
            searched: if load.case == Case::CallStreamed { 1024 } else { 64 },
        };
        if load.case == Case::CallModern {
            client.headers.extend([
                ("mcp-protocol-version", "2026-07-28".to_owned()),
                ("mcp-method", "tools/call".to_owned()),
                ("mcp-name", load.tool.clone()),
            ]);
            return Ok(client);
        }
        let initialize = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"load","version":"1"}}}"#;
        let (session, _) = client.post(initialize.to_owned()).await?;
        client.session = session;
        client.headers.push(("mcp-protocol-version", "2025-11-25".to_owned()));
        Ok(client)
    }

    async fn ask_until(mut self, warm: Instant, end: Instant) -> Result<(u64, Vec<u32>)> {
        let mut times = Vec::with_capacity(64 * 1024);
        for id in 1.. {
            let asked = Instant::now();
            if asked >= end {
                return Ok((id - 1, times));
            }
            let message = format!("{}{id}{}", self.before_id, self.behind_id);
            let (_, answer) = self.post(message).await?;
            let expected = format!("\"id\":{id},");
            let found = answer
                .windows(expected.len())
                .take(self.searched)
                .any(|window| window == expected.as_bytes());
            ensure!(
                found,
                "a wrong answer to request {id}: {}",
                answer[..answer.len().min(200)].escape_ascii()
            );
            if asked >= warm {
                times.push(asked.elapsed().as_micros() as u32);
            }
        }
        bail!("no end")
    }

    /// The session id in the answer, and the body.
    async fn post(&mut self, body: String) -> Result<(Option<String>, Bytes)> {
        let mut request = Request::post("/mcp")
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::new(body.into()))?).await?;
        ensure!(response.status() == StatusCode::OK, "HTTP {}", response.status());
        let session = response.headers().get("mcp-session-id");
        let session = session.and_then(|id| id.to_str().ok()).map(ToOwned::to_owned);
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(
            !body.windows(9).take(200).any(|window| window == b"\"error\":{"),
            "{}",
            body.escape_ascii()
        );
        Ok((session, body))
    }
}
