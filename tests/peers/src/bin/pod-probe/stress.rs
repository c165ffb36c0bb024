//! Many short connections at once, each with a nonce that must come back on it and on no other.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use socket2::SockRef;

/// How much of what.
#[derive(Args)]
pub struct Stress {
    /// Servers to dial, in turn. Each `ADDRESS=NAME`; NAME is who must answer.
    #[arg(required = true, value_parser = target)]
    targets: Vec<(SocketAddr, String)>,
    /// Connections in all.
    #[arg(long, default_value_t = 1000)]
    connections: u64,
    /// At a time.
    #[arg(long, default_value_t = 64)]
    concurrency: u64,
    /// Every n-th connection is reset right after connect, so before or while it is accepted.
    #[arg(long)]
    abort_every: Option<u64>,
    /// For each step of a connection.
    #[arg(long, default_value_t = 5000)]
    timeout_ms: u64,
}

/// How many connections ended how.
#[derive(Default, Serialize)]
pub struct Report {
    /// Answered with their own nonce by the server that was dialled.
    answered: u64,
    /// Reset by ourselves, as asked.
    aborted: u64,
    /// `ECONNREFUSED` at connect.
    refused: u64,
    /// Ended without a whole answer: reset or closed by the other side.
    cut: u64,
    /// Answered with an HTTP status other than 200, by status.
    statuses: BTreeMap<u16, u64>,
    /// No free local port; not counted as a connection, tried again.
    exhausted: u64,
    /// Anything else, by error.
    failed: BTreeMap<String, u64>,
    /// Answers that belong to another connection or another server. Must be empty.
    wrong: Vec<String>,
    /// Milliseconds in all.
    milliseconds: u64,
}

enum Ended {
    Answered,
    Aborted,
    Refused,
    Cut,
    Status(u16),
    Exhausted,
    Failed(String),
    Wrong(String),
}

impl Stress {
    /// Runs to the end.
    pub fn run(&self) -> Result<Report> {
        let started = Instant::now();
        let next = AtomicU64::new(0);
        let report = Mutex::new(Report::default());
        thread::scope(|scope| {
            for _ in 0..self.concurrency {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= self.connections {
                            break;
                        }
                        // The lock is taken for the note alone: the connections run side by side.
                        loop {
                            let ended = self.one(number);
                            if report.lock().unwrap_or_else(PoisonError::into_inner).note(ended) {
                                break;
                            }
                            thread::sleep(Duration::from_millis(1));
                        }
                    }
                });
            }
        });
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(report)
    }

    fn one(&self, number: u64) -> Ended {
        let index = number as usize % self.targets.len();
        let (address, name) = &self.targets[index];
        let limit = Duration::from_millis(self.timeout_ms);
        let mut stream = match TcpStream::connect_timeout(address, limit) {
            Ok(stream) => stream,
            Err(error) => {
                return match error.kind() {
                    ErrorKind::ConnectionRefused => Ended::Refused,
                    ErrorKind::ConnectionReset => Ended::Cut,
                    ErrorKind::AddrNotAvailable => Ended::Exhausted,
                    _ => Ended::Failed(format!("connect: {error}")),
                };
            }
        };
        if self.abort_every.is_some_and(|every| number.is_multiple_of(every)) {
            // Closing with a linger time of zero sends a reset.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return Ended::Aborted;
        }
        let nonce = format!("{}-{number}", std::process::id());
        match exchange(&mut stream, *address, &nonce, limit) {
            Ok(answer) => judge(&answer, &nonce, name),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Ended::Cut,
            Err(error) => Ended::Failed(format!("exchange: {error}")),
        }
    }
}

impl Report {
    /// Counts one; false when it is to be tried again.
    fn note(&mut self, ended: Ended) -> bool {
        match ended {
            Ended::Answered => self.answered += 1,
            Ended::Aborted => self.aborted += 1,
            Ended::Refused => self.refused += 1,
            Ended::Cut => self.cut += 1,
            Ended::Status(status) => *self.statuses.entry(status).or_default() += 1,
            Ended::Failed(error) => *self.failed.entry(error).or_default() += 1,
            Ended::Wrong(what) => self.wrong.push(what),
            Ended::Exhausted => {
                self.exhausted += 1;
                return false;
            }
        }
        true
    }
}

fn exchange(stream: &mut TcpStream, address: SocketAddr, nonce: &str, limit: Duration) -> std::io::Result<Vec<u8>> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let body = json!({
        "jsonrpc": "2.0", "id": nonce, "method": "tools/call",
        "params": {"name": "echo", "arguments": {"nonce": nonce}}
    })
    .to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0_u8; 4096];
    while !whole(&answer) {
        match stream.read(&mut chunk)? {
            0 => break,
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(answer)
}

/// Head and body; the body's length is told, or it is the rest of the connection.
fn parts(answer: &[u8]) -> Option<(String, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((
        String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase(),
        &answer[end + 4..],
    ))
}

fn whole(answer: &[u8]) -> bool {
    let Some((head, body)) = parts(answer) else {
        return false;
    };
    let told = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    match told {
        Some(length) => body.len() >= length,
        None => head.contains("transfer-encoding: chunked") && body.ends_with(b"0\r\n\r\n"),
    }
}

fn judge(answer: &[u8], nonce: &str, server: &str) -> Ended {
    if !whole(answer) {
        return Ended::Cut;
    }
    let Some((head, body)) = parts(answer) else {
        return Ended::Cut;
    };
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    if status != 200 {
        return Ended::Status(status);
    }
    // A chunked body holds the object between its sizes.
    let text = String::from_utf8_lossy(body);
    let object = text
        .find('{')
        .zip(text.rfind('}'))
        .and_then(|(from, to)| text.get(from..=to))
        .unwrap_or_default();
    let answer: Value = serde_json::from_str(object).unwrap_or(Value::Null);
    let told = &answer["result"]["structuredContent"];
    if answer["id"] == nonce && told["nonce"] == nonce && told["server"] == server {
        Ended::Answered
    } else if answer["id"] == nonce && answer["error"].is_object() {
        Ended::Failed(format!("JSON-RPC error: {}", answer["error"]["message"]))
    } else {
        Ended::Wrong(format!("{nonce} at {server} got {text}"))
    }
}

fn target(text: &str) -> Result<(SocketAddr, String), String> {
    let (address, name) = text.split_once('=').ok_or("expected ADDRESS=NAME")?;
    let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
    Ok((address, name.to_owned()))
}
