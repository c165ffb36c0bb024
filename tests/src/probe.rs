//! Raw sockets in a pod: the `pod-probe` program, and what it reports.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{Pod, binary};

/// The outcome of a dial (and of the exchange after it, where there was one).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Dialled {
    /// Whether `connect` (or `bind`) succeeded.
    pub connected: bool,
    /// The error number of what failed first.
    pub errno: Option<i32>,
    /// The same in words.
    pub error: Option<String>,
    /// The socket's own address.
    pub local: Option<SocketAddr>,
    /// The peer as `getpeername` tells it.
    pub peer: Option<SocketAddr>,
    /// What was received, as text.
    pub received: String,
    /// What was received, byte for byte, in hexadecimal.
    pub received_hex: String,
    /// How reading ended: `eof`, `reset`, `timeout`, or `none` if nothing was read.
    pub end: String,
    /// Milliseconds that it took in all.
    pub milliseconds: u64,
}

impl Dialled {
    /// Whether the kernel said `ECONNREFUSED`.
    pub fn refused(&self) -> bool {
        !self.connected && self.errno == Some(libc::ECONNREFUSED)
    }
}

impl Pod {
    /// `pod-probe connect ADDRESS`: connects and closes. `options` as `pod-probe connect --help` lists them.
    pub fn connect(&self, address: SocketAddr, options: &[&str]) -> Result<Dialled> {
        let address = address.to_string();
        self.probe(&[&["connect", &address], options].concat(), b"")
    }

    /// `pod-probe send ADDRESS`: connects, sends `bytes` and reads until the other side ends.
    pub fn send(&self, address: SocketAddr, bytes: &[u8], options: &[&str]) -> Result<Dialled> {
        let address = address.to_string();
        self.probe(&[&["send", &address], options].concat(), bytes)
    }

    /// Runs `pod-probe` with any arguments and input, and reads the one line of JSON that it prints.
    pub fn probe<T: DeserializeOwned>(&self, arguments: &[&str], input: &[u8]) -> Result<T> {
        let mut command = self.command(binary("pod-probe")?)?;
        command.args(arguments);
        run(command, input)
    }
}

/// Runs a prepared `pod-probe` command (in another pod's cgroup, say) as [`Pod::probe`] does.
pub fn run<T: DeserializeOwned>(mut command: Command, input: &[u8]) -> Result<T> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("start pod-probe")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A probe that does not read its input has ended already, and its output says why.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().context("wait for pod-probe")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "pod-probe failed ({}): {errors}",
        output.status
    );
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("parse pod-probe's output {:?}", String::from_utf8_lossy(&output.stdout)))
}
