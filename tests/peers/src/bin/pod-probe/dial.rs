//! One dial, in every way that a test asks for.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

/// Where and how to dial.
#[derive(Args)]
pub struct Dial {
    pub address: SocketAddr,
    /// Dial an IPv4 address through an IPv6 socket.
    #[arg(long)]
    mapped: bool,
    /// Bind the socket to this device first.
    #[arg(long)]
    device: Option<String>,
    /// Bind the socket to this address first.
    #[arg(long)]
    source: Option<SocketAddr>,
    /// A UDP socket.
    #[arg(long)]
    udp: bool,
    /// For connecting, and for each read and write.
    #[arg(long, default_value_t = 5000)]
    timeout_ms: u64,
}

/// What came of it.
#[derive(Default, Serialize)]
pub struct Outcome {
    connected: bool,
    errno: Option<i32>,
    error: Option<String>,
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    received: String,
    received_hex: String,
    end: String,
    milliseconds: u64,
}

impl Dial {
    /// Connects a new socket and closes it.
    pub fn connect(&self) -> Outcome {
        let started = Instant::now();
        let outcome = match self
            .socket()
            .and_then(|socket| self.connect_with(&socket).map(|()| socket))
        {
            Ok(socket) => connected(&socket),
            Err(error) => failed(&error),
        };
        outcome.took(started)
    }

    /// Connects a socket that came from elsewhere.
    pub fn connect_socket(&self, socket: &Socket) -> Outcome {
        let started = Instant::now();
        self.connect_with(socket)
            .map_or_else(|error| failed(&error), |()| connected(socket))
            .took(started)
    }

    /// Connects, sends standard input, reads to the end.
    pub fn send(&self, half_close: bool, expect: Option<usize>) -> Result<Outcome> {
        let mut input = Vec::new();
        io::stdin().read_to_end(&mut input).context("read standard input")?;
        let started = Instant::now();
        let mut socket = match self
            .socket()
            .and_then(|socket| self.connect_with(&socket).map(|()| socket))
        {
            Ok(socket) => socket,
            Err(error) => return Ok(failed(&error).took(started)),
        };
        let mut outcome = connected(&socket);
        // Reading goes on after a failed write: an early answer explains it.
        if let Err(error) = socket.write_all(&input) {
            outcome.note(&error);
        } else if half_close {
            socket.shutdown(Shutdown::Write).context("close the sending side")?;
        }
        let mut received = Vec::new();
        let mut chunk = [0_u8; 16 << 10];
        outcome.end = loop {
            if expect.is_some_and(|bytes| received.len() >= bytes) {
                break "enough".to_owned();
            }
            match socket.read(&mut chunk) {
                Ok(0) => break "eof".to_owned(),
                Ok(count) => received.extend_from_slice(&chunk[..count]),
                Err(error) => {
                    outcome.note(&error);
                    break match error.kind() {
                        ErrorKind::ConnectionReset => "reset",
                        ErrorKind::WouldBlock | ErrorKind::TimedOut => "timeout",
                        _ => "error",
                    }
                    .to_owned();
                }
            }
        };
        outcome.received = String::from_utf8_lossy(&received).into_owned();
        outcome.received_hex = received.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(outcome.took(started))
    }

    fn socket(&self) -> io::Result<Socket> {
        let ipv6 = self.mapped || self.address.is_ipv6();
        let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = if self.udp {
            Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?
        } else {
            Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?
        };
        if let Some(device) = &self.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        if let Some(source) = self.source {
            socket.bind(&source.into())?;
        }
        Ok(socket)
    }

    fn connect_with(&self, socket: &Socket) -> io::Result<()> {
        let limit = Duration::from_millis(self.timeout_ms);
        let address = match self.address.ip() {
            IpAddr::V4(ip) if self.mapped => SocketAddr::new(ip.to_ipv6_mapped().into(), self.address.port()),
            _ => self.address,
        };
        socket.connect_timeout(&address.into(), limit)?;
        socket.set_read_timeout(Some(limit))?;
        socket.set_write_timeout(Some(limit))
    }
}

/// Binds a socket, reports and closes it.
pub fn bind(address: SocketAddr, udp: bool, listen: bool) -> Outcome {
    let kind = if udp { Type::DGRAM } else { Type::STREAM };
    let bound = Socket::new(Domain::for_address(address), kind, None).and_then(|socket| {
        socket.bind(&address.into())?;
        if listen && !udp {
            socket.listen(1)?;
        }
        Ok(socket)
    });
    match bound {
        Ok(socket) => connected(&socket),
        Err(error) => failed(&error),
    }
}

fn connected(socket: &Socket) -> Outcome {
    let address = |found: io::Result<socket2::SockAddr>| found.ok().and_then(|address| address.as_socket());
    Outcome {
        connected: true,
        local: address(socket.local_addr()),
        peer: address(socket.peer_addr()),
        end: "none".to_owned(),
        ..Outcome::default()
    }
}

fn failed(error: &io::Error) -> Outcome {
    let mut outcome = Outcome {
        end: "none".to_owned(),
        ..Outcome::default()
    };
    outcome.note(error);
    outcome
}

impl Outcome {
    /// Keeps the first error.
    fn note(&mut self, error: &io::Error) {
        if self.error.is_none() {
            self.error = Some(error.to_string());
            self.errno = error
                .raw_os_error()
                .or((error.kind() == ErrorKind::TimedOut).then_some(libc::ETIMEDOUT));
        }
    }

    fn took(mut self, started: Instant) -> Self {
        self.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self
    }
}
