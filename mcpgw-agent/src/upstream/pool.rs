//! Keep-alive connections to one endpoint, in the version of HTTP that it speaks.
//!
//! hyper's own connections, with a pool of ours: hyper-util's client names its connections by the authority
//! of the request, and ours go by the address, whatever the caller calls the server.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::{
    connect,
    error::UpstreamError,
    limits::{
        MAX_CALLS_PER_ENDPOINT, MAX_CALLS_PER_ENDPOINT_AND_WORKLOAD, MAX_WAITING_PER_ENDPOINT, POOL_IDLE_TIMEOUT,
        POOL_MAX_IDLE_PER_ENDPOINT, READ_BUFFER,
    },
    multiplex::{self, Multiplex, Stream},
    secure::Secure,
};
use crate::shares::{Payer, Share, Shares};

type Sender = http1::SendRequest<Full<Bytes>>;

/// The connections to one endpoint.
pub(super) struct Pool {
    address: SocketAddr,
    speech: Speech,
    runtime: Handle,
    idle: Mutex<Vec<Idle>>,
    multiplex: Multiplex,
    room: Arc<Semaphore>,
    shares: Shares,
}

/// How an endpoint is spoken to.
pub(super) enum Speech {
    /// In HTTP/1.1.
    Plain,
    /// In HTTP/2, as both know beforehand.
    Http2,
    /// In what is agreed on with TLS.
    Secure(Arc<Secure>),
}

impl Speech {
    fn secure(&self) -> Option<&Secure> {
        match self {
            Self::Secure(secure) => Some(secure),
            Self::Plain | Self::Http2 => None,
        }
    }
}

/// A connection of HTTP/1.1 that waits for its next call.
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Idle {
    fn is_good(&self, now: Instant) -> bool {
        self.sender.is_ready() && now.duration_since(self.since) < POOL_IDLE_TIMEOUT
    }
}

/// What serves a call.
struct Lease {
    on: On,
    /// It has served calls before.
    reused: bool,
}

enum On {
    Connection(Sender),
    Stream(multiplex::Sender, Stream),
}

/// The room that a call takes up, until its answer is complete.
pub(super) struct Room {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

/// The head of an answer, and what its body holds until it is complete.
pub(super) type Answer = (Response<Incoming>, Option<Stream>);

impl Pool {
    pub(super) fn new(address: SocketAddr, speech: Speech, runtime: &Handle) -> Arc<Self> {
        Arc::new(Self {
            address,
            multiplex: match speech {
                Speech::Http2 => Multiplex::known(),
                Speech::Plain | Speech::Secure(_) => Multiplex::default(),
            },
            speech,
            runtime: runtime.clone(),
            idle: Mutex::default(),
            room: Arc::new(Semaphore::new(MAX_CALLS_PER_ENDPOINT)),
            shares: Shares::new(
                MAX_CALLS_PER_ENDPOINT + MAX_WAITING_PER_ENDPOINT,
                MAX_CALLS_PER_ENDPOINT_AND_WORKLOAD,
            ),
        })
    }

    /// Sends a request and waits for the head of its answer. Dropping the future ends its connection or stream.
    ///
    /// A request that was never sent goes over another connection. One that was sent, into a connection that
    /// the server closed before it answered, is sent again only if it is safe (GET, HEAD), or the server said that it
    /// has not touched it: no other could tell whether the server has acted on it.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Full<Bytes>>,
        payer: Payer,
        connect: Duration,
    ) -> Result<Answer, UpstreamError> {
        let room = self.room(payer, connect).await?;
        let safe = request.method().is_safe().then(|| request.clone());
        loop {
            let Lease { on, reused } = match self.open_already() {
                Some(lease) => lease,
                // Rare, and larger than all the rest of a call's state.
                None => Box::pin(self.open_another(connect)).await?,
            };
            let (mut error, untouched) = match on {
                On::Connection(mut sender) => {
                    multiplex::in_http1(&mut request)?;
                    match sender.try_send_request(request).await {
                        Ok(response) => {
                            self.give_back(sender, room);
                            return Ok((response, None));
                        }
                        Err(error) => (error, None),
                    }
                }
                On::Stream(mut sender, stream) => {
                    multiplex::in_http2(&mut request, self.speech.secure().is_some(), self.address)?;
                    // Only what went over a connection that was open already is sent again.
                    let copy = reused.then(|| request.clone());
                    match sender.try_send_request(request).await {
                        Ok(response) => return Ok((response, Some(stream.holding(room)))),
                        Err(error) => {
                            let untouched = multiplex::is_untouched(error.error());
                            (error, copy.filter(|_| untouched))
                        }
                    }
                }
            };
            let closed = !error.error().is_parse();
            let again = error.take_message().or(untouched);
            match again.or_else(|| safe.clone().filter(|_| closed)) {
                // Not for ever: connections are few, and a new one is not tried twice.
                Some(again) if reused => request = again,
                _ => return Err(UpstreamError::Closed(error.into_error())),
            }
        }
    }

