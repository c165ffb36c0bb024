//! Connections, and their bounds.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    task::JoinHandle,
};
use tracing::{debug, warn};

use super::{
    routes::{Surface, answer},
    state::State,
};

/// Connections that are open at a time; further ones wait in the backlog.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one request may take in all, its answer included.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Size of a request's body, where one is read, in bytes.
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Size of a request's head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Header lines of a request.
const MAX_HEADERS: usize = 64;
/// How long accepting rests after the system refused it, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Something that connections come from.
pub(super) trait Accept: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;
    async fn accept(&self) -> io::Result<Self::Stream> {
        TcpListener::accept(self).await.map(|(stream, _)| stream)
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;
    async fn accept(&self) -> io::Result<Self::Stream> {
        UnixListener::accept(self).await.map(|(stream, _)| stream)
    }
}

/// Stops accepting when it is dropped.
pub(super) struct ServerGuard(JoinHandle<()>);

impl Drop for ServerGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn serve(listener: impl Accept, surface: Surface, state: Arc<State>) -> ServerGuard {
    ServerGuard(tokio::spawn(accept_all(listener, surface, state)))
}

async fn accept_all(listener: impl Accept, surface: Surface, state: Arc<State>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Never closed, so this only waits.
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok(stream) => {
                let state = state.clone();
                tokio::spawn(async move {
                    serve_one(stream, surface, state).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!("cannot accept an admin connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One request for each connection: nobody here asks often enough to need more.
async fn serve_one(stream: impl AsyncRead + AsyncWrite + Unpin + Send, surface: Surface, state: Arc<State>) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request, surface, &state).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("admin connection ended: {error}"),
        Err(_) => debug!("admin connection ended: it took longer than {CONNECTION_TIMEOUT:?}"),
    }
}
