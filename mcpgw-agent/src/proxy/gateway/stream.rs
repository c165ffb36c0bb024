//! The streams on which clients hear what they did not ask for: GET in the legacy era, `subscriptions/listen` in the
//! modern one.

use std::{
    collections::HashSet,
    ops::ControlFlow,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::{
    sync::{
        Notify,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Instant, Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::{
    hear::{Ear, hear},
    hearing::Hearing,
    limits::{KEEP_ALIVE, STREAM_QUEUE},
    link::Link,
    session::Session,
};
use crate::{
    mcp::{
        held::Held,
        sse::{self, Event},
    },
    proxy::lease::Lease,
    resources::ObjectName,
    shares::Payer,
};

/// What writes to a client's stream. Full, it makes the writer wait; closed, the client has gone.
#[derive(Clone)]
pub(super) struct Feed {
    queue: Sender<Bytes>,
    payer: Payer,
    gone: CancellationToken,
}

/// Why an event was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The client has gone, or the stream has ended.
    Gone,
    /// There is no room for it to wait in.
    NoRoom,
}

impl Feed {
    /// Sends an event with this message; `false` if the client has gone.
    pub(super) async fn message(&self, message: &[u8]) -> bool {
        self.raw(sse::event(message, None, None)).await
    }

    /// Sends bytes that are whole events; `false` if the client has gone. Where there is no room for them the stream ends
    /// after what waits already: its client comes back, and knows that it may have missed something.
    pub(super) async fn raw(&self, events: Bytes) -> bool {
        let sent = self.offer(events).await;
        if sent == Err(Unsent::NoRoom) {
            self.gone.cancel();
        }
        sent.is_ok()
    }

    /// Sends bytes that are whole events, or does nothing.
    pub(super) async fn offer(&self, events: Bytes) -> Result<(), Unsent> {
        if self.gone.is_cancelled() {
            return Err(Unsent::Gone);
        }
        let events = Held::queued(events, self.payer, &self.queue, STREAM_QUEUE).ok_or(Unsent::NoRoom)?;
        self.queue.send(events).await.map_err(|_| Unsent::Gone)
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
    gone: Option<DropGuard>,
    /// Somebody has ended the stream, that is what this tells.
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl EventBody {
    /// A stream that this payer asked for, what writes to it, and what tells that it has ended.
    pub(super) fn new(payer: Payer) -> (Feed, Self, CancellationToken) {
        let (sender, events) = channel(STREAM_QUEUE);
        let gone = CancellationToken::new();
        let body = Self {
            events,
            silence: Box::pin(sleep(KEEP_ALIVE)),
            lease: None,
            last: None,
            gone: Some(gone.clone().drop_guard()),
            ended: Box::pin(gone.clone().cancelled_owned()),
        };
        let feed = Feed {
            queue: sender,
            payer,
            gone: gone.clone(),
        };
        (feed, body, gone)
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
            Poll::Pending if self.ended.as_mut().poll(cx).is_ready() => return Poll::Ready(None),
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
    /// Those that are listened to.
    servers: Arc<Mutex<HashSet<ObjectName>>>,
}

impl Open {
    fn servers(&self) -> MutexGuard<'_, HashSet<ObjectName>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet {
    /// Opens the stream, in place of one that is open: that one ends.
    pub(super) fn open(&self, feed: Feed, change: Change, hearing: Arc<Hearing>, gone: CancellationToken) {
        let open = Open {
            feed,
            change,
            hearing,
            gone,
            servers: Arc::default(),
        };
        if let Some(before) = self.lock().replace(open) {
            before.gone.cancel();
        }
        self.opened.notify_waiters();
    }

    /// Lets the stream carry what a server says unasked, from now until one of the two ends.
    pub(super) fn attach(&self, session: &Arc<Session>, server: &ObjectName) {
        let Some(open) = self.lock().clone() else { return };
        if open.gone.is_cancelled() || !open.servers().insert(server.clone()) {
            return;
        }
        let (session, server) = (Arc::clone(session), server.clone());
        tokio::spawn(async move {
            let carry = || async {
                let mut carried = Carried {
                    feed: open.feed.clone(),
                    change: Arc::clone(&open.change),
                };
                hear(&session, || open.hearing.upstream(&server), &mut carried).await;
            };
            let carrying = open.hearing.while_seen(&server, carry);
            open.gone.run_until_cancelled(carrying).await;
            open.servers().remove(&server);
        });
    }

    /// What writes to the stream, and how the messages of this server's are changed for it; `None` where no stream is
    /// open, or its client may not hear of the server.
    pub(super) fn carrying(&self, server: &ObjectName) -> Option<(Feed, Change)> {
        let open = self.lock().clone()?;
        let is_heard = !open.gone.is_cancelled() && open.hearing.sees(server);
        is_heard.then_some((open.feed, open.change))
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

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes on what a server says unasked.
struct Carried {
    feed: Feed,
    change: Change,
}

impl Ear for Carried {
    async fn hear(&mut self, link: &Arc<Link>, event: Event) -> ControlFlow<()> {
        let Some(changed) = (self.change)(link, event) else {
            return ControlFlow::Continue(());
        };
        match self.feed.raw(changed).await {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::mcp::{
        held::{FREE, MAX_HELD_PER_WORKLOAD},
        seal::Owner,
    };

    #[tokio::test]
    async fn a_stream_ends_where_there_is_no_room_for_what_it_is_told() {
        let payer = Payer::Workload(Owner::of("full"));
        let mut all = Held::new(payer);
        assert!(all.hold(MAX_HELD_PER_WORKLOAD + FREE));
        let (feed, mut body, gone) = EventBody::new(payer);
        assert!(feed.message(b"1").await);
        let large = [b' '; 2048];
        assert_eq!(feed.offer(Bytes::copy_from_slice(&large)).await, Err(Unsent::NoRoom));
        assert!(!gone.is_cancelled(), "what was only offered ends nothing");
        assert!(!feed.message(&large).await && gone.is_cancelled());
        drop(all);
        assert!(!feed.message(b"2").await, "it comes too late");
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, sse::event(b"1", None, None));
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn what_waits_for_a_client_that_does_not_read_counts_however_small_its_parts_are() {
        const EVENT: Bytes = Bytes::from_static(&[b' '; 60 * 1024]);
        let payer = Payer::Workload(Owner::of("reads nothing"));
        let (feed, body, _) = EventBody::new(payer);
        for _ in 0..STREAM_QUEUE {
            assert!(feed.raw(EVENT).await);
        }
        let mut rest = Held::new(payer);
        let left = MAX_HELD_PER_WORKLOAD - 3 * 1024 * 1024;
        assert!(!rest.hold(left), "more than 3 MiB are held");
        drop(body);
        assert!(rest.hold(left));
    }

    #[tokio::test]
    async fn small_events_reach_a_client_whose_workload_has_no_room() {
        let payer = Payer::Workload(Owner::of("has much"));
        let mut all = Held::new(payer);
        assert!(all.hold(MAX_HELD_PER_WORKLOAD));
        let (feed, _body, _) = EventBody::new(payer);
        for _ in 0..STREAM_QUEUE {
            assert!(feed.message(br#"{"jsonrpc":"2.0"}"#).await);
        }
    }
}
