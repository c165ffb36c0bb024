//! Several messages in one body, as revision 2025-03-26 has them. Each is a request of its own, to a server of its own;
//! their answers come back as one.

use bytes::Bytes;
use http::{HeaderValue, Response, header};

use super::{
    super::{
        batch::{Answers, Messages, messages},
        body::Share,
        exchange::Body,
        refused::Refused,
    },
    arrived::{Arrived, whose},
    request,
};
use crate::{
    mcp::{Kind, envelope, message, version::Revision},
    telemetry::Path,
};

/// Answers a batch, if the client's revision has them: with an array of the answers to its requests, or with nothing
/// if it has none. If it has not, it is `refused`.
pub(super) async fn serve(
    arrived: Arrived<'_>,
    body: &Bytes,
    share: Share,
    refused: &envelope::Refused<'_>,
) -> Result<Response<Body>, Refused> {
    let (_, payer) = whose(arrived.caller);
    let revision = match arrived.session()? {
        Some(session) => Some(session.facts.revision),
        None => Revision::of_headers(&arrived.head.headers).ok(),
    };
    if !revision.is_some_and(Revision::has_batches) {
        return Err(Refused::envelope(refused));
    }
    let mut head = arrived.head.clone();
    // All answers come at once: none of them can be a stream.
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(header::ACCEPT, json);
    let mut answers = Answers::of(payer);
    for (envelope, element) in messages(&head.headers, body)? {
        let wants_answer = envelope.kind == Kind::Request;
        let arrived = Arrived { head: &head, ..arrived };
        let answered = request::one(arrived, &envelope, &element, Share::default());
        let response = answered
            .await
            .unwrap_or_else(|refused| refused.answered(&arrived.shared.telemetry, arrived.caller, Path::Gateway));
        let mut messages = Messages::of(response, payer);
        while let Some(message) = messages.next().await?.filter(|_| wants_answer) {
            if message::is_response(&message) {
                answers.add(&message)?;
                break;
            }
        }
    }
    drop(share);
    Ok(answers.response())
}
