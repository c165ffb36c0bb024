//! Streams of HTTP/2 whose client does not read them.
//!
//! A connection of HTTP/1.1 that takes no bytes ends with [`WRITE_TIMEOUT`](super::limits::WRITE_TIMEOUT). One of HTTP/2
//! may take those of other streams, and answer every ping, while one stream waits for ever with all that stands behind
//! it: the server's answer, its connection, the open record. So each stream has that time of its own, and is reset.
//!
//! hyper asks a body for the next chunk only when the client has room for it, so that whoever waits for the client is
//! not asked. The task of a stream, which hyper runs through [`Watched`], looks whether its body was asked since it gave
//! its last chunk.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use std::future::poll_fn;
use tokio::{
    task::futures::TaskLocalFuture,
    time::{Instant, Sleep, sleep},
};

use super::limits::HTTP2_CHUNK;

tokio::task_local! {
    /// That of the stream whose task is running.
    static PACE: Arc<Pace>;
}

/// How far the client has come with a stream: an even number while it is waited for it to read, else an odd one.
#[derive(Debug)]
struct Pace(AtomicU64);

impl Pace {
    fn asked(&self) {
        self.0.fetch_or(1, Relaxed);
    }

    fn gave(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Since which chunk the client is waited for; `None` if it is not.
    fn waits(&self) -> Option<u64> {
        let now = self.0.load(Relaxed);
        now.is_multiple_of(2).then_some(now)
    }
}

/// Runs the streams of a connection, each for as long as its client reads it.
#[derive(Clone)]
pub(super) struct Watched<E> {
    tasks: E,
    patience: Duration,
}

impl<E> Watched<E> {
    /// Runs them in `tasks`; a client may leave a chunk lying for as long as `patience`.
    pub(super) fn new(tasks: E, patience: Duration) -> Self {
        Self { tasks, patience }
    }
}

impl<E, F> Executor<F> for Watched<E>
where
    E: Executor<Pin<Box<dyn Future<Output = ()> + Send>>>,
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.tasks.execute(Box::pin(watched(stream, self.patience)));
    }
}

/// Runs a stream to its end, or until its client has not read it for so long: dropped, it is reset.
fn watched(
    stream: impl Future<Output = ()>,
    patience: Duration,
) -> TaskLocalFuture<Arc<Pace>, impl Future<Output = ()>> {
    // Nothing was given yet.
    let pace = Arc::new(Pace(AtomicU64::new(1)));
    let seen = Arc::clone(&pace);
    PACE.scope(pace, async move {
        let mut stream = pin!(stream);
        let mut timer: Option<(u64, Pin<Box<Sleep>>)> = None;
        poll_fn(|cx| {
            if stream.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let Some(since) = seen.waits() else {
                return Poll::Pending;
            };
            let (set, timer) = timer.get_or_insert_with(|| (since, Box::pin(sleep(patience))));
            if *set != since {
                *set = since;
                timer.as_mut().reset(Instant::now() + patience);
            }
            ready!(timer.as_mut().poll(cx));
            tracing::debug!("a stream was not read for {patience:?}, and ends");
            Poll::Ready(())
        })
        .await;
    })
}

/// The body of an answer on a stream that is watched, in chunks of which the last can wait for the client without
/// holding much.
pub(super) struct Paced<B> {
    body: B,
    /// The rest of a chunk.
    rest: Bytes,
    pace: Option<Arc<Pace>>,
}

impl<B> Paced<B> {
    /// For the stream whose task is running.
    pub(super) fn new(body: B) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            pace: PACE.try_with(Arc::clone).ok(),
        }
    }

    fn gives(&mut self, mut chunk: Bytes) -> Frame<Bytes> {
        if let Some(pace) = &self.pace {
            pace.gave();
        }
        self.rest = chunk.split_off(chunk.len().min(HTTP2_CHUNK));
        Frame::data(chunk)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(pace) = &self.pace {
            pace.asked();
        }
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(self.gives(rest))));
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(chunk) => self.gives(chunk),
            Err(trailers) => trailers,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() {
            return self.body.size_hint();
        }
        let (rest, behind) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest + behind.lower());
        if let Some(upper) = behind.upper() {
            hint.set_upper(rest + upper);
        }
        hint
    }
}

#[cfg(test)]
#[path = "stall_tests.rs"]
mod tests;
