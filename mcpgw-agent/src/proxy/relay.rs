//! Passes an answer on to the client, chunk by chunk, and closes the call's record at its end.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tokio::task::coop;

use super::{
    carries::Carries,
    lease::Lease,
    pending::{Pending, PendingCall, StreamKey, StreamWatch},
    rewrite::{RewriteError, Rewriter},
    voices::Voice,
};
use crate::{
    mcp::{Answer, AnswerObserver},
    telemetry::{Outcome, Record},
    upstream::{BodyError, UpstreamBody},
};

/// The body of an answer on its way. The next chunk is asked of the server when the client has taken the
/// one before; an error ends the client's stream as an error.
pub(super) struct Relay {
    body: UpstreamBody,
    /// Absent where nothing in the answer changes: then chunks pass as they are.
    rewriter: Option<Rewriter>,
    /// Rewritten, and not yet taken by the client.
    ready: VecDeque<Bytes>,
    ended: bool,
    watch: Option<Watch>,
    /// Looks on for calls whose answers come on this stream.
    stream: Option<StreamWatch>,
    /// What we say ourselves, between two events.
    voice: Option<Voice>,
    /// How long it may take, where it is a stream that has no end of its own.
    lease: Option<Lease>,
}

/// Why an answer cannot be completed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    /// The server broke off, or was too slow.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It cannot be passed on as it must be.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
}

impl Relay {
    /// Passes `body` on; `watch` where it is the answer to a tool call.
    pub(super) fn new(body: UpstreamBody, watch: Option<Watch>) -> Self {
        Self::behind(VecDeque::new(), body, watch)
    }

    /// … behind these bytes, which were read of it already.
    pub(super) fn behind(read: VecDeque<Bytes>, body: UpstreamBody, mut watch: Option<Watch>) -> Self {
        if let Some(watch) = &mut watch {
            read.iter().for_each(|chunk| watch.chunk(chunk));
        }
        let mut relay = Self {
            body,
            rewriter: None,
            ready: read,
            ended: false,
            watch,
            stream: None,
            voice: None,
            lease: None,
        };
        if relay.ready.is_empty() {
            relay.note_end();
        }
        relay
    }

    /// Changes messages on their way.
    pub(super) fn rewriting(mut self, rewriter: Option<Rewriter>) -> Self {
        self.rewriter = rewriter;
        self
    }

    /// Looks for the answers of calls that wait for this stream.
    pub(super) fn looking_for(mut self, pending: &Arc<Pending>, key: StreamKey, carries: Carries) -> Self {
        self.stream = Some(StreamWatch::new(pending, key, carries, self.body.payer()));
        self
    }

    /// Says between two events what is to be said on this stream, which is one of whole events: it is rewritten.
    pub(super) fn speaking(mut self, voice: Voice) -> Self {
        self.voice = Some(voice);
        self
    }

    /// Ends with this, whatever the server does.
    pub(super) fn leased(mut self, lease: Option<Lease>) -> Self {
        self.lease = lease;
        self
    }

    /// Some bodies say with their last chunk that it was the last, and are not asked again.
    fn note_end(&mut self) {
        if self.rewriter.is_none()
            && self.body.is_end_stream()
            && let Some(watch) = self.watch.take()
        {
            watch.complete();
        }
    }

    fn fail(&mut self, error: RelayError) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        self.ended = true;
        // What we cannot pass on was not heard by the client, and will not be.
        let passed = matches!(error, RelayError::Body(_));
        self.watch.take().into_iter().for_each(|watch| watch.fail(passed));
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        if let Some(lease) = &mut self.lease
            && let Poll::Ready(last) = lease.poll_over(cx)
        {
            self.lease = None;
            self.ended = true;
            // What was not taken by now is not for this client any more.
            self.ready = last.into_iter().collect();
        }
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                if self.ready.is_empty() {
                    self.note_end();
                }
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(voice) = &mut self.voice
                && let Poll::Ready(Some(said)) = voice.poll(cx)
            {
                return Poll::Ready(Some(Ok(Frame::data(said))));
            }
            let this = &mut *self;
            if let Some(rewriter) = &mut this.rewriter {
                // A chunk can have many events, and others have the thread too.
                let turn = ready!(coop::poll_proceed(cx));
                match rewriter.advance(&mut this.ready) {
                    Ok(true) => {
                        turn.made_progress();
                        continue;
                    }
                    Ok(false) if !this.ready.is_empty() => continue,
                    Ok(false) => {}
                    Err(error) => return self.fail(error.into()),
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let this = &mut *self;
                    let Some(chunk) = frame.data_ref() else {
                        // Trailers are about the server's connection.
                        continue;
                    };
                    if let Some(watch) = &mut this.watch {
                        watch.chunk(chunk);
                    }
                    if let Some(stream) = &mut this.stream {
                        stream.feed(chunk);
                    }
                    let Some(rewriter) = &mut this.rewriter else {
                        this.note_end();
                        return Poll::Ready(Some(Ok(frame)));
                    };
                    if let Err(error) = rewriter.feed(chunk) {
                        return self.fail(error.into());
                    }
                }
                Some(Err(error)) => return self.fail(error.into()),
                None => {
                    let this = &mut *self;
                    this.ended = true;
                    if let Some(rewriter) = &mut this.rewriter
                        && let Err(error) = rewriter.finish(&mut this.ready)
                    {
                        return self.fail(error.into());
                    }
                    this.watch.take().into_iter().for_each(Watch::complete);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && (self.ended || (self.rewriter.is_none() && self.body.is_end_stream()))
    }

    fn size_hint(&self) -> SizeHint {
        if self.rewriter.is_none() && self.ready.is_empty() {
            self.body.size_hint()
        } else {
            SizeHint::default()
        }
    }
}

/// Looks on for the record of a tool call. Dropped before the end of the answer, it leaves the call
/// cancelled, unless the answer had come by: a client may close an event stream that has served its purpose. A client
/// that can resume the stream has not cancelled either: the record closes with the stream that it comes back for.
pub(super) struct Watch {
    record: Option<Record>,
    observer: AnswerObserver,
    status: StatusCode,
    ended: bool,
    /// The call of a session, whose record waits if the answer is still to come, on another stream of the session.
    call: Option<PendingCall>,
}

impl Watch {
    /// For an answer with this HTTP status.
    pub(super) fn new(mut record: Record, observer: AnswerObserver, status: StatusCode) -> Self {
        record.status(status.as_u16());
        Self {
            record: Some(record),
            observer,
            status,
            ended: false,
            call: None,
        }
    }

