//! Connections of HTTP/2 to one endpoint, each of which carries many calls.
//!
//! No call can starve others of its connection: what a client does not read fills the window of its own stream
//! alone, and where all streams of a connection are taken, another connection is opened.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, Version, header, uri::Authority};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    connect,
    error::UpstreamError,
    limits::{
        HTTP2_CONNECTION_WINDOW, HTTP2_IDLE_TIMEOUT, HTTP2_STREAM_WINDOW, KEEPALIVE_INTERVAL,
        MAX_STREAMS_PER_CONNECTION, POOL_MAX_IDLE_PER_ENDPOINT, READ_BUFFER, SETTINGS_PAUSE,
    },
    pool::Room,
};

pub(super) type Sender = http2::SendRequest<Full<Bytes>>;

/// The connections of HTTP/2 to one endpoint.
#[derive(Default)]
pub(super) struct Multiplex {
    connections: Mutex<Vec<Connection>>,
    /// The endpoint is known to speak HTTP/2: who needs a connection waits for the one that is being opened.
    known: AtomicBool,
    opening: tokio::sync::Mutex<()>,
    /// How many were opened.
    opened: AtomicUsize,
    /// Why the last one could not be, for those who waited for it.
    failed: watch::Sender<Option<UpstreamError>>,
}

/// Leave to open a connection, while others wait for it.
pub(super) struct Turn<'m> {
    multiplex: &'m Multiplex,
    _opening: tokio::sync::MutexGuard<'m, ()>,
}

impl Turn<'_> {
    /// It could not be opened: those who waited for it need not find out each for itself.
    pub(super) fn failed(self, error: &UpstreamError) {
        if error.is_of_the_way() {
            self.multiplex.failed.send_replace(Some(error.awaited()));
        }
    }
}

struct Connection {
    sender: Sender,
    state: Arc<State>,
}

struct State {
    calls: AtomicUsize,
    /// As many as the server allows.
    most: AtomicUsize,
    since: Mutex<Instant>,
}

impl Connection {
    fn calls(&self) -> usize {
        self.state.calls.load(Relaxed)
    }

    fn has_room(&self) -> bool {
        let most = self.state.most.load(Relaxed).min(MAX_STREAMS_PER_CONNECTION);
        self.calls() < most
    }

    fn is_idle(&self, now: Instant) -> bool {
        let since = *self.state.since.lock().unwrap_or_else(PoisonError::into_inner);
        self.calls() == 0 && now.duration_since(since) >= HTTP2_IDLE_TIMEOUT
    }
}

/// A call on a connection of HTTP/2, until its answer is complete.
pub(super) struct Stream {
    state: Arc<State>,
    _room: Option<Room>,
}

impl Stream {
    /// Keeps this for as long as the call.
    pub(super) fn holding(mut self, room: Room) -> Self {
        self._room = Some(room);
        self
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        *self.state.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.state.calls.fetch_sub(1, Relaxed);
    }
}

impl Multiplex {
    /// For an endpoint that is known to speak HTTP/2.
    pub(super) fn known() -> Self {
        Self {
            known: AtomicBool::new(true),
            ..Self::default()
        }
    }

    /// A stream on a connection that is open: on the fullest that has room, so that others can grow old.
    pub(super) fn take(&self) -> Option<(Sender, Stream)> {
        let mut connections = self.connections();
        connections.retain(|connection| !connection.sender.is_closed());
        let best = connections
            .iter()
            .filter(|connection| connection.has_room())
            .max_by_key(|connection| connection.calls())?;
        Some(Self::stream(best))
    }

    fn stream(connection: &Connection) -> (Sender, Stream) {
        connection.state.calls.fetch_add(1, Relaxed);
        let stream = Stream {
            state: Arc::clone(&connection.state),
            _room: None,
        };
        (connection.sender.clone(), stream)
    }

