//! What an operator asks the running agent: health, readiness and metrics over TCP; the whole state over a
//! Unix socket, for the CLI.
//!
//! ```text
//! state    what is asked: watch channels and closures, so that nothing here knows the other modules
//! status   the answers' types
//! routes   path → answer
//! openmetrics  the metrics in the other format that scrapers read
//! server   connections, and their bounds
//! listen   opens the TCP port and the Unix socket
//! client   the CLI's side of the Unix socket
//! ```

mod client;
mod listen;
mod openmetrics;
mod routes;
mod server;
mod state;
mod status;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub use client::{Client, ClientError};
pub use listen::{ListenError, MetricsPort};
pub use state::State;
pub use status::{CatalogStatus, Component, GatewayStatus, Readiness, ServerStatus, Status};

use routes::Surface;

/// Where the agent listens for the CLI, in the node's state directory.
pub fn socket_path(state: &Path) -> PathBuf {
    state.join("admin.sock")
}

/// The running admin servers. When it is dropped they stop, and the socket is removed.
pub struct Admin {
    _tcp: server::ServerGuard,
    _unix: server::ServerGuard,
    _socket: listen::SocketFile,
}

impl Admin {
    /// Serves `state` on the port and on a new socket. Must be called in a tokio runtime, by the holder of
    /// the node's lock: a socket file that is already there is taken for a dead agent's.
    pub fn start(metrics: MetricsPort, socket: &Path, state: Arc<State>) -> Result<Self, ListenError> {
        let (unix, socket) = listen::unix(socket)?;
        Ok(Self {
            _tcp: server::serve(metrics.listener, Surface::Metrics, state.clone()),
            _unix: server::serve(unix, Surface::Cli, state),
            _socket: socket,
        })
    }
}
