//! Several messages in one body, as revision 2025-03-26 has them. Each is decided, and goes to the server, on its
//! own: the server sees no more of a batch than what it may see of each message.

use bytes::Bytes;
use http::Response;

use super::{Dialled, session::Opened};
use crate::{
    mcp::{
        Kind,
        error::{self, code},
        message::{Id, Peek},
    },
    proxy::{
        batch::{Answers, Messages, messages},
        body::Share,
        carries::Carries,
        exchange::Body,
        refused::Refused,
    },
    resources::DenialStatus,
    telemetry::{Outcome, Path},
};

/// Answers a batch: with an array of the answers to its requests, or with nothing if it has none.
pub(super) async fn serve(
    dialled: &Dialled<'_>,
    body: &Bytes,
    session: Option<Opened>,
    share: Share,
) -> Result<Response<Body>, Refused> {
    let messages = messages(&dialled.head.headers, body)?;
    if dialled.seen.is_some() {
        // Of an observed caller's batch there is one answer, the server's own.
        for (envelope, element) in messages {
            if let Ok((Some(mut record), _)) = dialled.decide(&envelope, &element, DenialStatus::Ok).await? {
                record.outcome(Outcome::Ok, None);
            }
        }
        return Ok(Response::new(Body::default()));
    }
    let mut answers = Answers::of(dialled.payer);
    for (envelope, element) in messages {
        let (wants_answer, asked) = (envelope.kind == Kind::Request, envelope.id.and_then(Id::of));
        // One answer has no status of its own.
        let response = match dialled.decide(&envelope, &element, DenialStatus::Ok).await? {
            Err(denied) => denied,
            Ok(judged) => {
                dialled.note_cancelled(&envelope, session.as_ref());
                let id = envelope.id.map(ToOwned::to_owned);
                let session = session.as_ref().map(Opened::again);
                match dialled
                    .forward(&envelope, judged, &element, session, Share::default())
                    .await
                {
                    Ok(response) => response,
                    Err(refused) => {
                        let refused = refused.to(id.as_deref());
                        refused.answered(&dialled.shared.telemetry, dialled.caller, Path::Redirected)
                    }
                }
            }
        };
        let answer = only_answer(dialled, session.as_ref(), response, &Carries::one(asked)).await?;
        if let Some(answer) = answer.filter(|_| wants_answer) {
            answers.add(&answer)?;
        }
    }
    drop(share);
    Ok(answers.response())
}

/// The message that answers, out of an answer of any form. What the server asks meanwhile nobody can be asked, as the
/// client gets all answers at once: the server is told so, and does not wait.
async fn only_answer(
    dialled: &Dialled<'_>,
    session: Option<&Opened>,
    response: Response<Body>,
    carries: &Carries,
) -> Result<Option<Bytes>, Refused> {
    let mut messages = Messages::of(response, dialled.payer);
    while let Some(message) = messages.next().await? {
        let Ok(peek) = Peek::new(&message) else { continue };
        match (peek.kind, peek.id.and_then(|id| id.raw())) {
            (Kind::Response, _) if carries.may_bring(&peek) => return Ok(Some(message)),
            (Kind::Request, Some(id)) => {
                let why = "No client can be asked while it waits for a batch";
                let declined = error::body::<()>(Some(id), code::METHOD_NOT_FOUND, why, None);
                dialled.send(dialled.own_request(declined, session), session).await?;
            }
            (Kind::Request | Kind::Response | Kind::Notification, _) => {}
        }
    }
    Ok(None)
}
