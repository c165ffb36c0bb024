//! The record of one call, or of another request that was decided.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::Version;
use opentelemetry::trace::TraceId;
use serde_json::value::RawValue;

use super::{
    Client, DecidedBy, OTHER, Outcome, Path, Telemetry, Verdict,
    audit::{Keeping, Payload, ToolCall, bounded, bounded_id},
    beyond::Beyond,
    listed::Listed,
    traces::{CallSpans, Carried, Ended, Opened, Propagated},
};
use crate::{
    identity::Caller,
    mcp::{governed::Kind, seal::Fingerprint},
    policy::limits::Taken,
    resources::ObjectName,
};

/// What is known of a call when it has been decided.
pub struct CallStart<'a> {
    /// Who calls.
    pub caller: Arc<Caller>,
    /// How the call came here.
    pub path: Path,
    /// The server that is called; `None` where it is about several, or none is known to have what it is about.
    pub server: Option<&'a ObjectName>,
    /// The catalog that it came through.
    pub catalog: Option<&'a str>,
    /// The JSON-RPC method.
    pub method: &'a str,
    /// What it is about.
    pub kind: Kind,
    /// The name of that, as the server has it: of the tool, the prompt; the URI of the resource.
    pub name: &'a str,
    /// The same, as the client named it.
    pub called_as: &'a str,
    /// Whether a policy names the tool outright.
    pub tool_is_named: bool,
    /// The request's JSON-RPC id.
    pub request_id: Option<&'a RawValue>,
    /// When its HTTP headers were complete.
    pub received: Instant,
    /// When its body was complete.
    pub read: Instant,
    /// Size of its body.
    pub request_bytes: u64,
    /// What was decided.
    pub verdict: Verdict,
    /// The rule or limit that decided.
    pub rule: Option<Arc<str>>,
    /// The word for why it goes nowhere, where neither rule nor limit says.
    pub reason: Option<&'static str>,
    /// The service outside that decided, if it was one.
    pub engine: Option<DecidedBy>,
    /// What it spent of the limits that count it.
    pub spent: Option<Taken>,
    /// What came with it, and may say which trace it is part of.
    pub carried: Carried<'a>,
    /// What stands for its arguments; `None` where it has none.
    pub arguments_hash: Option<Fingerprint>,
    /// Its arguments, where settings ask for them.
    pub payload: Option<Payload>,
    /// What its client says of itself, where a conversation begins with it.
    pub client: Option<Box<Client>>,
    /// How its line is kept.
    pub keeping: Keeping,
}

impl<'a> CallStart<'a> {
    /// A request without a server, that is about nothing in particular and may go on: to be completed.
    pub fn new(
        caller: Arc<Caller>,
        path: Path,
        method: &'a str,
        received: Instant,
        carried: Carried<'a>,
        keeping: Keeping,
    ) -> Self {
        Self {
            caller,
            path,
            server: None,
            catalog: None,
            method,
            kind: Kind::Other,
            name: "",
            called_as: "",
            tool_is_named: false,
            request_id: None,
            received,
            read: received,
            request_bytes: 0,
            verdict: Verdict::Allow,
            rule: None,
            reason: None,
            engine: None,
            spent: None,
            carried,
            arguments_hash: None,
            payload: None,
            client: None,
            keeping,
        }
    }
}

