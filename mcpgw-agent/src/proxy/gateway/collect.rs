//! Waits for the one answer to a request, whatever form the server gives it.

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt;

use super::limits::{MAX_ANSWER_BYTES, MAX_EVENT_BYTES};
use crate::{
    mcp::{
        Kind,
        held::Held,
        message::{self, Peek},
        sse::Parser,
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
    Absent(http::StatusCode),
}

/// The message that answers the request with this id, as it is written in the request.
pub(super) async fn answer(response: Response<UpstreamBody>, id: &str) -> Result<Bytes, CollectError> {
    answer_between(response, id, |_| {}).await
}

/// The same; what the server says before it is heard too.
pub(super) async fn answer_between(
    response: Response<UpstreamBody>,
    id: &str,
    mut heard: impl FnMut(&Peek<'_>),
) -> Result<Bytes, CollectError> {
    let status = response.status();
    let events = super::super::is_events(response.headers());
    let body = response.into_body();
    if !events {
        let whole = whole(body).await?;
        return if message::is_response(&whole) {
            Ok(whole)
        } else {
            Err(CollectError::Absent(status))
        };
    }
    let payer = body.payer();
    let mut parser = Parser::new(MAX_EVENT_BYTES, payer);
    let mut body = body;
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        parser.feed(&chunk);
        for event in parser.by_ref() {
            let event = event.map_err(|_| CollectError::TooLarge)?;
            let Some(data) = event.data else { continue };
            let Ok(message) = Peek::new(&data) else { continue };
            if message.kind == Kind::Response && message.id.is_none_or(|known| known.get() == id) {
                return Held::counted(data, payer).ok_or(CollectError::NoRoom);
            }
            heard(&message);
        }
    }
    Err(CollectError::Absent(status))
}

/// A whole body. It counts among what is held until nobody has it any more.
pub(super) async fn whole(mut body: UpstreamBody) -> Result<Bytes, CollectError> {
    let (mut whole, mut held) = (BytesMut::new(), Held::new(body.payer()));
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        if whole.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(CollectError::TooLarge);
        }
        if whole.is_empty() && http_body::Body::is_end_stream(&body) {
            return Ok(chunk);
        }
        if !held.hold(whole.len() + chunk.len()) {
            return Err(CollectError::NoRoom);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(held.keep(whole.freeze()))
}
