//! What the servers among the peers have in common.

use std::net::Ipv6Addr;

use anyhow::{Context, Result};
use tokio::net::TcpListener;

/// Listens on IPv6 and IPv4 alike; on IPv4 alone where there is no IPv6.
pub fn listen(port: u16) -> Result<TcpListener> {
    let bound = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| std::net::TcpListener::bind(("0.0.0.0", port)))
        .with_context(|| format!("listen on port {port}"))?;
    bound.set_nonblocking(true).context("make the listener non-blocking")?;
    TcpListener::from_std(bound).context("hand the listener to tokio")
}
