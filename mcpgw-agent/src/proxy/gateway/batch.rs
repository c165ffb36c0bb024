//! Several messages in one body, as revision 2025-03-26 has them. Each is a request of its own, to a server of its own;
//! their answers come back as one.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderValue, Response, header, request::Parts};

use super::{
    super::{
        Shared,
        batch::{Answers, Messages, messages},
        body::Share,
        exchange::Body,
        refused::Refused,
    },
    request,
};
use crate::{
    identity::Caller,
    mcp::{Kind, envelope, message, version::Revision},
    policy::Plan,
    telemetry::Path,
};

/// Answers a batch, if the client's revision has them: with an array of the answers to its requests, or with nothing
/// if it has none. If it has not, it is `refused`.
#[allow(clippy::too_many_arguments, reason = "all that is known of a request, gathered once")]
pub(super) async fn serve(
    shared: &Arc<Shared>,
    caller: &Arc<Caller>,
    plan: &Arc<Plan>,
    catalog: Option<&str>,
    head: &Parts,
    body: &Bytes,
    share: Share,
    received: Instant,
    refused: &envelope::Refused<'_>,
) -> Result<Response<Body>, Refused> {
    let whose = request::whose(caller);
    let revision = match shared.gateway.session_of(&head.headers, whose, catalog)? {
        Some(session) => Some(session.facts.revision),
        None => Revision::of_headers(&head.headers).ok(),
    };
    if !revision.is_some_and(Revision::has_batches) {
        return Err(Refused::envelope(refused));
    }
    let mut head = head.clone();
    // All answers come at once: none of them can be a stream.
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(header::ACCEPT, json);
    let mut answers = Answers::of(whose.1);
    for (envelope, element) in messages(&head.headers, body)? {
        let wants_answer = envelope.kind == Kind::Request;
        let answered = request::one(
            shared,
            caller,
            plan,
            catalog,
            &head,
            &envelope,
            &element,
            Share::default(),
            received,
        );
        let response = match answered.await {
            Ok(response) => response,
            Err(mut refused) => {
                refused.report(&shared.telemetry, caller, Path::Gateway);
                refused.response()
            }
        };
        let mut messages = Messages::of(response, whose.1);
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
