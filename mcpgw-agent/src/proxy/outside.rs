//! A call about which somebody outside is asked: a policy engine, about what the rules allow. If its client leaves
//! meanwhile, that is recorded too.

use std::sync::Arc;

use super::{Shared, call::Asked};
use crate::{
    engines::{Check, EngineError},
    mcp::governed::Kind,
    policy::Because,
    resources::{ExtAuthz, OnFailure},
    shares::Payer,
    telemetry::{CallStart, Verdict},
};

/// What a policy engine says.
pub(super) enum Outside {
    /// The request may go on.
    Allows,
    /// Nothing, for this reason, and the request may go on: that is what the settings want then.
    Unheard(EngineError),
    /// It may not.
    Denies(Because),
    /// Nothing.
    Silent(EngineError),
}

/// Asks a policy engine about a request that the rules allow.
pub(super) async fn allows(shared: &Shared, wanted: &Arc<ExtAuthz>, call: &Asked<'_>) -> Outside {
    let silent = |error: EngineError| match wanted.engine.on_failure {
        OnFailure::Open if !error.may_be_the_callers_doing() => Outside::Unheard(error),
        OnFailure::Open | OnFailure::Closed => Outside::Silent(error),
    };
    let engine = match shared.engines.policy(wanted) {
        Ok(engine) => engine,
        Err(error) => return silent(error),
    };
    let check = Check {
        caller: call.caller,
        path: call.path.name(),
        server: call.server.name(),
        governed: call.governed,
        arguments: call.arguments.filter(|_| wanted.include_arguments),
        id: call.id,
        http_path: call.http_path,
        version: call.carried.version,
        headers: call.carried.headers,
    };
    let message = match check.message() {
        Ok(message) => message,
        Err(untold) => {
            tracing::debug!(%untold, "a policy engine cannot be told what a call is about");
            return Outside::Denies(Because::Arguments);
        }
    };
    let undecided = Undecided::new(shared, call);
    let allowed = engine.allows(Payer::of(call.caller), message).await;
    undecided.decided();
    match allowed {
        Ok(true) => Outside::Allows,
        Ok(false) => Outside::Denies(Because::Hidden),
        Err(error) => silent(error),
    }
}

/// The word for a client that did not wait for the decision.
const LEFT: &str = "client_left";

/// A call that is not decided yet. Nothing has reached the server.
#[must_use = "dropping it records that the client has left"]
pub(super) struct Undecided<'a> {
    waiting: Option<(&'a Shared, &'a Asked<'a>)>,
}

impl<'a> Undecided<'a> {
    pub(super) fn new(shared: &'a Shared, call: &'a Asked<'a>) -> Self {
        Self {
            waiting: Some((shared, call)),
        }
    }

    /// There is an answer: what comes of the call is recorded elsewhere.
    pub(super) fn decided(mut self) {
        self.waiting = None;
    }
}

impl Drop for Undecided<'_> {
    fn drop(&mut self) {
        let Some((shared, call)) = self.waiting.take() else {
            return;
        };
        drop(shared.telemetry.call(CallStart {
            server: Some(call.server.name()),
            kind: call.governed.kind,
            name: call.governed.name,
            called_as: call.called_as,
            tool_is_named: call.governed.kind == Kind::Tool && call.server.names_tool(call.governed.name),
            request_id: call.id,
            read: call.read,
            request_bytes: call.request_bytes as u64,
            verdict: Verdict::Undecided,
            reason: Some(LEFT),
            ..CallStart::new(
                Arc::clone(call.caller),
                call.path,
                call.governed.method,
                call.received,
                call.carried,
                call.keeping,
            )
        }));
    }
}
