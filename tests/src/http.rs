//! One plain HTTP request from within a namespace, enough for admin endpoints and counters.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::netns::NetNs;

/// For the whole exchange, each way.
const LIMIT: Duration = Duration::from_secs(5);

/// An HTTP answer.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// `GET http://ADDRESS/PATH`, sent from `netns`.
pub fn get(netns: &NetNs, address: SocketAddr, path: &str) -> Result<HttpAnswer> {
    let exchange = || -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        // HTTP/1.0: the answer ends with the connection, and is never chunked.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = netns
        .run(exchange)
        .with_context(|| format!("GET http://{address}{path}"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer without an end of its head")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("an answer without a status")?;
    Ok(HttpAnswer {
        status,
        body: body.to_owned(),
    })
}
