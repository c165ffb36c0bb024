//! The server that the conformance suite asks for, as the rmcp SDK makes it, in both eras: everything that the
//! suite's server scenarios call by name.
//!
//! ```text
//! main       HTTP: only for clients that know the server as `localhost`, as the suite wants it
//! server     which method goes where
//! tools      the tools that answer at once
//! questions  the tools that ask the client in between: by request in the legacy era, by result in the modern one
//! tasks      the tools that answer with a task
//! state      what all sessions share: the lists, who hears of changes, states that were handed out
//! ```
#![allow(
    deprecated,
    reason = "the suite asks for the legacy era's methods, which the SDK advises against"
)]

mod questions;
mod server;
mod state;
mod tasks;
mod tools;

use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};

use server::Conformance;

#[derive(Parser)]
struct Arguments {
    /// TCP port, on every address of the network namespace.
    #[arg(long)]
    port: u16,
    /// A name by which clients may know this server, beside `localhost`.
    #[arg(long)]
    host: Vec<String>,
    /// Speak the modern era only.
    #[arg(long)]
    modern: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let listener = mcpgw_peers::listen(arguments.port)?;
    let sessions = Arc::new(LocalSessionManager::default());
    let shared = Arc::new(state::Shared::new()?);
    let server = {
        let sessions = Arc::clone(&sessions);
        move || {
            Ok(Conformance::new(
                Arc::clone(&shared),
                Arc::clone(&sessions),
                arguments.modern,
            ))
        }
    };
    let mut config = StreamableHttpServerConfig::default();
    config.allowed_hosts.extend(arguments.host);
    let mcp = TowerToHyperService::new(StreamableHttpService::new(server, sessions, config));
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let mcp = mcp.clone();
        tokio::spawn(async move {
            // A client that goes away is no news.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), mcp).await;
        });
    }
}
