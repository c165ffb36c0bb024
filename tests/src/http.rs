//! One plain HTTP request from within a namespace, enough for admin endpoints, counters and issuers.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::netns::NetNs;

/// For the whole exchange, each way.
const LIMIT: Duration = Duration::from_secs(5);
/// For an answer to a POST, which may have to wait for others.
const POST_LIMIT: Duration = Duration::from_secs(30);

/// An HTTP answer.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// Its first lines: status and headers.
    pub head: String,
    /// The body.
    pub body: String,
}

impl HttpAnswer {
    /// Of what was received on a connection that has ended.
    pub fn parse(received: &str) -> Result<Self> {
        parse(received)
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .next()
    }
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
    netns
        .run(exchange)
        .and_then(|answer| parse(&answer))
        .with_context(|| format!("GET http://{address}{path}"))
}

/// `POST http://ADDRESS/PATH` with these headers, sent from `netns`.
pub fn post(
    netns: &NetNs,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<HttpAnswer> {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    let exchange = || -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(POST_LIMIT))?;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    netns
        .run(exchange)
        .and_then(|answer| parse(&answer))
        .with_context(|| format!("POST http://{address}{path}"))
}

fn parse(answer: &str) -> Result<HttpAnswer> {
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
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
