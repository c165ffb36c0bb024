//! Waits for the one answer to a request, whatever form the server gives it.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt;

use super::{
    super::is_events,
    limits::{MAX_ANSWER_BYTES, MAX_EVENT_BYTES},
};
use crate::{
    mcp::{
        gathered::{Full, Gathered},
        held::Held,
        message::{self, Id, Peek},
        sse::{Event, Parser},
    },
    upstream::{BodyError, UpstreamBody},
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CollectError {
    /// The server broke off.
    #[error("broke off its answer: {0}")]
    Broken(#[from] BodyError),
    /// The answer is larger than is kept.
    #[error("answered with more than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    /// It is large, and large answers hold all the memory that there is for them.
    #[error("answered with more than there is room for now")]
    NoRoom,
    /// The answer ended without being one.
    #[error("gave no answer to the request (HTTP {0})")]
    Absent(StatusCode),
}

/// The message that answers the request with this id, as it is written in the request. Any other answer is none: ids of
/// a client's other requests are no matter of this server's.
pub(super) async fn answer(response: Response<UpstreamBody>, id: &str) -> Result<Bytes, CollectError> {
    answer_between(response, id, |_| {}).await
}

/// The same; what the server says before it is heard too.
pub(super) async fn answer_between(
    response: Response<UpstreamBody>,
    id: &str,
    mut heard: impl FnMut(&Peek<'_>),
) -> Result<Bytes, CollectError> {
    let mut answering = Answering::new(response, id);
    loop {
        match answering.next().await? {
            Said::Answer(answer) => return Ok(answer),
            Said::Aside(event) => {
                let said = event.data.as_ref().and_then(|data| Peek::new(data).ok());
                said.as_ref().into_iter().for_each(&mut heard);
            }
        }
    }
}

/// What a server says to answer a request.
pub(super) enum Said {
    /// Another message, before the answer.
    Aside(Event),
    /// The answer: it is the last.
    Answer(Bytes),
}

/// An answer that is on its way.
pub(super) struct Answering {
    /// Of the request.
    id: Option<Id>,
    status: StatusCode,
    body: Option<UpstreamBody>,
    /// Where it is a stream.
    parser: Option<Parser>,
}

impl Answering {
    /// To the request with this id, as it is written there.
    pub(super) fn new(response: Response<UpstreamBody>, id: &str) -> Self {
        let events = is_events(response.headers());
        let payer = response.body().payer();
        Self {
            id: Id::parse(id),
            status: response.status(),
            parser: events.then(|| Parser::new(MAX_EVENT_BYTES, payer)),
            body: Some(response.into_body()),
        }
    }

    /// The next message; an error where the answer does not come any more.
    pub(super) async fn next(&mut self) -> Result<Said, CollectError> {
        let Some(parser) = &mut self.parser else {
            return match self.body.take() {
                Some(body) => {
                    let whole = whole(body).await?;
                    let is_it = message::answers(&whole, self.id.as_ref());
                    is_it
                        .then_some(Said::Answer(whole))
                        .ok_or(CollectError::Absent(self.status))
                }
                None => Err(CollectError::Absent(self.status)),
            };
        };
        let Some(body) = &mut self.body else {
            return Err(CollectError::Absent(self.status));
        };
        loop {
            for event in parser.by_ref() {
                let event = event.map_err(|_| CollectError::TooLarge)?;
                let Some(data) = &event.data else { continue };
                let Ok(message) = Peek::new(data) else { continue };
                if !message.answers(self.id.as_ref()) {
                    return Ok(Said::Aside(event));
                }
                let answer = Held::counted(data.clone(), body.payer());
                return answer.map(Said::Answer).ok_or(CollectError::NoRoom);
            }
            let Some(frame) = body.frame().await else {
                return Err(CollectError::Absent(self.status));
            };
            if let Ok(chunk) = frame?.into_data() {
                parser.feed(&chunk);
            }
        }
    }
}

/// A whole body. It counts among what is held until nobody has it any more.
async fn whole(mut body: UpstreamBody) -> Result<Bytes, CollectError> {
    let mut whole = Gathered::new(MAX_ANSWER_BYTES, body.payer());
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        whole.push(&chunk).map_err(|full| match full {
            Full::TooLarge => CollectError::TooLarge,
            Full::NoRoom => CollectError::NoRoom,
        })?;
    }
    Ok(whole.keep())
}
