//! Simple servers for what no real MCP server does: answer at once with whatever identifies the call, echo
//! bytes, or misbehave.

mod hostile;
mod http;

use std::{
    io::Write,
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
    /// `Authorization`; offer one tool, `echo`.
    Echo,
    /// Send every byte back.
    Raw,
    /// Read a request's head, then reset.
    Reset,
    /// Send half of an answer, then close.
    Half,
    /// Offer tools, each of which misbehaves in the way that its name says.
    Hostile,
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
    if let Mode::Hostile = mode {
        while let Some((_, body)) = http::request(&mut stream, &mut pending)? {
            hostile::answer(&mut stream, &body)?;
        }
        return Ok(());
    }
    while let Some((head, body)) = http::request(&mut stream, &mut pending)? {
        let answer = answer(&head, &body, name, peer).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        match mode {
            Mode::Reset => return Ok(SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?),
            Mode::Half => return Ok(write!(stream, "{head}{}", &answer[..answer.len() / 2])?),
            Mode::Echo | Mode::Raw | Mode::Hostile => stream.write_all(format!("{head}{answer}").as_bytes())?,
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
    let result = match call["method"].as_str() {
        // Enough for a gateway to offer its one tool.
        Some("initialize") => json!({
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": name, "version": "1"},
        }),
        Some("tools/list") => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
        _ => json!({
            "content": [{"type": "text", "text": nonce}],
            "structuredContent": {"nonce": nonce, "server": name, "peer": peer, "credentials": credentials},
        }),
    };
    json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
}
