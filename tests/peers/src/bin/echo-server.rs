//! Simple servers for what no real MCP server does: answer at once with whatever identifies the call, echo
//! bytes, or misbehave.

use std::{
    io::{Read, Write},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use socket2::SockRef;

#[derive(Parser)]
struct Arguments {
    /// TCP port, on every address of the network namespace.
    #[arg(long)]
    port: u16,
    /// Who it says it is.
    #[arg(long)]
    name: String,
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    mode: Mode,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Answer JSON-RPC over HTTP/1.1 keep-alive with the call's nonce, this server's name, the peer, and what came in
    /// `Authorization`.
    Echo,
    /// Send every byte back.
    Raw,
    /// Read a request's head, then reset.
    Reset,
    /// Send half of an answer, then close.
    Half,
}

fn main() -> Result<()> {
    let Arguments { port, name, mode } = Arguments::parse();
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind(("0.0.0.0", port)))
        .with_context(|| format!("listen on port {port}"))?;
    loop {
        let (stream, peer) = listener.accept().context("accept")?;
        let name = name.clone();
        thread::Builder::new()
            .stack_size(256 << 10)
            .spawn(move || {
                // A client that goes away is no news.
                let _ = stream.set_nodelay(true);
                let _ = serve(stream, peer, &name, mode);
            })
            .context("start a thread for a connection")?;
    }
}

fn serve(mut stream: TcpStream, peer: SocketAddr, name: &str, mode: Mode) -> Result<()> {
    if let Mode::Raw = mode {
        let mut reader = stream.try_clone()?;
        std::io::copy(&mut reader, &mut stream)?;
        return Ok(());
    }
    let mut pending = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut pending)? {
        let answer = answer(&head, &body, name, peer).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        match mode {
            Mode::Reset => return Ok(SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?),
            Mode::Half => return Ok(write!(stream, "{head}{}", &answer[..answer.len() / 2])?),
            Mode::Echo | Mode::Raw => stream.write_all(format!("{head}{answer}").as_bytes())?,
        }
    }
    Ok(())
}

fn answer(head: &str, body: &[u8], name: &str, peer: SocketAddr) -> Value {
    let credentials = head.lines().filter_map(|line| {
        let (header, value) = line.split_once(':')?;
        header.eq_ignore_ascii_case("authorization").then(|| value.trim())
    });
    let credentials: Vec<&str> = credentials.collect();
    let call: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let nonce = &call["params"]["arguments"]["nonce"];
    json!({
        "jsonrpc": "2.0",
        "id": call["id"],
        "result": {
            "content": [{"type": "text", "text": nonce}],
            "structuredContent": {"nonce": nonce, "server": name, "peer": peer, "credentials": credentials},
        }
    })
}

/// Head and body of the next request, of any length that its head tells; `None` at the end of the connection.
fn request(stream: &mut TcpStream, pending: &mut Vec<u8>) -> Result<Option<(String, Vec<u8>)>> {
    let mut chunk = [0_u8; 16 << 10];
    let mut read = |pending: &mut Vec<u8>| -> Result<bool> {
        let count = stream.read(&mut chunk)?;
        pending.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    };
    let body_at = loop {
        if let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if !read(pending)? {
            return Ok(None);
        }
    };
    let written = String::from_utf8_lossy(&pending[..body_at]).into_owned();
    let head = written.to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        while !pending.ends_with(b"0\r\n\r\n") {
            if !read(pending)? {
                return Ok(None);
            }
        }
        let chunked = pending.split_off(body_at);
        pending.clear();
        return Ok(Some((written, dechunk(&chunked))));
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    while pending.len() < body_at + length {
        if !read(pending)? {
            return Ok(None);
        }
    }
    let rest = pending.split_off(body_at + length);
    let body = pending.split_off(body_at);
    *pending = rest;
    Ok(Some((written, body)))
}

fn dechunk(mut chunked: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunked.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&chunked[..end])
            .ok()
            .and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(data) = size
            .filter(|size| *size > 0)
            .and_then(|size| chunked.get(end + 2..end + 2 + size))
        else {
            break;
        };
        body.extend_from_slice(data);
        chunked = chunked.get(end + 2 + data.len() + 2..).unwrap_or_default();
    }
    body
}
