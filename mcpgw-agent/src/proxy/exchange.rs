//! One request: check → read → govern → forward → answer.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use super::{
    Shared,
    body::BodyBudget,
    govern::{Passed, Verdict, govern},
    refused::{Refused, json},
    relay::{Relay, Watch},
    request,
};
use crate::{
    identity::Caller,
    mcp::{
        AnswerObserver,
        error::{self, code},
    },
    telemetry::Outcome,
    upstream::UpstreamError,
};

/// The body of an answer: our own, or a server's.
pub(super) type Body = Either<Full<Bytes>, Relay>;

/// Answers one request. Dropping the future abandons it: the record of its call says `cancelled`.
pub(super) async fn serve(
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    bodies: BodyBudget,
    request: Request<Incoming>,
) -> Response<Body> {
    match exchange(&shared, &caller, &bodies, request).await {
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
    bodies: &BodyBudget,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    request::check(&head)?;
    // The body's share of the budget goes back when the server begins to answer.
    let (body, _share) = if head.method == Method::POST {
        let (body, share) = bodies.read(body).await?;
        (body, Some(share))
    } else {
        (Bytes::new(), None)
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
    let request = Request::from_parts(head, Full::new(body.clone()));
    if let Some(record) = &mut passed.record {
        record.add_overhead(complete.elapsed());
    }
    let sent = async {
        let upstream = shared.upstreams.get(&passed.server.name).ok_or(UpstreamError::Gone)?;
        let endpoint = upstream.endpoint(caller.destination)?;
        upstream.send(&endpoint, request).await
    };
    let response = match sent.await {
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

/// The answer when the server gave none. A tool call has its record; any other request is reported as
/// refused, so that it leaves a trace too.
fn unanswered(caller: &Caller, passed: Passed<'_>, error: &UpstreamError) -> Result<Response<Body>, Refused> {
    let (status, reason) = error.answer();
    let message = format!(
        "MCP server {} at {} {}",
        passed.server.name,
        caller.destination,
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
