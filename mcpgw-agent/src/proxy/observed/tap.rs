//! The copy of one direction of a connection. Who writes it never waits: what finds no room is lost, and then all is
//! that comes after it.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::limits::{MAX_TAPPED, MAX_TAPPED_PER_WORKLOAD};

/// A copy; clones are the same.
#[derive(Clone)]
pub(super) struct Tap(Arc<Mutex<State>>);

struct State {
    /// Written, and not read yet.
    bytes: BytesMut,
    /// What all copies of the workload hold.
    held: Arc<AtomicUsize>,
    ended: bool,
    lost: bool,
    reader: Option<Waker>,
}

impl Drop for State {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len(), Relaxed);
    }
}

impl Tap {
    /// An empty one; `held` counts what all copies of one workload hold.
    pub(super) fn new(held: &Arc<AtomicUsize>) -> Self {
        Self(Arc::new(Mutex::new(State {
            bytes: BytesMut::new(),
            held: Arc::clone(held),
            ended: false,
            lost: false,
            reader: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds bytes.
    pub(super) fn push(&self, bytes: &[u8]) {
        let mut state = self.lock();
        if state.lost {
            return;
        }
        let all = state.held.fetch_add(bytes.len(), Relaxed) + bytes.len();
        if state.bytes.len() + bytes.len() > MAX_TAPPED || all > MAX_TAPPED_PER_WORKLOAD {
            state.held.fetch_sub(bytes.len(), Relaxed);
            state.lose();
        } else {
            state.bytes.extend_from_slice(bytes);
        }
        state.wake();
    }

    /// Says that nobody reads any more: what is there, and what comes, takes no room from others.
    pub(super) fn close(&self) {
        self.lock().lose();
    }

    /// Says that there are no more.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.wake();
    }

    /// The first bytes, which stay: as many as `enough` asks for, or all where there are no more.
    pub(super) fn poll_first(&self, cx: &mut Context<'_>, enough: impl Fn(&[u8]) -> bool) -> Poll<Vec<u8>> {
        let mut state = self.lock();
        if state.ended || state.lost || enough(&state.bytes) {
            return Poll::Ready(state.bytes.to_vec());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Moves what there is to the end of `into`; `false` where nothing more will come.
    pub(super) fn poll_more(&self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<bool>> {
        let mut state = self.lock();
        if state.lost {
            return Poll::Ready(Err(io::Error::other(Lost)));
        }
        if !state.bytes.is_empty() {
            let bytes = state.bytes.split();
            state.held.fetch_sub(bytes.len(), Relaxed);
            into.unsplit(bytes);
            return Poll::Ready(Ok(true));
        }
        if state.ended {
            return Poll::Ready(Ok(false));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl State {
    fn lose(&mut self) {
        self.held.fetch_sub(self.bytes.len(), Relaxed);
        self.bytes = BytesMut::new();
        self.lost = true;
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// There was no room for all of it.
#[derive(Debug, thiserror::Error)]
#[error("there was no room for a copy of everything")]
pub(super) struct Lost;

/// Reads a copy as a connection, and throws away what is written.
pub(super) struct Reader {
    tap: Tap,
    ready: BytesMut,
}

impl Reader {
    pub(super) fn new(tap: Tap) -> Self {
        Self {
            tap,
            ready: BytesMut::new(),
        }
    }

    /// Waits for more, or for the end: whether there is something that was not read.
    pub(super) async fn has_more(mut self) -> bool {
        let Self { tap, ready } = &mut self;
        !ready.is_empty() || poll_fn(|cx| tap.poll_more(cx, ready)).await.unwrap_or(true)
    }
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ready.is_empty() {
            ready!(this.tap.poll_more(cx, &mut this.ready))?;
        }
        let length = this.ready.len().min(into.remaining());
        into.put_slice(&this.ready[..length]);
        this.ready.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Reader {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_finds_no_room_is_lost_and_nobody_waits() {
        let held = Arc::<AtomicUsize>::default();
        let (tap, other) = (Tap::new(&held), Tap::new(&held));
        tap.push(b"abc");
        let mut read = BytesMut::new();
        assert!(poll_fn(|cx| tap.poll_more(cx, &mut read)).await.unwrap());
        assert_eq!((&read[..], held.load(Relaxed)), (&b"abc"[..], 0));
        tap.push(&vec![0; MAX_TAPPED]);
        assert_eq!(held.load(Relaxed), MAX_TAPPED);
        tap.push(b"d");
        assert_eq!(held.load(Relaxed), 0, "what is lost is not held");
        assert!(poll_fn(|cx| tap.poll_more(cx, &mut read)).await.is_err());
        other.push(b"xyz");
        other.end();
        assert!(poll_fn(|cx| other.poll_more(cx, &mut read)).await.unwrap());
        assert!(!poll_fn(|cx| other.poll_more(cx, &mut read)).await.unwrap());
        drop(tap);
        assert_eq!(held.load(Relaxed), 0);
    }

    #[test]
    fn a_copy_that_nobody_reads_takes_no_room_from_others() {
        let held = Arc::<AtomicUsize>::default();
        let tap = Tap::new(&held);
        tap.push(b"abc");
        tap.close();
        tap.push(b"def");
        assert_eq!(held.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn what_was_not_read_is_told_from_the_end() {
        let of = |bytes: &[u8], close: bool| {
            let tap = Tap::new(&Arc::default());
            tap.push(bytes);
            tap.end();
            if close {
                tap.close();
            }
            Reader::new(tap).has_more()
        };
        assert!(of(b"abc", false).await);
        assert!(!of(b"", false).await);
        assert!(of(b"", true).await, "what was lost was not read either");
    }
}