/// The record of one call: open from the decision to the end of the answer, written once when it is dropped.
/// Whoever drops it without a word on the outcome records [`Outcome::Cancelled`].
#[must_use = "a record is written when it is dropped"]
pub struct Record {
    telemetry: Arc<Telemetry>,
    caller: Arc<Caller>,
    path: Path,
    server: Option<ObjectName>,
    catalog: Option<Box<str>>,
    method: String,
    kind: Kind,
    name: String,
    called_as: String,
    tool_is_named: bool,
    request_id: Option<Box<RawValue>>,
    time: SystemTime,
    received: Instant,
    request_bytes: u64,
    response_bytes: u64,
    verdict: Verdict,
    rule: Option<Arc<str>>,
    reason: Option<&'static str>,
    engine: Option<Box<DecidedBy>>,
    /// Its places among the calls in flight.
    _spent: Option<Taken>,
    decision_id: String,
    overhead: Duration,
    /// Since when the gateway itself has had the call, again.
    own_since: Option<Instant>,
    status: Option<u16>,
    outcome: Outcome,
    is_error: Option<bool>,
    /// The code of the JSON-RPC error that the client gets.
    error_code: Option<i64>,
    arguments_hash: Option<Fingerprint>,
    /// Its arguments, where settings ask for them.
    payload: Option<Payload>,
    client: Option<Box<Client>>,
    keeping: Keeping,
    /// What it is about that has no line of its own.
    beyond: Option<Box<Beyond>>,
    /// What became of the list that was asked for.
    listed: Option<Arc<Listed>>,
    /// The trace that its caller says it is part of, where we trace it not.
    callers_trace: Option<TraceId>,
    /// Whether the audit log has it.
    on_record: bool,
    /// Where it is traced.
    spans: Option<Box<CallSpans>>,
}

/// A finished call, as the metrics see it.
pub(super) struct Finished<'a> {
    pub(super) caller: &'a Caller,
    pub(super) path: Path,
    pub(super) server: Option<&'a ObjectName>,
    pub(super) method: &'a str,
    /// `None` where no tool was called.
    pub(super) tool_label: Option<Arc<str>>,
    pub(super) status: Option<u16>,
    pub(super) outcome: Outcome,
    pub(super) duration: Duration,
    pub(super) overhead: Duration,
}

impl Record {
    pub(super) fn open(telemetry: Arc<Telemetry>, start: CallStart<'_>) -> Self {
        let CallStart {
            caller,
            path,
            server,
            catalog,
            method,
            kind,
            name,
            called_as,
            tool_is_named,
            request_id,
            received,
            read,
            request_bytes,
            verdict,
            rule,
            reason,
            engine,
            spent,
            carried,
            arguments_hash,
            payload,
            client,
            keeping,
        } = start;
        telemetry.metrics.decision(verdict.name(), rule.clone());
        if let Some(reason) = reason {
            telemetry.metrics.refused(reason);
        }
        let (method, name) = (bounded(method), bounded(name));
        let request_id = request_id.and_then(bounded_id);
        let decision_id = telemetry.decisions.next();
        let spans = telemetry.traces.as_ref().and_then(|traces| {
            traces.open(Opened {
                carried,
                caller: &caller,
                path,
                server,
                method: &method,
                kind,
                name: &name,
                request_id: request_id.as_deref(),
                received,
                decision: verdict.name(),
                rule: rule.as_deref(),
                decision_id: &decision_id,
            })
        });
        let callers_trace = match spans {
            Some(_) => None,
            None => carried.trace_id(),
        };
        Self {
            path,
            server: server.cloned(),
            catalog: catalog.map(|catalog| bounded(catalog).into()),
            method: method.into_owned(),
            kind,
            name: name.into_owned(),
            called_as: bounded(called_as).into_owned(),
            tool_is_named,
            request_id,
            time: SystemTime::now(),
            received,
            request_bytes,
            response_bytes: 0,
            verdict,
            rule,
            reason,
            engine: engine.map(Box::new),
            _spent: spent,
            decision_id,
            overhead: Duration::ZERO,
            own_since: Some(read),
            status: None,
            outcome: match verdict {
                Verdict::Deny => Outcome::Denied,
                Verdict::Limit => Outcome::Limited,
                Verdict::Allow | Verdict::WouldDeny | Verdict::Undecided => Outcome::Cancelled,
            },
            is_error: None,
            error_code: None,
            arguments_hash,
            payload,
            client,
            keeping,
            listed: None,
            beyond: None,
            on_record: true,
            callers_trace,
            spans,
            caller,
            telemetry,
        }
    }

    /// Finds the decision in the audit log.
    pub fn decision_id(&self) -> &str {
        &self.decision_id
    }

