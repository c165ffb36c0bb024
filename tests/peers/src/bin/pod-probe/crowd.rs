//! Many clients that all misbehave in the same way.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
    time::{Instant, sleep, timeout_at},
};

/// Between what standard input has for one connection and for the next.
const SEPARATOR: u8 = 0;
/// Connections over which sessions are opened.
const LANES: usize = 8;

/// What of an answer is searched for how it is sent.
const MAX_HEAD: usize = 4096;
const CHUNKED: &[u8] = b"transfer-encoding: chunked";
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// Opens many connections, sends on each what standard input has (of several inputs, separated by NUL, each
/// connection takes the next), and tells how they ended.
#[derive(Args)]
pub struct Crowd {
    address: SocketAddr,
    #[arg(long)]
    connections: usize,
    /// Milliseconds after which each sends another byte, again and again.
    #[arg(long)]
    drip: Option<u64>,
    /// Close the sending side after the last byte.
    #[arg(long, conflicts_with = "drip")]
    half_close: bool,
    /// Milliseconds after which a connection that has not ended counts as open.
    #[arg(long)]
    hold: u64,
}

/// How a crowd fared.
#[derive(Default, Serialize)]
pub struct Fared {
    /// Connections that were made.
    connected: usize,
    /// The first line's HTTP status, where there was one, by how often.
    statuses: BTreeMap<String, usize>,
    /// `eof`, `reset`, `ended` where an answer in chunks was over and its connection was not, or `open`, by how often.
    ends: BTreeMap<&'static str, usize>,
}

impl Crowd {
    pub fn run(self) -> Result<Fared> {
        let mut input = Vec::new();
        std::io::stdin()
            .read_to_end(&mut input)
            .context("read standard input")?;
        let inputs: Vec<Arc<[u8]>> = input.split(|byte| *byte == SEPARATOR).map(Arc::from).collect();
        runtime()?.block_on(async {
            let crowd = Arc::new(self);
            let clients: Vec<_> = (0..crowd.connections)
                .map(|number| tokio::spawn(Arc::clone(&crowd).one(Arc::clone(&inputs[number % inputs.len()]))))
                .collect();
            let mut fared = Fared::default();
            for client in clients {
                let Some((status, end)) = client.await? else { continue };
                fared.connected += 1;
                *fared.ends.entry(end).or_default() += 1;
                if let Some(status) = status {
                    *fared.statuses.entry(status).or_default() += 1;
                }
            }
            Ok(fared)
        })
    }

    /// One connection: its status and its end; `None` if it was not made.
    async fn one(self: Arc<Self>, input: Arc<[u8]>) -> Option<(Option<String>, &'static str)> {
        let deadline = Instant::now() + Duration::from_millis(self.hold);
        let (mut reader, mut writer) = TcpStream::connect(self.address).await.ok()?.into_split();
        let writing = tokio::spawn(async move {
            // A server that has had enough is no error here: reading tells.
            if writer.write_all(&input).await.is_err() {
                return None;
            }
            if self.half_close {
                let _ = writer.shutdown().await;
            }
            while let Some(drip) = self.drip {
                sleep(Duration::from_millis(drip)).await;
                if writer.write_all(b"x").await.is_err() {
                    break;
                }
            }
            Some(writer)
        });
        let (mut received, mut chunk) = (Vec::new(), vec![0; 4096]);
        let (mut is_chunked, mut last) = (false, Vec::new());
        let end = loop {
            if is_chunked && last.ends_with(LAST_CHUNK) {
                break "ended";
            }
            match timeout_at(deadline, reader.read(&mut chunk)).await {
                Err(_) => break "open",
                Ok(Ok(0)) => break "eof",
                Ok(Err(_)) => break "reset",
                Ok(Ok(count)) => {
                    if received.len() < MAX_HEAD {
                        received.extend_from_slice(&chunk[..count]);
                        is_chunked = received.windows(CHUNKED.len()).any(|window| window == CHUNKED);
                    }
                    last.extend_from_slice(&chunk[..count]);
                    last.drain(..last.len().saturating_sub(LAST_CHUNK.len()));
                }
            }
        };
        writing.abort();
        let line = String::from_utf8_lossy(&received);
        Some((line.split(' ').nth(1).map(str::to_owned), end))
    }
}

/// Posts standard input again and again, and tells which session ids were given.
#[derive(Args)]
pub struct Sessions {
    address: SocketAddr,
    #[arg(long)]
    count: usize,
}

/// The sessions that were opened.
#[derive(Serialize)]
pub struct Opened {
    /// All ids, each once.
    ids: BTreeSet<String>,
    /// Requests that gave none.
    failed: usize,
}

impl Sessions {
    pub fn run(self) -> Result<Opened> {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body).context("read standard input")?;
        let body = Bytes::from(body);
        ensure!(self.count >= LANES, "open {LANES} sessions at least");
        runtime()?.block_on(async {
            let lanes: Vec<_> = (0..LANES)
                .map(|_| tokio::spawn(lane(self.address, body.clone(), self.count / LANES)))
                .collect();
            let mut opened = Opened {
                ids: BTreeSet::new(),
                failed: 0,
            };
            for lane in lanes {
                for id in lane.await?? {
                    match id {
                        Some(id) => drop(opened.ids.insert(id)),
                        None => opened.failed += 1,
                    }
                }
            }
            Ok(opened)
        })
    }
}

/// Opens sessions over one connection.
async fn lane(address: SocketAddr, body: Bytes, count: usize) -> Result<Vec<Option<String>>> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        let request = Request::post("/mcp")
            .header("host", address.to_string())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Full::new(body.clone()))?;
        let answer = sender.send_request(request).await.context("ask for a session")?;
        let id = answer.headers().get("mcp-session-id").and_then(|id| id.to_str().ok());
        ids.push(id.map(str::to_owned));
        answer.into_body().collect().await.context("read an answer")?;
    }
    driver.abort();
    Ok(ids)
}

fn runtime() -> Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("make a runtime")
}
