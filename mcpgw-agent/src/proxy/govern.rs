//! The verdict on one request: may it go to its server?

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Method, StatusCode, request::Parts};
use serde_json::value::RawValue;

use super::{
    Shared,
    refused::Refused,
    route::{Route, route},
};
use crate::{
    identity::Caller,
    mcp::{
        Envelope,
        error::{self, DenialData, code},
        headers,
    },
    policy::{Decision, Server},
    telemetry::{CallStart, Path, Record},
};

/// What becomes of a request.
pub(super) enum Verdict<'a> {
    /// It goes to its server.
    Pass(Passed<'a>),
    /// A tool call that nothing reaches the server of.
    Deny {
        /// Its record, to be closed with the answer.
        record: Record,
        /// The JSON-RPC error.
        answer: Bytes,
    },
}

/// A request that goes to its server.
pub(super) struct Passed<'a> {
    /// The server.
    pub(super) server: Arc<Server>,
    /// The JSON-RPC id to answer to.
    pub(super) id: Option<&'a RawValue>,
    /// Open where it is a tool call.
    pub(super) record: Option<Record>,
}

/// Finds the server, reads the envelope, and decides, all by one plan: the one in force now.
pub(super) fn govern<'a>(
    shared: &Shared,
    caller: &Arc<Caller>,
    head: &Parts,
    body: &'a [u8],
    received: Instant,
) -> Result<Verdict<'a>, Refused> {
    let plan = shared.plan.load();
    let destination = caller.destination;
    let Some(server) = plan.server(destination) else {
        let message = format!("{destination} is no longer a governed MCP server");
        return Err(Refused::new(StatusCode::BAD_GATEWAY, "not_governed", message));
    };
    let pass = |id, record| {
        Verdict::Pass(Passed {
            server: Arc::clone(server),
            id,
            record,
        })
    };
    match route(&server.path, &head.method, head.uri.path()) {
        Route::Mcp if head.method == Method::POST => {}
        Route::Mcp if head.method == Method::HEAD => return Err(Refused::method("method")),
        Route::Mcp | Route::Open => return Ok(pass(None, None)),
        Route::Closed => return Err(Refused::path()),
    }
    headers::check_content(&head.headers).map_err(Refused::headers)?;
    let envelope = Envelope::parse(body).map_err(|refused| Refused::envelope(&refused))?;
    headers::check_claims(&head.headers, &envelope).map_err(|error| Refused::headers(error).to(envelope.id))?;
    let Some(tool) = envelope.tool() else {
        return Ok(pass(envelope.id, None));
    };
    let (allowed, rule) = match plan.decide(caller.workload.as_deref(), server, tool) {
        Decision::Allow { rule } => (true, rule),
        Decision::Deny { rule } => (false, Some(rule)),
    };
    let record = shared.telemetry.call(CallStart {
        caller: Arc::clone(caller),
        path: Path::Redirected,
        server: &server.name,
        tool,
        tool_is_named: server.names_tool(tool),
        request_id: envelope.id,
        received,
        request_bytes: body.len() as u64,
        allowed,
        rule,
    });
    if allowed {
        return Ok(pass(envelope.id, Some(record)));
    }
    // The same answer whether the tool exists or not: it tells a caller nothing that it may not see.
    let data = DenialData {
        decision_id: record.decision_id(),
        reason: "denied",
    };
    let answer = error::body(
        envelope.id,
        code::INVALID_PARAMS,
        &format!("Unknown tool: {tool}"),
        Some(&data),
    );
    Ok(Verdict::Deny { record, answer })
}
