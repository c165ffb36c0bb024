//! Opens the TCP port and the Unix socket.

use std::{
    fs::{self, Permissions},
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixListener};

/// Why the agent cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The TCP port.
    #[error("cannot listen on {address} for metrics: {source}; choose another --metrics-address")]
    Tcp {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The Unix socket.
    #[error("cannot {operation} the admin socket {path}: {source}; choose another --state-dir")]
    Unix {
        /// What was tried.
        operation: &'static str,
        /// The socket's path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The socket's file; removed when this is dropped.
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already, or the directory is: nobody can connect either way.
        let _ = fs::remove_file(&self.0);
    }
}

/// The open port of `/metrics`, `/healthz` and `/readyz`. Opened before anything else is touched, so that a
/// taken port leaves nothing behind.
pub struct MetricsPort {
    pub(super) listener: TcpListener,
    /// Where it listens: the address asked for, with the port that 0 became.
    pub address: SocketAddr,
}

impl MetricsPort {
    /// Listens. Must be called in a tokio runtime.
    pub fn open(address: SocketAddr) -> Result<Self, ListenError> {
        let listen = || {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self {
                listener: TcpListener::from_std(listener)?,
                address,
            })
        };
        listen().map_err(|source| ListenError::Tcp { address, source })
    }
}

/// A socket for its owner alone. It gets its name only when nobody else can connect any more, and replaces
/// what a dead agent left.
pub(super) fn unix(path: &Path) -> Result<(UnixListener, SocketFile), ListenError> {
    let failed = |operation| {
        move |source| ListenError::Unix {
            operation,
            path: path.to_owned(),
            source,
        }
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed("make the directory of"))?;
    }
    let unnamed = path.with_extension("new");
    match fs::remove_file(&unnamed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("clear the way for")(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&unnamed).map_err(failed("make"))?;
    let unnamed = SocketFile(unnamed);
    fs::set_permissions(&unnamed.0, Permissions::from_mode(0o600)).map_err(failed("protect"))?;
    fs::rename(&unnamed.0, path).map_err(failed("name"))?;
    Ok((listener, SocketFile(path.to_owned())))
}
