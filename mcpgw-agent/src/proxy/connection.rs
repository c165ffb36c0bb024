//! Serves one connection.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    time::SystemTime,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    Shared,
    body::BodyBudget,
    exchange,
    limits::{HANDSHAKE_TIMEOUT, HEADER_TIMEOUT, LINGER_TIMEOUT, MAX_LINGER_BYTES, READ_BUFFER},
    preface::{self, First},
};
use crate::{
    identity::Caller,
    telemetry::{Path, Refusal, Who},
};

/// Serves a connection of this caller until it ends; over TLS at an address of the gateway that has a certificate. Dropping the future breaks it off.
pub(super) async fn serve(stream: TcpStream, caller: Arc<Caller>, bodies: BodyBudget, shared: Arc<Shared>) {
    let refuse = |reason| {
        let who = Who::Caller(Arc::clone(&caller));
        shared.telemetry.refused(Refusal {
            decision_id: None,
            time: SystemTime::now(),
            reason,
            status: None,
            path: Path::Redirected,
            who,
        });
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    let at_gateway = shared.plan.load().gateway_at(caller.destination).is_some();
    let tls = shared.tls.get().filter(|_| at_gateway);
    let first = timeout(HEADER_TIMEOUT, preface::first(&stream));
    let Some(first) = shared.draining.run_until_cancelled(first).await else {
        return;
    };
    match first {
        Ok(Ok(First::Tls)) if tls.is_some() => {}
        Ok(Ok(First::Http)) if tls.is_some() => {
            refuse("plain_http");
            return refuse_plain(stream).await;
        }
        Ok(Ok(first)) => {
            if let Some(reason) = first.refusal() {
                refuse(reason);
                return close(stream).await;
            }
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection ended before it began");
            return;
        }
        Err(_) => {
            refuse("header_timeout");
            return close(stream).await;
        }
    }
    match tls {
        None => serve_on(stream, &caller, &bodies, &shared, &refuse).await,
        Some(tls) => match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => serve_on(stream, &caller, &bodies, &shared, &refuse).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                refuse("tls_handshake");
            }
            Err(_) => refuse("tls_timeout"),
        },
    }
}

/// Serves HTTP on a stream until it ends.
async fn serve_on(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    caller: &Arc<Caller>,
    bodies: &BodyBudget,
    shared: &Arc<Shared>,
    refuse: &impl Fn(&'static str),
) {
    match serve_http(stream, caller, bodies, shared).await {
        Ended::Whole(stream) => close(stream).await,
        Ended::Refused(stream, reason) => {
            refuse(reason);
            close(stream).await;
        }
        Ended::Broken => {}
    }
}

/// Tells a client that speaks plain HTTP to a listener of TLS what is wrong.
async fn refuse_plain(mut stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 41\r\n\
        connection: close\r\n\r\nThis port speaks TLS: begin with https://\n";
    if timeout(LINGER_TIMEOUT, stream.write_all(ANSWER)).await.is_ok() {
        close(stream).await;
    }
}

/// How HTTP ended on a connection.
enum Ended<S> {
    /// After a complete exchange.
    Whole(S),
    /// By something that is no HTTP request, or none in time.
    Refused(S, &'static str),
    /// In the midst of an exchange: the client has gone, or its answer could not be completed. The
    /// connection is dropped, so that the client cannot take what it got for a whole answer.
    Broken,
}

async fn serve_http<S: AsyncRead + AsyncWrite + Send + Unpin>(
    stream: S,
    caller: &Arc<Caller>,
    bodies: &BodyBudget,
    shared: &Arc<Shared>,
) -> Ended<S> {
    let service = service_fn(|request| {
        Box::pin(exchange::serve(
            Arc::clone(shared),
            Arc::clone(caller),
            bodies.clone(),
            request,
        ))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(READ_BUFFER)
        // The end of a client's stream is the end of the client: its call is cancelled.
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut draining = pin!(shared.draining.cancelled());
    let mut last = false;
    let result = poll_fn(|cx| {
        if !last && draining.as_mut().poll(cx).is_ready() {
            last = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(cx)
    })
    .await;
    let parts = connection.into_parts();
    let stream = parts.io.into_inner();
    match result {
        Ok(()) => Ended::Whole(stream),
        Err(error) if error.is_parse_too_large() => Ended::Refused(stream, "headers_too_large"),
        Err(error) if error.is_parse() => Ended::Refused(stream, "bad_http"),
        // Between two requests a silent client is no slow one.
        Err(error) if error.is_timeout() && parts.read_buf.is_empty() => Ended::Whole(stream),
        Err(error) if error.is_timeout() => Ended::Refused(stream, "header_timeout"),
        Err(error) => {
            tracing::debug!(%error, "a connection broke off");
            Ended::Broken
        }
    }
}

/// Ends a connection so that the client can read what was sent to it: closing with unread input would reset
/// the connection and destroy that on its way.
async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let drain = async {
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