    /// Notes the HTTP status that the client gets.
    pub fn status(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// What the server is to be told of the trace, at once before the request leaves; `None` where it goes as it
    /// came.
    pub fn propagated(&mut self) -> Option<Propagated> {
        self.spans.as_mut()?.propagated()
    }

    /// Notes which address the request goes to.
    pub fn sent_to(&mut self, upstream: SocketAddr) {
        if let Some(spans) = &mut self.spans {
            spans.sent_to(upstream);
        }
    }

    /// Notes the code of the JSON-RPC error that the client gets.
    pub fn error_code(&mut self, code: i64) {
        self.error_code = Some(code);
    }

    /// The request leaves for the server: from here on the time is the server's.
    pub fn leaving(&mut self) {
        if let Some(spans) = &mut self.spans {
            spans.leave();
        }
        if let Some(since) = self.own_since.take() {
            self.overhead += since.elapsed();
        }
    }

    /// The server has begun to answer, in this version of HTTP: the time is the gateway's own again, until the head of
    /// its answer is made.
    pub fn answered(&mut self, version: Version) {
        if let Some(spans) = &mut self.spans {
            spans.answered_in(version);
        }
        self.own_since = Some(Instant::now());
    }

    /// It asks for a list, whose elements are counted there.
    pub fn lists(&mut self) -> Arc<Listed> {
        Arc::clone(self.listed.get_or_insert_default())
    }

    /// Names what it is about that has no line of its own.
    pub fn beyond(&mut self, beyond: Beyond) {
        self.beyond = Some(Box::new(beyond));
    }

    /// Leaves it out of the audit log, where a line says how many of its kind there were. Metrics count it.
    pub fn off_record(&mut self) {
        self.on_record = false;
    }

    /// Adds to the size of what was asked, where that is not known when it is decided.
    pub fn add_request_bytes(&mut self, bytes: u64) {
        self.request_bytes += bytes;
    }

    /// Adds to the size of the answer's body.
    pub fn add_response_bytes(&mut self, bytes: u64) {
        self.response_bytes += bytes;
    }

    /// Notes what became of the call; `is_error` as the tool's result says, where there is one.
    pub fn outcome(&mut self, outcome: Outcome, is_error: Option<bool>) {
        self.outcome = outcome;
        self.is_error = is_error;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = self.received.elapsed();
        let proven = self.tool_is_named || self.is_error == Some(false);
        let label = || match &self.server {
            Some(server) => self.telemetry.labels.label(server, &self.name, proven),
            None => OTHER.into(),
        };
        let tool_label = (self.kind == Kind::Tool).then(label);
        let trace_id = self.spans.as_ref().map(|spans| spans.trace_id()).or(self.callers_trace);
        if let Some(spans) = self.spans.take() {
            spans.end(&Ended {
                tool_label: tool_label.as_deref(),
                outcome: self.outcome,
                code: self.error_code,
            });
        }
        self.telemetry.metrics.call(&Finished {
            caller: &self.caller,
            path: self.path,
            server: self.server.as_ref(),
            method: &self.method,
            tool_label,
            status: self.status,
            outcome: self.outcome,
            duration,
            overhead: self.overhead,
        });
        if !self.on_record {
            return;
        }
        let call = ToolCall {
            time: self.time,
            caller: Arc::clone(&self.caller),
            path: self.path,
            server: self.server.take(),
            catalog: self.catalog.take(),
            method: std::mem::take(&mut self.method),
            kind: self.kind,
            name: std::mem::take(&mut self.name),
            called_as: std::mem::take(&mut self.called_as),
            request_id: self.request_id.take(),
            decision: self.verdict.name(),
            rule: self.rule.take(),
            reason: self.reason,
            engine: self.engine.take(),
            decision_id: std::mem::take(&mut self.decision_id),
            outcome: self.outcome,
            is_error: self.is_error,
            status: self.status,
            duration,
            overhead: self.overhead,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            trace_id,
            arguments_hash: self.arguments_hash,
            payload: self.payload.take(),
            client: self.client.take(),
            listed: self.listed.as_ref().and_then(|listed| listed.count()),
            beyond: None,
        };
        let Some(beyond) = self.beyond.take() else {
            return self.telemetry.audit.tool_call(call, self.keeping);
        };
        // The first line counts, and all of them name.
        let mut listed = call.listed;
        for names in beyond.into_lines() {
            let line = ToolCall {
                listed: listed.take(),
                beyond: Some(names),
                ..call.clone()
            };
            self.telemetry.audit.tool_call(line, self.keeping);
        }
    }
}
