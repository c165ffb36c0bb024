//! Opens one connection.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};

use tokio_rustls::client::TlsStream;

use super::{
    error::UpstreamError,
    limits::{KEEPALIVE_INTERVAL, KEEPALIVE_PROBES},
    secure::{HTTP2, Secure},
};

/// A connection to a server.
///
/// It is closed by a reset, never by an orderly end: whoever ends a TCP connection first keeps its port for
/// a minute, and callers that abandon call after call could use up the node's ports. Nothing is lost by it:
/// we end connections only between two exchanges, or where the exchange is abandoned.
#[derive(Debug)]
pub(crate) struct Connection(TcpStream);

/// A connection, as HTTP has it.
pub(crate) enum Stream {
    /// As it is.
    Plain(Connection),
    /// Over TLS.
    Secure(Box<TlsStream<Connection>>),
}

impl Stream {
    /// Whether HTTP/2 was agreed on.
    pub(super) fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Secure(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP2),
        }
    }
}

/// Dials, and agrees on TLS where the server wants it.
pub(crate) async fn open(address: SocketAddr, secure: Option<&Secure>) -> Result<Stream, UpstreamError> {
    let connection = tcp(address).await.map_err(UpstreamError::Unreachable)?;
    Ok(match secure {
        None => Stream::Plain(connection),
        Some(secure) => Stream::Secure(Box::new(secure.secure(connection).await?)),
    })
}

async fn tcp(address: SocketAddr) -> io::Result<Connection> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    let options = SockRef::from(&socket);
    options.set_linger(Some(Duration::ZERO))?;
    // A server that has gone without a word is noticed, also where an answer may be silent for long.
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_INTERVAL)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    options.set_tcp_keepalive(&keepalive)?;
    Ok(Connection(socket.connect(address).await?))
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    /// Leaves the end to the reset.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The same question to either kind of stream.
macro_rules! either {
    ($stream:expr, $inner:ident => $answer:expr) => {
        match $stream {
            Stream::Plain($inner) => $answer,
            Stream::Secure($inner) => $answer,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, inner => Pin::new(inner).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(&mut *self, inner => Pin::new(inner).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self, inner => Pin::new(inner).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, inner => inner.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}
