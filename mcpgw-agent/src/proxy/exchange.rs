//! One request: check → read → govern → forward → answer.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{
    Shared,
    govern::{Passed, Verdict, govern},
    limits::{BODY_TIMEOUT, MAX_BODY},
    refused::{Refused, json},
    relay::{Relay, Watch},
    request,
    upstream::{self, UpstreamError},
};
use crate::{
    identity::Caller,
    mcp::{
        AnswerObserver,
        error::{self, code},
    },
    telemetry::Outcome,
};

/// The body of an answer: our own, or a server's.
pub(super) type Body = Either<Full<Bytes>, Relay>;

/// Answers one request. Dropping the future abandons it: the record of its call says `cancelled`.
pub(super) async fn serve(shared: Arc<Shared>, caller: Arc<Caller>, request: Request<Incoming>) -> Response<Body> {
    match exchange(&shared, &caller, request).await {
        Ok(response) => response,
        Err(refused) => {
            refused.report(&shared.telemetry, &caller);
            refused.response()
        }
    }
}

async fn exchange(
    shared: &Shared,
    caller: &Arc<Caller>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    request::check(&head)?;
    let body = if head.method == Method::POST {
        read(body).await?
    } else {
        Bytes::new()
    };
    let complete = Instant::now();
    let mut passed = match govern(shared, caller, &head, &body, received)? {
        Verdict::Pass(passed) => passed,
        Verdict::Deny { mut record, answer } => {
            record.status(StatusCode::OK.as_u16());
            record.add_response_bytes(answer.len() as u64);
            record.add_overhead(complete.elapsed());
            return Ok(json(StatusCode::OK, answer));
        }
    };
    let request = match upstream::request(caller.destination.0, head, body.clone()) {
        Ok(request) => request,
        Err(error) => return unanswered(caller, passed, &error),
    };
    if let Some(record) = &mut passed.record {
        record.add_overhead(complete.elapsed());
    }
    let response = match shared.upstream.send(request).await {
        Ok(response) => response,
        Err(error) => return unanswered(caller, passed, &error),
    };
    let answered = Instant::now();
    let (head, body) = response.into_parts();
    let watch = passed.record.map(|mut record| {
        record.add_overhead(answered.elapsed());
        Watch::new(record, AnswerObserver::new(passed.id, &head.headers), head.status)
    });
    Ok(Response::from_parts(head, Either::Right(Relay::new(body, watch))))
}

/// Reads a whole body, within its bounds.
async fn read(body: Incoming) -> Result<Bytes, Refused> {
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(Refused::body_too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refused::body_too_large()),
        Ok(Err(_)) => {
            Err(Refused::new(StatusCode::BAD_REQUEST, "body_incomplete", "The request body broke off").closing())
        }
        Err(_) => {
            let message = format!("The request body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message).closing())
        }
    }
}

/// The answer when the server gave none. A tool call has its record; any other request is reported as
/// refused, so that it leaves a trace too.
fn unanswered(caller: &Caller, passed: Passed<'_>, error: &UpstreamError) -> Result<Response<Body>, Refused> {
    let (status, reason) = error.answer();
    let message = format!(
        "MCP server {} at {} {}",
        passed.server.name,
        caller.destination.0,
        error.explain()
    );
    let Some(mut record) = passed.record else {
        return Err(Refused::new(status, reason, message).to(passed.id));
    };
    let body = error::body(passed.id, code::of_status(status.as_u16()), &message, None);
    record.status(status.as_u16());
    record.outcome(Outcome::Error, None);
    record.add_response_bytes(body.len() as u64);
    Ok(json(status, body))
}
