//! Spends what a request costs, and answers one that is over a limit.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::value::RawValue;

use super::{Shared, call::Asked, exchange::Body, refused::json};
use crate::{
    mcp::{
        error::{self, DenialData, code},
        governed::Kind,
    },
    policy::limits::{Limited, Spender, Taken},
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
}

/// Spends one call from every limit that counts it, or from none.
pub(super) fn spend(shared: &Shared, asked: &Asked<'_>) -> Spending {
    let governed = asked.governed;
    let tool = (governed.kind == Kind::Tool).then_some(governed.name);
    // At the gateway only tools that a server offers come so far.
    let proven = asked.path == Path::Gateway || tool.is_some_and(|tool| asked.server.names_tool(tool));
    let tool_key = tool.map(|tool| shared.telemetry.tool_key(asked.server.name(), tool, proven));
    let spender = Spender {
        caller: asked.caller,
        server: asked.server.name(),
        method: governed.method,
        tool,
        tool_key: tool_key.as_deref().unwrap_or_default(),
    };
    let (in_force, tried) = asked.server.limits(&spender);
    match shared.budgets.take(&in_force, &spender) {
        Ok(mut taken) => match shared.budgets.take(&tried, &spender) {
            Ok(more) => {
                taken.add(more);
                Spending::Spent(taken)
            }
            Err(limited) => Spending::Tried(taken, limited.limit),
        },
        Err(limited) if asked.caller.observed => Spending::Tried(Taken::nothing(&shared.budgets), limited.limit),
        Err(limited) => Spending::Refused(limited),
    }
}

/// The answer to a request that is over a limit.
pub(super) fn refusal(limited: &Limited, id: Option<&RawValue>, record: &mut Record) -> Response<Body> {
    let seconds = whole_seconds(limited.wait);
    let data = DenialData {
        decision_id: record.decision_id(),
        reason: "limited",
        retry_after_ms: u64::try_from(limited.wait.as_millis()).ok(),
    };
    let message = format!("Too many requests: try again in {seconds} s");
    let body: Bytes = error::body(id, code::LIMITED, &message, Some(&data));
    record.status(StatusCode::OK.as_u16());
    record.error_code(code::LIMITED);
    record.add_response_bytes(body.len() as u64);
    let mut response = json(StatusCode::OK, body);
    let rate_limit = format!("\"{}\";r=0;t={seconds}", limited.limit);
    let fields = [
        (header::RETRY_AFTER, seconds.to_string()),
        (RATE_LIMIT, rate_limit),
        (RATE_LIMIT_POLICY, limited.policy.clone()),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Who waits so long is not too early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
