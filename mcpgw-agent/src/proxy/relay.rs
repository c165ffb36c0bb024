//! Passes an answer on to the client, chunk by chunk, and closes the call's record at its end.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};

use crate::{
    mcp::{Answer, AnswerObserver},
    telemetry::{Outcome, Record},
    upstream::{BodyError, UpstreamBody},
};

/// The body of an answer on its way. The next chunk is asked of the server when the client has taken the
/// one before; an error ends the client's stream as an error.
pub(super) struct Relay {
    body: UpstreamBody,
    watch: Option<Watch>,
}

impl Relay {
    /// Passes `body` on; `watch` where it is the answer to a tool call.
    pub(super) fn new(body: UpstreamBody, watch: Option<Watch>) -> Self {
        let mut relay = Self { body, watch };
        relay.note_end();
        relay
    }

    /// Some bodies say with their last chunk that it was the last, and are not asked again.
    fn note_end(&mut self) {
        if self.body.is_end_stream()
            && let Some(watch) = self.watch.take()
        {
            watch.complete();
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(watch), Some(chunk)) = (&mut self.watch, frame.data_ref()) {
                    watch.chunk(chunk);
                }
                self.note_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.watch.take().into_iter().for_each(Watch::fail);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                self.watch.take().into_iter().for_each(Watch::complete);
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Looks on for the record of a tool call. Dropped before the end of the answer, it leaves the call
/// cancelled, unless the answer had come by: a client may close an event stream that has served its purpose.
pub(super) struct Watch {
    record: Record,
    observer: AnswerObserver,
    status: StatusCode,
    ended: bool,
}

impl Watch {
    /// For an answer with this HTTP status.
    pub(super) fn new(mut record: Record, observer: AnswerObserver, status: StatusCode) -> Self {
        record.status(status.as_u16());
        Self {
            record,
            observer,
            status,
            ended: false,
        }
    }

    fn chunk(&mut self, chunk: &Bytes) {
        self.record.add_response_bytes(chunk.len() as u64);
        self.observer.feed(chunk);
    }

    fn complete(mut self) {
        self.ended = true;
        let answer = self.observer.finish();
        self.settle(answer);
    }

    fn fail(mut self) {
        self.ended = true;
        self.record.outcome(Outcome::Error, None);
    }

    fn settle(&mut self, answer: Answer) {
        let (outcome, is_error) = outcome(self.status, answer);
        self.record.outcome(outcome, is_error);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(answer) = self.observer.known().filter(|_| !self.ended)
            && matches!(
                answer,
                Answer::Result { .. } | Answer::InputRequired | Answer::Error { .. }
            )
        {
            self.settle(answer);
        }
    }
}

/// The outcome of a call, and whether its result says `isError`.
fn outcome(status: StatusCode, answer: Answer) -> (Outcome, Option<bool>) {
    match answer {
        _ if !status.is_success() => (Outcome::Error, None),
        Answer::Result { is_error: true } => (Outcome::ToolError, Some(true)),
        Answer::Result { is_error: false } => (Outcome::Ok, Some(false)),
        // A server takes a notification without an answer.
        Answer::Absent if status == StatusCode::ACCEPTED => (Outcome::Ok, None),
        Answer::Error { .. } | Answer::Absent => (Outcome::Error, None),
        Answer::InputRequired | Answer::Unknown => (Outcome::Ok, None),
    }
}
