//! The streams on which clients hear what they did not ask for: GET in the legacy era, `subscriptions/listen` in the
//! modern one.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::{
    sync::{
        Notify,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Instant, Sleep, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    hearing::Hearing,
    limits::{KEEP_ALIVE, MAX_EVENT_BYTES, RETRY, STREAM_QUEUE},
    link::Link,
};
use crate::{
    mcp::{
        held::Held,
        sse::{self, Event, Parser},
    },
    proxy::lease::Lease,
};

/// What writes to a client's stream. Full, it makes the writer wait; closed, the client has gone.
#[derive(Clone)]
pub(super) struct Feed(Sender<Bytes>);

impl Feed {
    /// Sends an event with this message; `false` if the client has gone.
    pub(super) async fn message(&self, message: &[u8]) -> bool {
        self.raw(sse::event(message, None, None)).await
    }

    /// Sends bytes that are whole events. Large ones for which there is no room go nowhere, as if the client had gone:
    /// it does not read.
    pub(super) async fn raw(&self, events: Bytes) -> bool {
        match Held::counted(events) {
            Some(events) => self.0.send(events).await.is_ok(),
            None => false,
        }
    }
}

/// The body of an event stream that is written here.
pub(in crate::proxy) struct EventBody {
    events: Receiver<Bytes>,
    silence: Pin<Box<Sleep>>,
    lease: Option<Lease>,
    /// Said by the lease, and not yet taken by the client.
    last: Option<Bytes>,
    /// Cancelled when the client has gone, or the body has ended.
    gone: Option<tokio_util::sync::DropGuard>,
}

impl EventBody {
    /// A stream, what writes to it, and what tells that it has ended.
    pub(super) fn new() -> (Feed, Self, CancellationToken) {
        let (sender, events) = channel(STREAM_QUEUE);
        let gone = CancellationToken::new();
        let body = Self {
            events,
            silence: Box::pin(sleep(KEEP_ALIVE)),
            lease: None,
            last: None,
            gone: Some(gone.clone().drop_guard()),
        };
        (Feed(sender), body, gone)
    }

    /// Ends with this, whoever still writes.
    pub(super) fn leased(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(lease) = &mut self.lease
            && let Poll::Ready(last) = lease.poll_over(cx)
        {
            (self.lease, self.gone) = (None, None);
            self.last = last;
        }
        if self.gone.is_none() {
            // What waits is not for this client any more.
            return Poll::Ready(self.last.take().map(|last| Ok(Frame::data(last))));
        }
        let bytes = match self.events.poll_recv(cx) {
            Poll::Ready(Some(bytes)) => bytes,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {
                if self.silence.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                sse::comment()
            }
        };
        self.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

/// How the messages of a server's stream are changed for the client that hears them; `None`: it does not.
pub(super) type Change = Arc<dyn Fn(&Arc<Link>, Event) -> Option<Bytes> + Send + Sync>;

/// The open stream of a session, if there is one.
#[derive(Default)]
pub(super) struct Outlet {
    open: Mutex<Option<Open>>,
    opened: Notify,
}

#[derive(Clone)]
struct Open {
    feed: Feed,
    change: Change,
    hearing: Arc<Hearing>,
    gone: CancellationToken,
}

impl Outlet {
    /// Opens the stream, in place of one that is open: that one ends.
    pub(super) fn open(&self, feed: Feed, change: Change, hearing: Arc<Hearing>, gone: CancellationToken) {
        let open = Open {
            feed,
            change,
            hearing,
            gone,
        };
        if let Some(before) = self.lock().replace(open) {
            before.gone.cancel();
        }
        self.opened.notify_waiters();
    }

    /// Lets the stream carry what a server says unasked, from now until one of the two ends.
    pub(super) fn attach(&self, link: &Arc<Link>) {
        let open = self.lock().clone();
        if let Some(open) = open.filter(|open| !open.gone.is_cancelled()) {
            tokio::spawn(carry(Arc::downgrade(link), open));
        }
    }

    /// What writes to the stream, as soon as one is open.
    pub(super) async fn feed(&self) -> Feed {
        loop {
            let opened = self.opened.notified();
            match self.lock().clone() {
                Some(open) if !open.gone.is_cancelled() => return open.feed,
                _ => {}
            }
            opened.await;
        }
    }

    /// Whether a client listens.
    pub(super) fn is_open(&self) -> bool {
        self.lock().as_ref().is_some_and(|open| !open.gone.is_cancelled())
    }

    /// Ends the stream.
    pub(super) fn close(&self) {
        if let Some(open) = self.lock().take() {
            open.gone.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes on what a server says unasked, while the client may hear of it. A server that has no such stream says so with
/// HTTP 405, and one that ends it is asked again after a while.
async fn carry(link: Weak<Link>, open: Open) {
    let Some(server) = link.upgrade().map(|link| link.server().clone()) else {
        return;
    };
    let carrying = async {
        loop {
            open.hearing.until(&server, true).await;
            tokio::select! {
                () = carry_on(&link, &open) => return,
                () = open.hearing.until(&server, false) => {}
            }
        }
    };
    open.gone.run_until_cancelled(carrying).await;
}

async fn carry_on(link: &Weak<Link>, Open { feed, change, .. }: &Open) {
    let mut wait = RETRY.0;
    while let Some(link) = link.upgrade() {
        match link.listen(None).await {
            Ok(response) if response.status().is_success() => {
                let mut body = response.into_body().without_call_deadline();
                let mut parser = Parser::new(MAX_EVENT_BYTES);
                while let Some(Ok(frame)) = body.frame().await {
                    let Ok(chunk) = frame.into_data() else { continue };
                    parser.feed(&chunk);
                    while let Some(Ok(event)) = parser.next() {
                        wait = RETRY.0;
                        let Some(changed) = change(&link, event) else { continue };
                        if !feed.raw(changed).await {
                            return;
                        }
                    }
                }
            }
            Ok(response) if response.status().is_client_error() => return,
            Ok(_) | Err(_) => {}
        }
        drop(link);
        sleep(wait).await;
        wait = (wait * 2).min(RETRY.1);
    }
}
