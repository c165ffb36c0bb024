//! Serves HTTP on a connection, in the version that the client speaks.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Frame, SizeHint};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::interval,
};

use super::{
    Shared,
    exchange::{self, Body},
    limits::{
        HEADER_TIMEOUT, HTTP2_CONNECTION_WINDOW, HTTP2_KEEPALIVE, HTTP2_SEND_BUFFER, HTTP2_STREAM_WINDOW,
        MAX_HEADER_BYTES, MAX_STREAMS_PER_CONNECTION, READ_BUFFER,
    },
    refused::Refused,
    relay::RelayError,
    room::{Room, Turn},
    stall::{Paced, Watched},
};
use crate::{identity::Caller, shares::Payer};

/// How HTTP ended on a connection.
pub(super) enum Ended<S> {
    /// After a complete exchange.
    Whole(S),
    /// By something that is no HTTP request, or none in time.
    Refused(S, &'static str),
    /// In the midst of an exchange: the client has gone, or its answer could not be completed. The
    /// connection is dropped, so that the client cannot take what it got for a whole answer.
    Broken,
    /// By something that is no HTTP/2; the client has been told so.
    Garbled,
}

/// Serves HTTP/1.1 until it ends.
pub(super) async fn one<S: AsyncRead + AsyncWrite + Send + Unpin>(
    stream: S,
    caller: &Arc<Caller>,
    room: &Room,
    shared: &Arc<Shared>,
) -> Ended<S> {
    let payer = Payer::of_sender(caller);
    let seat = room.connection(payer);
    let service = service_fn(|request| {
        Box::pin(exchange::serve(
            Arc::clone(shared),
            Arc::clone(caller),
            Turn::of(room, payer).on(&seat),
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

/// Serves HTTP/2 until it ends. A connection without a call for [`HEADER_TIMEOUT`] is ended.
pub(super) async fn two<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    caller: &Arc<Caller>,
    room: &Room,
    shared: &Arc<Shared>,
) -> Ended<S> {
    let (open, payer) = (Arc::new(AtomicUsize::new(0)), Payer::of_sender(caller));
    let seat = room.connection(payer);
    let service = service_fn(|request| {
        let held = Held::new(&open, Turn::of_stream(room, payer).map(|turn| turn.on(&seat)));
        let (shared, caller) = (Arc::clone(shared), Arc::clone(caller));
        async move { serve_stream(shared, caller, held, request).await }
    });
    let connection = http2::Builder::new(Watched::new(room.tasks.clone(), room.patience))
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_KEEPALIVE.0)
        .keep_alive_timeout(HTTP2_KEEPALIVE.1)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut draining = pin!(shared.draining.cancelled());
    let mut look = interval(HEADER_TIMEOUT);
    look.reset();
    let (mut last, mut was_idle) = (false, false);
    let result = poll_fn(|cx| {
        let mut end = draining.as_mut().poll(cx).is_ready();
        while look.poll_tick(cx).is_ready() {
            let idle = open.load(Relaxed) == 0;
            end |= idle && was_idle;
            was_idle = idle;
        }
        if end && !last {
            last = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await;
    match result {
        Err(error) if is_of_the_protocol(&error) => {
            tracing::debug!(%error, "a connection spoke bad HTTP/2");
            Ended::Garbled
        }
        Err(error) => {
            tracing::debug!(%error, "a connection broke off");
            Ended::Broken
        }
        Ok(()) => Ended::Broken,
    }
}

/// Whether it is the client's HTTP/2 that is wrong.
fn is_of_the_protocol(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|error| !error.is_io() && !error.is_remote())
}

async fn serve_stream(
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    held: Held,
    mut request: Request<Incoming>,
) -> Result<Response<HeldBody>, Infallible> {
    as_in_http1(&mut request);
    let response = match held.turn.clone() {
        Some(turn) => Box::pin(exchange::serve(shared, caller, turn, request)).await?,
        None => {
            let path = shared.path_to(caller.destination);
            Refused::no_streams().answered(&shared.telemetry, &caller, path)
        }
    };
    Ok(response.map(|body| HeldBody {
        body: Paced::new(body),
        _held: held,
    }))
}

/// Says in headers what HTTP/2 says elsewhere: whom the request is for, and cookies in one piece.
fn as_in_http1<B>(request: &mut Request<B>) {
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let headers = request.headers_mut();
    if let Some(authority) = authority.and_then(|authority| HeaderValue::try_from(authority).ok())
        && headers.get(header::HOST) != Some(&authority)
    {
        // Where both are there and differ, there are two, which is refused.
        headers.append(header::HOST, authority);
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, whole);
    }
}

/// A call on a connection of HTTP/2, until its answer is complete.
struct Held {
    /// Calls on the connection.
    open: Arc<AtomicUsize>,
    /// `None`: whoever sent it has too many.
    turn: Option<Turn>,
}

impl Held {
    fn new(open: &Arc<AtomicUsize>, turn: Option<Turn>) -> Self {
        open.fetch_add(1, Relaxed);
        Self {
            open: Arc::clone(open),
            turn,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

/// The body of an answer, on a stream of HTTP/2.
struct HeldBody {
    body: Paced<Body>,
    _held: Held,
}

impl http_body::Body for HeldBody {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(uri: &str, host: Option<&str>) -> Vec<String> {
        let mut request = Request::post(uri);
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        let mut request = request.body(()).unwrap();
        as_in_http1(&mut request);
        let hosts = request.headers().get_all(header::HOST).iter();
        hosts.map(|host| host.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_authority_is_the_host_and_two_that_differ_stay_two() {
        assert_eq!(hosts("http://calc:8080/mcp", None), ["calc:8080"]);
        assert_eq!(hosts("http://calc:8080/mcp", Some("calc:8080")), ["calc:8080"]);
        assert_eq!(hosts("http://calc:8080/mcp", Some("other")), ["other", "calc:8080"]);
        assert_eq!(hosts("/mcp", Some("calc")), ["calc"]);
    }

    #[test]
    fn crumbs_of_a_cookie_are_one_header() {
        let mut request = Request::get("/")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(())
            .unwrap();
        as_in_http1(&mut request);
        let cookies: Vec<_> = request.headers().get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
    }
}
