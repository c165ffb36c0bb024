//! Serves one connection: what is spoken on it, and whether that is spoken here.

use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_io_timeout::TimeoutStream;

use super::{
    Shared,
    http_service::{self, Ended},
    lease::Lease,
    limits::{HANDSHAKE_TIMEOUT, HEADER_TIMEOUT, LINGER_TIMEOUT, MAX_LINGER_BYTES, WRITE_TIMEOUT},
    observed, passthrough,
    preface::{self, First},
    room::Room,
    secured::{Secured, secured, takes_name},
    tls::{Tls, is_http2},
};
use crate::{identity::Caller, telemetry::Path};

/// Serves a connection of this caller until it ends. Dropping the future breaks it off.
pub(super) async fn serve(stream: TcpStream, caller: Arc<Caller>, room: Room, shared: Arc<Shared>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    if caller.observed && shared.plan.load().gateway_at(caller.destination).is_none() {
        return observed::serve(stream, caller, room, shared).await;
    }
    let first = timeout(HEADER_TIMEOUT, preface::first(&stream));
    let Some(first) = shared.draining.run_until_cancelled(first).await else {
        return;
    };
    let connection = Connection { caller, room, shared };
    match first {
        Ok(Ok(First::Tls)) => connection.serve_tls(stream).await,
        Ok(Ok(first)) => match first.refusal().or_else(|| connection.needs_tls(first)) {
            None => connection.serve_http(stream, first == First::Http2).await,
            Some(NO_TLS) => {
                connection.refuse(NO_TLS);
                tell_of_tls(stream).await;
            }
            Some(reason) => connection.close_refused(reason, stream).await,
        },
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended before it began"),
        Err(_) => connection.close_refused("header_timeout", stream).await,
    }
}

/// Why plain HTTP is refused where TLS is spoken.
const NO_TLS: &str = "plain_http";

/// A connection, and what it takes to serve it.
struct Connection {
    caller: Arc<Caller>,
    room: Room,
    shared: Arc<Shared>,
}

impl Connection {
    fn refuse(&self, reason: &'static str) {
        self.shared.refuse(reason, &self.caller);
    }

    /// The certificate of the gateway, where the connection was meant for the gateway and it has one.
    fn gateway_tls(&self) -> Option<Arc<Tls>> {
        let at_gateway = self.shared.plan.load().gateway_at(self.caller.destination).is_some();
        self.shared.tls.get().filter(|_| at_gateway)
    }

    /// Why this may not go on without TLS; `None` if it may.
    fn needs_tls(&self, first: First) -> Option<&'static str> {
        (first != First::End && self.gateway_tls().is_some()).then_some(NO_TLS)
    }

    async fn serve_tls(&self, stream: TcpStream) {
        if let Some(tls) = self.gateway_tls() {
            return self.end_tls(&tls, stream).await;
        }
        let Self { caller, shared, .. } = self;
        let plan = shared.plan.load_full();
        let servers = plan.at(caller.destination);
        let name = match takes_name(servers) {
            true => timeout(HEADER_TIMEOUT, preface::server_name(&stream)).await,
            false => Ok(Ok(None)),
        };
        let Ok(Ok(name)) = name else {
            return self.close_refused("tls_timeout", stream).await;
        };
        let lease = || {
            let (caller, name) = (Arc::clone(caller), name.clone());
            let unread = passthrough::Unread { caller, name };
            Lease::new(shared, Path::Redirected, &plan, &self.caller, unread)
        };
        match secured(servers, name.as_deref()) {
            Secured::Through(server) => {
                if let Some(record) = passthrough::meant(server, &plan, caller, shared) {
                    passthrough::serve(stream, record, server.wanted.timeouts, caller.destination, lease()).await;
                }
            }
            Secured::Elsewhere(server, name) => {
                let record = passthrough::elsewhere(server, name, &plan, caller, shared);
                passthrough::serve(stream, record, server.wanted.timeouts, caller.destination, lease()).await;
            }
            Secured::Refused(reason) => self.close_refused(reason, stream).await,
            Secured::Here(server, files) => match shared.certificates.of(files) {
                Ok(tls) => self.end_tls(&tls, stream).await,
                Err(error) => {
                    tracing::warn!(server = %server.name(), %error, "a server's certificate cannot be used");
                    self.close_refused("no_certificate", stream).await;
                }
            },
        }
    }

    /// Ends TLS, and serves what is in it.
    async fn end_tls(&self, tls: &Tls, stream: TcpStream) {
        match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let is_http2 = is_http2(&stream);
                self.serve_http(stream, is_http2).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                self.refuse("tls_handshake");
            }
            Err(_) => self.refuse("tls_timeout"),
        }
    }

    async fn close_refused(&self, reason: &'static str, stream: impl AsyncRead + AsyncWrite + Unpin) {
        self.refuse(reason);
        close(stream).await;
    }

    /// Serves HTTP on a stream until it ends.
    async fn serve_http(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, is_http2: bool) {
        let Self { caller, room, shared } = self;
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        let stream = Box::pin(stream);
        let ended = match is_http2 {
            true => http_service::two(stream, caller, room, shared).await,
            false => http_service::one(stream, caller, room, shared).await,
        };
        match ended {
            Ended::Whole(stream) => close(stream).await,
            Ended::Refused(stream, reason) => self.close_refused(reason, stream).await,
            Ended::Garbled => self.refuse("bad_http"),
            Ended::Broken => {}
        }
    }
}

/// Tells a client that speaks plain HTTP to a listener of TLS what is wrong.
async fn tell_of_tls(mut stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 42\r\n\
        connection: close\r\n\r\nThis port speaks TLS: begin with https://\n";
    if timeout(LINGER_TIMEOUT, stream.write_all(ANSWER)).await.is_ok() {
        close(stream).await;
    }
}

/// Ends a connection so that the client can read what was sent to it: closing with unread input would reset
/// the connection and destroy that on its way.
async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let drain = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut discarded = vec![0; 16 * 1024];
        let mut left = MAX_LINGER_BYTES;
        while let Ok(read @ 1..) = stream.read(&mut discarded).await {
            match left.checked_sub(read) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // A client that goes on sending has had its chance.
    let _ = timeout(LINGER_TIMEOUT, drain).await;
}