    /// Waits for room for another call.
    async fn room(&self, payer: Payer, connect: Duration) -> Result<Room, UpstreamError> {
        let share = self.shares.take(payer)?;
        let permit = timeout(connect, Arc::clone(&self.room).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(UpstreamError::Busy);
        };
        Ok(Room {
            _permit: permit,
            _share: share,
        })
    }

    /// Opens a connection, or takes what is open by the time that it would be this call's turn to do so.
    async fn open_another(&self, connect: Duration) -> Result<Lease, UpstreamError> {
        let turn = self.multiplex.turn(connect).await?;
        if turn.is_some()
            && let Some(lease) = self.open_already()
        {
            return Ok(lease);
        }
        let opening = timeout(connect, connect::open(self.address, self.speech.secure())).await;
        let connection = match opening.unwrap_or(Err(UpstreamError::ConnectTimeout(connect))) {
            Ok(connection) => connection,
            Err(error) => {
                turn.into_iter().for_each(|turn| turn.failed(&error));
                return Err(error);
            }
        };
        if matches!(self.speech, Speech::Http2) || connection.is_http2() {
            let (sender, stream) = self.multiplex.open(connection, &self.runtime).await?;
            let on = On::Stream(sender, stream);
            return Ok(Lease { on, reused: false });
        }
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            .handshake(TokioIo::new(connection))
            .await
            .map_err(UpstreamError::Closed)?;
        self.runtime.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a server broke off");
            }
        });
        let on = On::Connection(sender);
        Ok(Lease { on, reused: false })
    }

    fn open_already(&self) -> Option<Lease> {
        let stream = || self.multiplex.take().map(|(sender, stream)| On::Stream(sender, stream));
        let on = self.take_idle().map(On::Connection).or_else(stream)?;
        Some(Lease { on, reused: true })
    }

    fn take_idle(&self) -> Option<Sender> {
        let now = Instant::now();
        let mut idle = self.idle();
        // The youngest first, so that the others can grow old.
        while let Some(candidate) = idle.pop() {
            if candidate.is_good(now) {
                return Some(candidate.sender);
            }
        }
        None
    }

    /// Keeps a connection for another call as soon as this one's answer is complete.
    fn give_back(self: &Arc<Self>, mut sender: Sender, room: Room) {
        if sender.is_ready() {
            return self.keep(sender);
        }
        let pool = Arc::downgrade(self);
        self.runtime.spawn(async move {
            let ready = sender.ready().await;
            drop(room);
            if ready.is_ok()
                && let Some(pool) = pool.upgrade()
            {
                pool.keep(sender);
            }
        });
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle();
        if idle.len() < POOL_MAX_IDLE_PER_ENDPOINT {
            idle.push(Idle {
                sender,
                since: Instant::now(),
            });
        }
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.idle().retain(|idle| idle.is_good(now));
        self.multiplex.sweep();
    }

    /// Closes what is idle.
    pub(super) fn clear(&self) {
        self.idle().clear();
        self.multiplex.clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::mcp::seal::Owner;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_call_over_http1_takes_its_share_until_its_answer_is_complete() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut pool = Pool::new(address, Speech::Plain, &Handle::current());
        Arc::get_mut(&mut pool).unwrap().shares = Shares::new(3, 1);
        let ask = async |name: &str| {
            let payer = Payer::Workload(Owner::of(name));
            let request = Request::post("/").header("host", "x").body(Full::from("body"));
            pool.send(request.unwrap(), payer, PATIENCE).await
        };
        let begin = async |name: &str| {
            let serve = async {
                let mut stream = listener.accept().await.unwrap().0;
                let mut read = Vec::new();
                while !read.ends_with(b"body") {
                    assert!(stream.read_buf(&mut read).await.unwrap() > 0);
                }
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na";
                stream.write_all(head).await.unwrap();
                stream
            };
            let (stream, answer) = tokio::join!(serve, ask(name));
            (stream, answer.unwrap().0)
        };
        let is_refused = async || matches!(ask("greedy").await, Err(UpstreamError::ShareTaken));
        let (mut stream, answer) = begin("greedy").await;
        assert!(is_refused().await);
        let _other = begin("modest").await;
        stream.write_all(b"b").await.unwrap();
        assert_eq!(answer.collect().await.unwrap().to_bytes(), "ab");
        // That the connection is good for another call is known a moment later.
        let free = async {
            while pool.idle().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, free).await.unwrap();
        drop((stream, pool.idle().pop()));
        let _again = begin("greedy").await;
        assert!(is_refused().await);
        let _third = begin("another").await;
        assert!(
            matches!(ask("one more").await, Err(UpstreamError::Busy)),
            "it has none itself"
        );
    }
}
