//! Spends what a request costs, and answers one that is over a limit.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::{Shared, call::Asked, cluster::Questions, exchange::Body, refused::json};
use crate::{
    engines::{EngineError, limits::RETRY_AFTER},
    mcp::{
        error::{self, DenialData, code},
        governed::Kind,
    },
    policy::{
        Plan,
        limits::{Limited, Spender, Taken},
    },
    resources::DenialStatus,
    telemetry::{Path, Record},
};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What a request's limits say.
pub(super) enum Spending {
    /// It has spent.
    Spent(Taken),
    /// It has spent; this limit would have refused it, were it in force for this caller.
    Tried(Taken, Arc<str>),
    /// It is over a limit, and has spent nothing.
    Refused(Limited),
    /// Whether it is over this limit is for the rate limit service to say, and that does not say it.
    Unanswered(Arc<str>, EngineError),
}

/// Spends one call from every limit that counts it, or from none: on this node first, and from what the whole cluster
/// shares only if this node has enough. With it why the rate limit service said nothing, where the call passes all the
/// same.
pub(super) async fn spend(shared: &Shared, plan: &Plan, asked: &Asked<'_>) -> (Spending, Option<EngineError>) {
    let (spending, questions) = spend_here(shared, asked);
    let Some(questions) = questions else {
        return (spending, None);
    };
    // Rare, and larger than all the rest of a request's state.
    Box::pin(questions.ask(shared, plan, asked, spending)).await
}

/// What refuses a request on this node as it stands, before anybody outside is asked about it: whoever is over a limit
/// keeps no policy engine busy. Spends nothing, as what others refuse must not.
pub(super) fn over(shared: &Shared, asked: &Asked<'_>) -> Option<Spending> {
    let tool_key = tool_key(shared, asked);
    let spender = spender(asked, tool_key.as_deref());
    let (in_force, _) = asked.server.limits(&spender);
    let limited = shared.budgets.look(&in_force, &spender).err()?;
    Some(match asked.caller.observed {
        true => Spending::Tried(Taken::nothing(&shared.budgets), limited.limit),
        false => Spending::Refused(limited),
    })
}

/// What stands for the tool where a caller must not be able to make up names.
fn tool_key(shared: &Shared, asked: &Asked<'_>) -> Option<Arc<str>> {
    let tool = tool(asked)?;
    // At the gateway only tools that a server offers come so far.
    let proven = asked.path == Path::Gateway || asked.server.names_tool(tool);
    Some(shared.telemetry.tool_key(asked.server.name(), tool, proven))
}

fn tool<'a>(asked: &Asked<'a>) -> Option<&'a str> {
    (asked.governed.kind == Kind::Tool).then_some(asked.governed.name)
}

fn spender<'a>(asked: &'a Asked<'_>, tool_key: Option<&'a str>) -> Spender<'a> {
    Spender {
        caller: asked.caller,
        server: asked.server.name(),
        method: asked.governed.method,
        tool: tool(asked),
        tool_key: tool_key.unwrap_or_default(),
    }
}

/// What this node says, and what is to be asked besides.
fn spend_here(shared: &Shared, asked: &Asked<'_>) -> (Spending, Option<Questions>) {
    let tool_key = tool_key(shared, asked);
    let spender = spender(asked, tool_key.as_deref());
    let observed = asked.caller.observed;
    let (in_force, tried) = asked.server.limits(&spender);
    let mut questions = Questions::default();
    match shared.budgets.take(&in_force, &spender) {
        Ok(mut taken) => {
            questions.add(&in_force, &taken, &spender, !observed);
            match shared.budgets.take(&tried, &spender) {
                Ok(more) => {
                    questions.add(&tried, &more, &spender, false);
                    taken.add(more);
                    (Spending::Spent(taken), questions.any())
                }
                Err(limited) => (Spending::Tried(taken, limited.limit), questions.any()),
            }
        }
        Err(limited) if observed => (Spending::Tried(Taken::nothing(&shared.budgets), limited.limit), None),
        Err(limited) => (Spending::Refused(limited), None),
    }
}

/// The answer to a request that is over a limit.
pub(super) fn refusal(limited: &Limited, asked: &Asked<'_>, record: &mut Record) -> Response<Body> {
    let seconds = whole_seconds(limited.wait);
    let message = format!("Too many requests: try again in {seconds} s");
    let mut response = answer(code::LIMITED, "limited", &message, limited.wait, asked, record);
    let rate_limit = format!("\"{}\";r=0;t={seconds}", limited.limit);
    let fields = [(RATE_LIMIT, rate_limit), (RATE_LIMIT_POLICY, limited.policy.clone())];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Who does not answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unanswered {
    /// The rate limit service.
    Limit,
    /// The policy engine.
    Policy,
}

/// The answer to a request that a service outside does not answer about.
pub(super) fn unanswered(who: Unanswered, asked: &Asked<'_>, record: &mut Record) -> Response<Body> {
    let (reason, message) = match who {
        Unanswered::Limit => (
            "rate_limit_service",
            "The rate limit service does not answer, and no call passes that it cannot count: try again later",
        ),
        Unanswered::Policy => (
            "ext_authz",
            "The policy engine does not answer, and nothing passes that it has not allowed: try again later",
        ),
    };
    answer(code::ENGINE_UNAVAILABLE, reason, message, RETRY_AFTER, asked, record)
}

fn answer(
    code: i64,
    reason: &str,
    message: &str,
    wait: Duration,
    asked: &Asked<'_>,
    record: &mut Record,
) -> Response<Body> {
    let status = match (asked.denial_status, code) {
        (DenialStatus::Ok, _) => StatusCode::OK,
        (DenialStatus::Http, code::LIMITED) => StatusCode::TOO_MANY_REQUESTS,
        (DenialStatus::Http, _) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let data = DenialData {
        decision_id: record.decision_id(),
        reason,
        retry_after_ms: u64::try_from(wait.as_millis()).ok(),
    };
    let body: Bytes = error::body(asked.id, code, message, Some(&data));
    record.status(status.as_u16());
    record.error_code(code);
    record.add_response_bytes(body.len() as u64);
    let mut response = json(status, body);
    let seconds = HeaderValue::from(whole_seconds(wait));
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

/// Who waits so long is not too early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
