//! What an application in a pod may do with raw sockets. Every command prints one line of JSON.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, thread};

use anyhow::Result;
use clap::{Parser, Subcommand};

mod crowd;
mod dial;
mod pass;
mod stress;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Does nothing until it is killed: keeps a pod's cgroup and namespace populated.
    Pause,
    /// Connects and closes.
    Connect {
        #[command(flatten)]
        dial: dial::Dial,
    },
    /// Connects, sends what it reads from standard input, and reads until the other side ends.
    Send {
        #[command(flatten)]
        dial: dial::Dial,
        /// Close the sending side after the last byte.
        #[arg(long)]
        half_close: bool,
        /// Stop reading after that many bytes.
        #[arg(long)]
        expect: Option<usize>,
    },
    /// Binds (and for TCP listens), reports, and closes.
    Bind {
        address: SocketAddr,
        /// A UDP socket.
        #[arg(long)]
        udp: bool,
        /// Only bind, without listen.
        #[arg(long)]
        no_listen: bool,
    },
    /// Makes a TCP socket and passes it, unconnected, over a Unix socket at this path.
    PassSocket {
        path: PathBuf,
        /// An IPv6 socket.
        #[arg(long)]
        ipv6: bool,
    },
    /// Waits for a socket at this path (which it makes) and connects it. Prints the outcome of the dial.
    ConnectPassed {
        path: PathBuf,
        #[command(flatten)]
        dial: dial::Dial,
    },
    /// Many connections, each with a call that carries a nonce of its own.
    Stress(stress::Stress),
    /// Many connections that misbehave.
    Crowd(crowd::Crowd),
    /// Many sessions.
    Sessions(crowd::Sessions),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pod-probe: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let report = match command {
        Command::Pause => loop {
            thread::park();
        },
        Command::Connect { dial } => serde_json::to_value(dial.connect())?,
        Command::Send {
            dial,
            half_close,
            expect,
        } => serde_json::to_value(dial.send(half_close, expect)?)?,
        Command::Bind {
            address,
            udp,
            no_listen,
        } => serde_json::to_value(dial::bind(address, udp, !no_listen))?,
        Command::PassSocket { path, ipv6 } => pass::send(&path, ipv6)?,
        Command::ConnectPassed { path, dial } => serde_json::to_value(pass::receive_and_connect(&path, &dial)?)?,
        Command::Stress(stress) => serde_json::to_value(stress.run()?)?,
        Command::Crowd(crowd) => serde_json::to_value(crowd.run()?)?,
        Command::Sessions(sessions) => serde_json::to_value(sessions.run()?)?,
    };
    println!("{report}");
    Ok(())
}
