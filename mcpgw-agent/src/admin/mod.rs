//! What an operator asks the running agent: health, readiness and metrics over TCP; the whole state over a
//! Unix socket, for the CLI.
//!
//! ```text
//! state    what is asked: watch channels and closures, so that nothing here knows the other modules
//! status   the answers' types
//! routes   path → answer
//! server   connections, and their bounds
//! listen   opens the TCP port and the Unix socket
//! client   the CLI's side of the Unix socket
//! ```

mod client;
mod listen;
mod routes;
mod server;
mod state;
mod status;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use client::{Client, ClientError};
pub use listen::ListenError;
pub use state::State;
pub use status::{Component, Readiness, ServerStatus, Status};

use routes::Surface;

/// Where the agent of `node` listens for the CLI.
pub fn socket_path(state_dir: &Path, node: &str) -> PathBuf {
    state_dir.join(node).join("admin.sock")
}

/// The running admin servers. When it is dropped they stop, and the socket is removed.
pub struct Admin {
    /// Where `/metrics`, `/healthz` and `/readyz` are served: the port asked for, or the one that 0 became.
    pub metrics_address: SocketAddr,
    _tcp: server::ServerGuard,
    _unix: server::ServerGuard,
    _socket: listen::SocketFile,
}

impl Admin {
    /// Opens both listeners and serves `state` on them. Must be called in a tokio runtime, by the holder of
    /// the node's lock: a socket file that is already there is taken for a dead agent's.
    pub fn start(metrics: SocketAddr, socket: &Path, state: State) -> Result<Self, ListenError> {
        let state = Arc::new(state);
        let tcp = listen::tcp(metrics)?;
        let metrics_address = tcp.local_addr().unwrap_or(metrics);
        let (unix, socket) = listen::unix(socket)?;
        Ok(Self {
            metrics_address,
            _tcp: server::serve(tcp, Surface::Metrics, state.clone()),
            _unix: server::serve(unix, Surface::Cli, state),
            _socket: socket,
        })
    }
}
