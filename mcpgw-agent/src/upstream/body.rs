//! The body of a server's answer.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};

use super::{endpoint::InFlight, multiplex::Stream};
use crate::{resources::Timeouts, shares::Payer};

/// The body of an answer: ends as an error where the server is silent for too long, or takes too long in
/// all. The call is in flight until it is dropped.
pub struct UpstreamBody {
    body: Source,
    payer: Payer,
    /// How long the server may be silent.
    idle: Option<Duration>,
    call: Option<Deadline>,
    /// Since when the server lets us wait.
    waiting: Option<Instant>,
    /// Made when the server first lets us wait.
    timer: Option<Pin<Box<Sleep>>>,
    _in_flight: Option<(InFlight, Option<Stream>)>,
}

enum Source {
    /// An answer of HTTP.
    Http(Incoming),
    /// The copy of an answer that went to somebody else.
    Copy(Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>),
    /// Events that were cut out of another answer.
    Events(mpsc::Receiver<Bytes>),
    Empty,
}

#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    limit: Duration,
}

/// Why an answer cannot be completed.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The server broke off.
    #[error("the server broke off its answer: {0}")]
    Broken(#[from] hyper::Error),
    /// It is a copy, and that cannot be read.
    #[error("the copy of the server's answer {0}")]
    Copy(&'static str),
    /// The server was silent for this long.
    #[error("the server was silent for {} s", .0.as_secs_f64())]
    Idle(Duration),
    /// The server ended its stream for it to be resumed, and it could not be.
    #[error("the server ended its stream before the answer, and it could not be resumed: {0}")]
    Unresumed(String),
    /// The server did not complete its answer in this time.
    #[error("the server did not complete its answer within {} s", .0.as_secs_f64())]
    Call(Duration),
}

impl UpstreamBody {
    pub(super) fn new(
        body: Incoming,
        in_flight: (InFlight, Option<Stream>),
        sent: Instant,
        payer: Payer,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            _in_flight: Some(in_flight),
            ..Self::of(Source::Http(body), sent, payer, timeouts)
        }
    }

    /// Events as they come, until there are no more.
    pub(super) fn of_events(events: mpsc::Receiver<Bytes>, payer: Payer, timeouts: Timeouts) -> Self {
        Self::of(Source::Events(events), Instant::now(), payer, timeouts)
    }

    /// A copy, which takes as long as it takes.
    pub fn copied(body: Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>, payer: Payer) -> Self {
        Self::of(Source::Copy(body), Instant::now(), payer, Timeouts::default()).without_deadlines()
    }

    pub(super) fn empty() -> Self {
        Self::of(Source::Empty, Instant::now(), Payer::Agent, Timeouts::default()).without_deadlines()
    }

    fn of(body: Source, sent: Instant, payer: Payer, timeouts: Timeouts) -> Self {
        Self {
            body,
            payer,
            idle: Some(timeouts.idle),
            call: Some(Deadline {
                at: sent + timeouts.call,
                limit: timeouts.call,
            }),
            waiting: None,
            timer: None,
            _in_flight: None,
        }
    }

    /// Who asked for it: whose share of the memory it takes, where it is held.
    pub fn payer(&self) -> Payer {
        self.payer
    }

    /// May take as long as it likes, and be silent for as long as it likes.
    pub(super) fn without_deadlines(mut self) -> Self {
        (self.idle, self.call) = (None, None);
        self
    }

    /// May take as long as it likes in all: for streams of notifications, which have no end of their own.
    pub fn without_call_deadline(mut self) -> Self {
        self.call = None;
        self
    }

    /// May take this long in all, from now.
    pub fn within(mut self, limit: Duration) -> Self {
        let at = Instant::now() + limit;
        self.call = Some(Deadline { at, limit });
        self
    }

    /// Waits, at most as long as the server may be silent.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        loop {
            let since = *self.waiting.get_or_insert_with(Instant::now);
            let silence = self.idle.map(|idle| (since + idle, BodyError::Idle(idle)));
            let call = self.call.map(|call| (call.at, BodyError::Call(call.limit)));
            let first = [silence, call].into_iter().flatten().min_by_key(|(at, _)| *at);
            let Some((at, error)) = first else { return Poll::Pending };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if timer.deadline() >= at {
                return Poll::Ready(error);
            }
            // Set for a silence that was broken since.
            timer.as_mut().reset(at);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = match &mut self.body {
            Source::Http(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
            Source::Copy(body) => body.as_mut().poll_frame(cx),
            Source::Events(events) => events
                .poll_recv(cx)
                .map(|event| event.map(|event| Ok(Frame::data(event)))),
            Source::Empty => Poll::Ready(None),
        };
        let Poll::Ready(frame) = polled else {
            return self.poll_patience(cx).map(|error| Some(Err(error)));
        };
        self.waiting = None;
        let over = self.call.filter(|call| call.at <= Instant::now());
        Poll::Ready(frame.map(|frame| match over {
            Some(call) => Err(BodyError::Call(call.limit)),
            None => frame,
        }))
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Source::Http(body) => body.is_end_stream(),
            Source::Copy(_) | Source::Events(_) => false,
            Source::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Source::Http(body) => body.size_hint(),
            Source::Copy(_) | Source::Events(_) => SizeHint::default(),
            Source::Empty => SizeHint::with_exact(0),
        }
    }
}