    /// Waits while others open a connection, where that will be one of HTTP/2. What is returned is held while one is
    /// opened. Where the server cannot be reached, all who wait learn that with the one who tried. Where it is reached, and
    /// the others take all connections that are opened meanwhile, it has too much to do.
    pub(super) async fn turn(&self, connect: Duration) -> Result<Option<Turn<'_>>, UpstreamError> {
        if !self.known.load(Relaxed) {
            return Ok(None);
        }
        let opened = self.opened.load(Relaxed);
        let mut failed = self.failed.subscribe();
        let waiting = async {
            tokio::select! {
                biased;
                // There is no end of it as long as this is there.
                _ = failed.changed() => Err(()),
                opening = self.opening.lock() => Ok(opening),
            }
        };
        match timeout(connect, waiting).await {
            Ok(Ok(_opening)) => Ok(Some(Turn {
                multiplex: self,
                _opening,
            })),
            Ok(Err(())) => {
                let why = failed.borrow();
                Err(why.as_ref().map_or(UpstreamError::Busy, UpstreamError::awaited))
            }
            Err(_) if self.opened.load(Relaxed) != opened => Err(UpstreamError::Busy),
            Err(_) => Err(UpstreamError::ConnectTimeout(connect)),
        }
    }

    /// Takes over a connection, and a stream on it.
    pub(super) async fn open(
        &self,
        connection: connect::Stream,
        runtime: &Handle,
    ) -> Result<(Sender, Stream), UpstreamError> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_INTERVAL)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .max_header_list_size(READ_BUFFER as u32)
            .handshake(TokioIo::new(connection))
            .await
            .map_err(UpstreamError::Closed)?;
        self.known.store(true, Relaxed);
        self.opened.fetch_add(1, Relaxed);
        let state = Arc::new(State {
            calls: AtomicUsize::new(0),
            most: AtomicUsize::new(MAX_STREAMS_PER_CONNECTION),
            since: Mutex::new(Instant::now()),
        });
        runtime.spawn(run(connection, Arc::clone(&state)));
        let connection = Connection { sender, state };
        let stream = Self::stream(&connection);
        let mut connections = self.connections();
        connections.push(connection);
        keep_few_without_calls(&mut connections);
        Ok(stream)
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut connections = self.connections();
        connections.retain(|connection| !connection.is_idle(now));
        keep_few_without_calls(&mut connections);
    }

    /// Closes what has no call, and takes no other calls on the rest.
    pub(super) fn clear(&self) {
        self.connections().clear();
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that allows no streams at all gets a connection for each call, none of which serves another.
fn keep_few_without_calls(connections: &mut Vec<Connection>) {
    let mut idle = 0;
    connections.retain(|connection| {
        idle += usize::from(connection.calls() == 0);
        connection.calls() > 0 || idle <= POOL_MAX_IDLE_PER_ENDPOINT
    });
}

/// Runs a connection until it ends, and looks now and then how many streams the server allows: what it says first is
/// known soon, and seldom changes. One that nobody can use any more does not always end by itself: not where a call
/// still stood in line for a stream when it was abandoned, and the server allows none.
async fn run(connection: http2::Connection<TokioIo<connect::Stream>, Full<Bytes>, TokioExecutor>, state: Arc<State>) {
    let mut connection = pin!(connection);
    let mut pause = SETTINGS_PAUSE.0;
    loop {
        let ended = timeout(pause, connection.as_mut()).await;
        match ended {
            // Neither the pool nor a call has it.
            Err(_) if Arc::strong_count(&state) == 1 => return,
            Err(_) => {
                state.most.store(connection.current_max_send_streams(), Relaxed);
                pause = (pause * 2).min(SETTINGS_PAUSE.1);
            }
            Ok(Ok(())) => return,
            Ok(Err(error)) => return tracing::debug!(%error, "a connection to a server broke off"),
        }
    }
}

/// Whether the server has not touched the call that failed so: it said so itself.
pub(super) fn is_untouched(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|error| {
        let reason = error.reason();
        // A call that a server took before it said goodbye is not ended by that.
        error.is_remote() && (reason == Some(h2::Reason::REFUSED_STREAM) || error.is_go_away())
    })
}

