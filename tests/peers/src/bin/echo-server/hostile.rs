//! A server that means harm to whoever stands between it and its clients.

use std::{io::Write, net::TcpStream, thread::sleep, time::Duration};

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// Its tools.
const TOOLS: [&str; 10] = [
    "fine",
    "endless-event",
    "endless-body",
    "giant-header",
    "many-headers",
    "bad-header",
    "long-body",
    "short-body",
    "drip",
    "silent",
];
/// What an endless answer comes to before it goes silent: more than anybody should hold.
const ENDLESS: usize = 96 << 20;
/// For whoever waits to give up; then the connection ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers a request in the way that the tool's name says.
pub fn answer(stream: &mut TcpStream, body: &[u8]) -> Result<()> {
    let call: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if call["id"].is_null() {
        return Ok(stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")?);
    }
    let result = |result: Value| json!({"jsonrpc": "2.0", "id": call["id"], "result": result}).to_string();
    let tools = TOOLS.map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
    let whole = match call["method"].as_str() {
        Some("initialize") => result(json!({
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": "hostile", "version": "1"},
        })),
        Some("tools/list") => result(json!({ "tools": tools })),
        Some("tools/call") => result(json!({"content": [{"type": "text", "text": "fine"}]})),
        _ => json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32601, "message": "?"}}).to_string(),
    };
    let length = whole.len();
    let head = |more: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{more}\r\n\r\n");
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ";
    match call["params"]["name"].as_str() {
        Some("endless-event") => endless(stream, events),
        Some("endless-body") => endless(stream, &head("connection: close")),
        Some("giant-header") => {
            let giant = format!("x-giant: {}\r\ncontent-length: {length}", "a".repeat(4 << 20));
            Ok(write!(stream, "{}{whole}", head(&giant))?)
        }
        Some("many-headers") => {
            let many: String = (0..20_000).map(|n| format!("x-{n}: 1\r\n")).collect();
            Ok(write!(
                stream,
                "{}{whole}",
                head(&format!("{many}content-length: {length}"))
            )?)
        }
        Some("bad-header") => Ok(write!(
            stream,
            "{}{whole}",
            head("x-bad: a\rx-more: b\ncontent-length: 1")
        )?),
        // What is more than was told would be the answer to somebody's next call.
        Some("long-body") => {
            let forged = head(&format!("content-length: {length}")) + &whole;
            Ok(write!(
                stream,
                "{}{whole}{forged}",
                head(&format!("content-length: {length}"))
            )?)
        }
        Some("short-body") => {
            write!(
                stream,
                "{}{}",
                head(&format!("content-length: {length}")),
                &whole[..length / 2]
            )?;
            bail!("enough")
        }
        Some("drip") => {
            stream.write_all(head(&format!("content-length: {length}")).as_bytes())?;
            for byte in whole.as_bytes() {
                stream.write_all(&[*byte])?;
                sleep(Duration::from_millis(500));
            }
            Ok(())
        }
        Some("silent") => {
            sleep(PATIENCE);
            bail!("enough")
        }
        _ => Ok(write!(stream, "{}{whole}", head(&format!("content-length: {length}")))?),
    }
}

fn endless(stream: &mut TcpStream, head: &str) -> Result<()> {
    stream.write_all(head.as_bytes())?;
    let piece = [b'a'; 64 << 10];
    for _ in 0..ENDLESS / piece.len() {
        stream.write_all(&piece)?;
    }
    sleep(PATIENCE);
    bail!("enough")
}