    /// For this call of a session, which its client can cancel; where the stream ends so that the client can resume it,
    /// the record waits for another one.
    pub(super) fn waiting(mut self, call: Option<PendingCall>) -> Self {
        self.call = call;
        self
    }

    fn chunk(&mut self, chunk: &Bytes) {
        if let Some(record) = &mut self.record {
            record.add_response_bytes(chunk.len() as u64);
        }
        self.observer.feed(chunk);
    }

    fn complete(mut self) {
        self.ended = true;
        let answer = self.observer.finish();
        if matches!(answer, Answer::Absent | Answer::Resumable) && self.status.is_success() && self.cancelled() {
            self.wait(Outcome::Cancelled);
            return;
        }
        self.settle(answer);
        // Until the contrary is heard: nobody has taken the call back.
        self.wait(Outcome::Ok);
    }

    fn fail(mut self, passed: bool) {
        self.ended = true;
        if passed && self.answered() {
            return;
        }
        if !self.cancelled()
            && let Some(record) = &mut self.record
        {
            record.outcome(Outcome::Error, None);
        }
        if passed {
            self.wait(Outcome::Error);
        }
    }

    /// Whether the answer had come by before the stream ended: then it is what became of the call.
    fn answered(&mut self) -> bool {
        match self.observer.known() {
            Some(answer @ (Answer::Result { .. } | Answer::InputRequired | Answer::Error { .. })) => {
                self.settle(answer);
                true
            }
            _ => false,
        }
    }

    /// Whether the client has taken the call back: then the record says so, unless an answer is heard all the same.
    fn cancelled(&mut self) -> bool {
        let cancelled = self.call.as_ref().is_some_and(PendingCall::was_cancelled);
        if cancelled && let Some(record) = &mut self.record {
            record.outcome(Outcome::Cancelled, None);
        }
        cancelled
    }

    /// Leaves the record to the stream on which the answer may still come, if there can be one.
    fn wait(&mut self, unheard: Outcome) {
        if self.observer.is_resumable()
            && let Some(call) = self.call.take()
            && let Some(record) = self.record.take()
        {
            call.wait(record, unheard);
        }
    }

    fn settle(&mut self, answer: Answer) {
        if let Some(record) = &mut self.record {
            settle(record, self.status, answer);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if !self.answered() {
            self.cancelled();
            self.wait(Outcome::Cancelled);
        }
    }
}

/// Notes what became of a call.
pub(super) fn settle(record: &mut Record, status: StatusCode, answer: Answer) {
    let (outcome, is_error) = outcome(status, answer);
    record.outcome(outcome, is_error);
    if let Answer::Error { code: Some(code) } = answer {
        record.error_code(code);
    }
}

/// The outcome of a call, and whether its result says `isError`.
fn outcome(status: StatusCode, answer: Answer) -> (Outcome, Option<bool>) {
    match answer {
        _ if !status.is_success() => (Outcome::Error, None),
        Answer::Result { is_error: true } => (Outcome::ToolError, Some(true)),
        Answer::Result { is_error: false } | Answer::InputRequired => (Outcome::Ok, Some(false)),
        // A server takes a notification without an answer.
        Answer::Absent if status == StatusCode::ACCEPTED => (Outcome::Ok, None),
        Answer::Error { .. } | Answer::Absent => (Outcome::Error, None),
        Answer::Resumable | Answer::Unknown => (Outcome::Ok, None),
    }
}