/// The request as HTTP/2 has it: whom it is for is in its URI.
pub(super) fn in_http2(
    request: &mut Request<Full<Bytes>>,
    secure: bool,
    endpoint: SocketAddr,
) -> Result<(), http::Error> {
    if request.version() == Version::HTTP_2 {
        return Ok(());
    }
    *request.version_mut() = Version::HTTP_2;
    let host = request.headers_mut().remove(header::HOST);
    let named = host.as_ref().and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let authority = match named {
        Some(authority) => authority,
        None => SocketAddr::new(endpoint.ip(), endpoint.port()).to_string().parse()?,
    };
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if secure {
        http::uri::Scheme::HTTPS
    } else {
        http::uri::Scheme::HTTP
    });
    parts.authority = Some(authority);
    *request.uri_mut() = Uri::from_parts(parts)?;
    Ok(())
}

/// The request as HTTP/1.1 has it.
pub(super) fn in_http1(request: &mut Request<Full<Bytes>>) -> Result<(), http::Error> {
    if request.version() != Version::HTTP_2 {
        return Ok(());
    }
    *request.version_mut() = Version::HTTP_11;
    let parts = std::mem::take(request.uri_mut()).into_parts();
    if let Some(authority) = parts.authority {
        let host = HeaderValue::from_str(authority.as_str())?;
        request.headers_mut().insert(header::HOST, host);
    }
    if let Some(path) = parts.path_and_query {
        *request.uri_mut() = Uri::from(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_connection_in_vain_says_what_it_waited_for() {
        const SHORT: Duration = Duration::from_millis(50);
        const LONG: Duration = Duration::from_secs(60);
        let multiplex = Multiplex::known();
        let turn = multiplex.turn(LONG).await.unwrap().unwrap();
        assert!(matches!(
            multiplex.turn(SHORT).await,
            Err(UpstreamError::ConnectTimeout(SHORT))
        ));
        let others_open = async { multiplex.opened.fetch_add(1, Relaxed) };
        let (waited, _) = tokio::join!(multiplex.turn(SHORT), others_open);
        assert!(matches!(waited, Err(UpstreamError::Busy)), "it can be reached");
        let others_fail = async { turn.failed(&UpstreamError::ConnectTimeout(LONG)) };
        let (first, second, ()) = tokio::join!(multiplex.turn(LONG), multiplex.turn(LONG), others_fail);
        for waited in [first, second] {
            let error = waited.err().unwrap();
            assert!(error.is_of_the_way() && error.is_of_another_call(), "{error:?}");
            assert_eq!(error.answer(), UpstreamError::ConnectTimeout(LONG).answer());
            assert_eq!(error.explain(), UpstreamError::ConnectTimeout(LONG).explain());
        }
        assert!(multiplex.turn(LONG).await.is_ok(), "it is tried again");
    }

    #[test]
    fn a_request_becomes_one_of_http2_and_what_it_was() {
        for host in ["calc:8080", "user name"] {
            let request = Request::post("/mcp?x=1").header("host", host).header("a", "b");
            let mut request = request.body(Full::default()).unwrap();
            in_http2(&mut request, true, "10.0.0.1:1".parse().unwrap()).unwrap();
            let expected = if host == "calc:8080" { host } else { "10.0.0.1:1" };
            assert_eq!(*request.uri(), *format!("https://{expected}/mcp?x=1"));
            assert_eq!(request.headers().len(), 1);
            in_http1(&mut request).unwrap();
            assert_eq!(
                (request.uri().to_string(), request.version()),
                ("/mcp?x=1".to_owned(), Version::HTTP_11)
            );
            assert_eq!(request.headers()["host"], expected);
        }
    }
}
