//! Keep-alive connections to one endpoint.
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
    limits::{MAX_CALLS_PER_ENDPOINT, POOL_IDLE_TIMEOUT, POOL_MAX_IDLE_PER_ENDPOINT, READ_BUFFER},
    secure::Secure,
};

type Sender = http1::SendRequest<Full<Bytes>>;

/// The connections to one endpoint.
pub(super) struct Pool {
    address: SocketAddr,
    secure: Option<Arc<Secure>>,
    runtime: Handle,
    idle: Mutex<Vec<Idle>>,
    room: Arc<Semaphore>,
}

/// A connection that waits for its next call.
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Idle {
    fn is_good(&self, now: Instant) -> bool {
        self.sender.is_ready() && now.duration_since(self.since) < POOL_IDLE_TIMEOUT
    }
}

/// A connection that serves a call.
struct Lease {
    sender: Sender,
    /// It has served calls before.
    reused: bool,
}

impl Pool {
    pub(super) fn new(address: SocketAddr, secure: Option<Arc<Secure>>, runtime: &Handle) -> Arc<Self> {
        Arc::new(Self {
            address,
            secure,
            runtime: runtime.clone(),
            idle: Mutex::default(),
            room: Arc::new(Semaphore::new(MAX_CALLS_PER_ENDPOINT)),
        })
    }

    /// Sends a request and waits for the head of its answer. Dropping the future ends its connection.
    ///
    /// A request that was never sent goes over another connection. One that was sent, into a connection that
    /// the server closed before it answered, is sent again only if it is safe (GET, HEAD): no other could tell
    /// whether the server has acted on it.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Full<Bytes>>,
        connect: Duration,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let room = timeout(connect, Arc::clone(&self.room).acquire_owned()).await;
        let Ok(Ok(room)) = room else {
            return Err(UpstreamError::Busy);
        };
        let safe = request.method().is_safe().then(|| request.clone());
        loop {
            let Lease { mut sender, reused } = self.lease(connect).await?;
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.give_back(sender, room);
                    return Ok(response);
                }
                Err(mut error) => {
                    let closed = !error.error().is_parse();
                    match error.take_message().or_else(|| safe.clone().filter(|_| closed)) {
                        // Not for ever: idle connections are few, and a new one is not tried twice.
                        Some(again) if reused => request = again,
                        _ => return Err(UpstreamError::Closed(error.into_error())),
                    }
                }
            }
        }
    }

    async fn lease(&self, connect: Duration) -> Result<Lease, UpstreamError> {
        if let Some(sender) = self.take_idle() {
            return Ok(Lease { sender, reused: true });
        }
        let connection = timeout(connect, connect::open(self.address, self.secure.as_deref()))
            .await
            .map_err(|_| UpstreamError::ConnectTimeout(connect))??;
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
        Ok(Lease { sender, reused: false })
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
    fn give_back(self: &Arc<Self>, mut sender: Sender, room: OwnedSemaphorePermit) {
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
    }

    /// Closes what is idle.
    pub(super) fn clear(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
