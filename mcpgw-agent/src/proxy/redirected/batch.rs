//! Several messages in one body, as revision 2025-03-26 has them. Each is decided, and goes to the server, on its
//! own: the server sees no more of a batch than what it may see of each message.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;

use super::{Dialled, post::Judged, session::Opened};
use crate::{
    mcp::{Envelope, Kind, batch::split, headers, held::Held, message, method::Method, sse::Parser},
    proxy::{
        body::Share,
        exchange::Body,
        is_events,
        limits::{MAX_EVENT_BYTES, MAX_REWRITTEN_ANSWER},
        refused::{Refused, json},
        relay::RelayError,
    },
    resources::DenialStatus,
    telemetry::Outcome,
};

/// Answers a batch: with an array of the answers to its requests, or with nothing if it has none.
pub(super) async fn serve(
    dialled: &Dialled<'_>,
    body: &Bytes,
    session: Option<Opened>,
    share: Share,
) -> Result<Response<Body>, Refused> {
    let (mut answers, mut held) = (BytesMut::new(), Held::default());
    // Everything is read before anything is sent: a batch that is wrong in one place is refused whole.
    let mut messages = Vec::new();
    for element in split(body).map_err(|refused| Refused::envelope(&refused))? {
        let envelope = Envelope::parse(element).map_err(|refused| Refused::envelope(&refused))?;
        headers::check_claims(&dialled.head.headers, &envelope).map_err(Refused::headers)?;
        if envelope.known() == Some(Method::Initialize) {
            let message = "initialize must not be part of a batch";
            return Err(Refused::new(StatusCode::BAD_REQUEST, "batch", message));
        }
        messages.push((envelope, body.slice_ref(element)));
    }
    if dialled.seen.is_some() {
        // Of an observed caller's batch there is one answer, the server's own.
        for (envelope, element) in messages {
            if let Ok(Judged {
                record: Some(mut record),
                ..
            }) = dialled.decide(envelope, &element, DenialStatus::Ok).await?
            {
                record.outcome(Outcome::Ok, None);
            }
        }
        return Ok(Response::new(Body::default()));
    }
    for (envelope, element) in messages {
        let wants_answer = envelope.kind == Kind::Request;
        // One answer has no status of its own.
        let response = match dialled.decide(envelope, &element, DenialStatus::Ok).await? {
            Err(denied) => denied,
            Ok(judged) => {
                let id = judged.envelope.id.map(ToOwned::to_owned);
                let session = session.as_ref().map(Opened::again);
                match dialled.forward(judged, &element, session, Share::default()).await {
                    Ok(response) => response,
                    Err(refused) => refused.to(id.as_deref()).response(),
                }
            }
        };
        let answer = only_answer(response).await?;
        if let Some(answer) = answer.filter(|_| wants_answer) {
            let length = answers.len() + answer.len();
            if length > MAX_REWRITTEN_ANSWER || !held.hold(length) {
                let message = "The answers to this batch are too large together";
                return Err(Refused::new(StatusCode::BAD_GATEWAY, "upstream_answer", message));
            }
            answers.put_u8(if answers.is_empty() { b'[' } else { b',' });
            answers.put_slice(&answer);
        }
    }
    drop(share);
    if answers.is_empty() {
        let mut accepted = Response::new(Body::default());
        *accepted.status_mut() = StatusCode::ACCEPTED;
        return Ok(accepted);
    }
    answers.put_u8(b']');
    let mut response = json(StatusCode::OK, held.keep(answers.freeze()));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The message that answers, out of an answer of any form.
async fn only_answer(response: Response<Body>) -> Result<Option<Bytes>, Refused> {
    let broken = |error: RelayError| {
        Refused::new(
            StatusCode::BAD_GATEWAY,
            "upstream_closed",
            format!("The server's answer is not whole: {error}"),
        )
    };
    let events = is_events(response.headers());
    let too_large = || {
        let message = "The server's answer is too large";
        Refused::new(StatusCode::BAD_GATEWAY, "upstream_answer", message)
    };
    let mut body = response.into_body();
    let (mut whole, mut held) = (BytesMut::new(), Held::default());
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        let length = whole.len() + chunk.len();
        if length > MAX_REWRITTEN_ANSWER || !held.hold(length) {
            return Err(too_large());
        }
        whole.put(chunk);
    }
    let whole = whole.freeze();
    let is_answer = |data: &Bytes| message::is_response(data);
    if !events {
        return Ok(Some(whole).filter(is_answer));
    }
    let mut parser = Parser::new(MAX_EVENT_BYTES);
    parser.feed(&whole);
    while let Some(Ok(event)) = parser.next() {
        if let Some(data) = event.data.filter(is_answer) {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
