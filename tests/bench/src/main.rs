//! What `cargo xtask bench` runs beside mcpgw.
//!
//! ```text
//! upstream  an MCP server whose cost is small and always the same, in both eras
//! floor     the least that a proxy can do: a pooled connection, and one look at the JSON
//! issuer    keys of an issuer, and a token that it signed
//! flat      what decisions and limits cost with few and with many rules and budgets
//! load      clients that ask as fast as they are answered, and check every answer
//! ```
#![warn(missing_docs)]

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};

mod flat;
mod floor;
mod issuer;
mod load;
mod upstream;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Serve MCP at /mcp.
    Upstream {
        /// Port, on every address.
        #[arg(long)]
        port: u16,
        /// Tools to list.
        #[arg(long, default_value_t = 50)]
        tools: usize,
        /// Answer calls with a stream of events: three of progress, and the answer.
        #[arg(long)]
        streams: bool,
    },
    /// Forward every request to a server.
    Floor {
        /// Port, on every address.
        #[arg(long)]
        port: u16,
        /// The server.
        #[arg(long)]
        to: SocketAddr,
    },
    /// Make an issuer's `jwks.json` and a `token` of its own in a directory.
    Issuer {
        /// The directory.
        #[arg(long)]
        directory: PathBuf,
    },
    /// Measure decisions and limits by themselves, and print one line of JSON.
    Flat,
    /// Ask, and print one line of JSON.
    Load(load::Load),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().program {
        Program::Upstream { port, tools, streams } => upstream::serve(port, tools, streams).await,
        Program::Floor { port, to } => floor::serve(port, to).await,
        Program::Issuer { directory } => issuer::make(&directory),
        Program::Flat => flat::run(),
        Program::Load(load) => load.run().await,
    }
}
