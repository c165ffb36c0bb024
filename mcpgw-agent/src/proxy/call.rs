//! The decision about one tool call, and its record: the same on both paths.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use super::{exchange::Body, refused::json};
use crate::{
    identity::Caller,
    mcp::error::{self, DenialData, code},
    policy::{Decision, Plan, Server},
    telemetry::{CallStart, Path, Record, Telemetry, Verdict},
};

/// The rule that is named where a catalog leaves a tool out.
const LEFT_OUT: &str = "catalog";

/// A tool call that is to be decided.
pub(super) struct ToolCall<'a> {
    pub(super) caller: &'a Arc<Caller>,
    pub(super) path: Path,
    pub(super) server: &'a Server,
    /// The server's own name for it.
    pub(super) tool: &'a str,
    /// What the client called it.
    pub(super) called_as: &'a str,
    pub(super) id: Option<&'a RawValue>,
    /// When the request's head was complete.
    pub(super) received: Instant,
    /// When its body was.
    pub(super) read: Instant,
    pub(super) request_bytes: usize,
    /// A catalog hides it, whatever the rules say.
    pub(super) left_out: bool,
}

/// What a tool call gets.
pub(super) enum Decided {
    /// It goes to the server.
    Allowed(Record),
    /// The client is told that there is no such tool.
    Denied(Response<Body>),
}

/// Decides a tool call, opens its record, and answers it where it is denied.
pub(super) fn decide(telemetry: &Arc<Telemetry>, plan: &Plan, call: &ToolCall<'_>) -> Decided {
    let decision = match call.left_out {
        true => Decision::Deny { rule: LEFT_OUT.into() },
        false => plan.decide(call.caller.identity().as_deref(), call.server, call.tool),
    };
    let (verdict, rule) = match decision {
        Decision::Allow { rule } => (Verdict::Allow, rule),
        Decision::Deny { rule } if call.caller.observed => (Verdict::WouldDeny, Some(rule)),
        Decision::Deny { rule } => (Verdict::Deny, Some(rule)),
    };
    let mut record = telemetry.call(CallStart {
        caller: Arc::clone(call.caller),
        path: call.path,
        server: call.server.name(),
        tool: call.tool,
        called_as: call.called_as,
        tool_is_named: call.server.names_tool(call.tool),
        request_id: call.id,
        received: call.received,
        read: call.read,
        request_bytes: call.request_bytes as u64,
        verdict,
        rule,
    });
    if verdict != Verdict::Deny {
        return Decided::Allowed(record);
    }
    // The same answer whether the tool exists or not: it tells a caller nothing that it may not see.
    let data = DenialData {
        decision_id: record.decision_id(),
        reason: "denied",
        retry_after_ms: None,
    };
    let message = format!("Unknown tool: {}", call.called_as);
    let answer: Bytes = error::body(call.id, code::INVALID_PARAMS, &message, Some(&data));
    record.status(StatusCode::OK.as_u16());
    record.add_response_bytes(answer.len() as u64);
    Decided::Denied(json(StatusCode::OK, answer))
}
