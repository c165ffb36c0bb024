//! The lines of the audit log. They hold no credentials, and of arguments what settings ask for.

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry::trace::TraceId;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{
    Payload,
    definition::{DefinitionChange, DefinitionLine},
    escape,
    event_name::EventName,
    kernel::{Kernel, KernelLine},
};
use crate::{
    identity::{Caller, WorkloadIdentity},
    mcp::{governed::Kind, seal::Fingerprint},
    resources::ObjectName,
    shares::Payer,
    telemetry::{Client, DecidedBy, Outcome, Path, beyond::Names, listed::ListCount},
};

/// Longest text of a caller in an audit line, in bytes; the rest is cut off and marked by `…`.
const MAX_TEXT: usize = 512;

/// A line to write.
#[allow(clippy::large_enum_variant, reason = "events are boxed, and nearly all are calls")]
pub(super) enum Event {
    ToolCall(ToolCall),
    Refused(Refusal),
    StreamEnded(Refusal),
    Definition(DefinitionChange),
    Kernel(Kernel),
}

impl Event {
    /// Whose share of the log it takes.
    pub(super) fn payer(&self) -> Payer {
        match self {
            Self::ToolCall(call) => Payer::of(&call.caller),
            Self::Refused(refusal) | Self::StreamEnded(refusal) => match &refusal.who {
                Who::Caller(caller) => Payer::of(caller),
                Who::Workload(workload) => Payer::Workload(workload.owner()),
            },
            Self::Definition(_) | Self::Kernel(_) => Payer::Agent,
        }
    }
}

/// A decided call, or other request, and what became of it.
#[derive(Clone)]
pub(in crate::telemetry) struct ToolCall {
    pub(in crate::telemetry) time: SystemTime,
    pub(in crate::telemetry) caller: Arc<Caller>,
    pub(in crate::telemetry) path: Path,
    pub(in crate::telemetry) server: Option<ObjectName>,
    pub(in crate::telemetry) method: String,
    pub(in crate::telemetry) kind: Kind,
    pub(in crate::telemetry) name: String,
    pub(in crate::telemetry) called_as: String,
    pub(in crate::telemetry) request_id: Option<Box<RawValue>>,
    pub(in crate::telemetry) decision: &'static str,
    pub(in crate::telemetry) rule: Option<Arc<str>>,
    pub(in crate::telemetry) reason: Option<&'static str>,
    pub(in crate::telemetry) engine: Option<Box<DecidedBy>>,
    pub(in crate::telemetry) decision_id: String,
    pub(in crate::telemetry) outcome: Outcome,
    pub(in crate::telemetry) is_error: Option<bool>,
    pub(in crate::telemetry) status: Option<u16>,
    pub(in crate::telemetry) duration: Duration,
    pub(in crate::telemetry) overhead: Duration,
    pub(in crate::telemetry) request_bytes: u64,
    pub(in crate::telemetry) response_bytes: u64,
    /// Of a call that is traced.
    pub(in crate::telemetry) trace_id: Option<TraceId>,
    /// What stands for its arguments.
    pub(in crate::telemetry) arguments_hash: Option<Fingerprint>,
    /// Its arguments, where settings ask for them.
    pub(in crate::telemetry) payload: Option<Payload>,
    /// What its client says of itself, where a conversation begins with it.
    pub(in crate::telemetry) client: Option<Box<Client>>,
    /// Of a list: what of it was shown.
    pub(in crate::telemetry) listed: Option<ListCount>,
    /// What it is about that has no line of its own.
    pub(in crate::telemetry) beyond: Option<Names>,
}

/// A request or connection that was refused before any decision about a tool.
pub struct Refusal {
    /// When.
    pub time: SystemTime,
    /// The word for it: the label in metrics too.
    pub reason: &'static str,
    /// The HTTP status that it got; `None` if the connection was closed.
    pub status: Option<u16>,
    /// How it came here.
    pub path: Path,
    /// Whose it was.
    pub who: Who,
}

/// As much as is known about a caller.
pub enum Who {
    /// A caller, with its process and destination.
    Caller(Arc<Caller>),
    /// Only the workload whose listener it came to.
    Workload(Arc<WorkloadIdentity>),
}

/// Cuts a text of a caller to [`MAX_TEXT`].
pub(in crate::telemetry) fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_TEXT {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…", &text[..text.floor_char_boundary(MAX_TEXT)]))
}

/// The id as it was written; one that is too long becomes the cut text of itself.
pub(in crate::telemetry) fn bounded_id(id: &RawValue) -> Option<Box<RawValue>> {
    match bounded(id.get()) {
        Cow::Borrowed(_) => Some(id.to_owned()),
        Cow::Owned(cut) => serde_json::value::to_raw_value(&cut).ok(),
    }
}

/// Writes one line, with its line end.
pub(super) fn encode(node: &str, event: &Event, line: &mut Vec<u8>) -> serde_json::Result<()> {
    match event {
        Event::ToolCall(call) => escape::to_writer(line, &ToolCallLine::new(node, call))?,
        Event::Refused(refusal) => escape::to_writer(line, &RefusedLine::new(node, refusal))?,
        Event::StreamEnded(ended) => escape::to_writer(line, &RefusedLine::of_stream(node, ended))?,
        Event::Kernel(kernel) => escape::to_writer(line, &KernelLine::new(node, kernel))?,
        Event::Definition(change) => escape::to_writer(line, &DefinitionLine::new(node, change))?,
    }
    line.push(b'\n');
    Ok(())
}

/// Writes the line that stands for so many others, which are lost.
pub(super) fn encode_lost(node: &str, lines: u64, line: &mut Vec<u8>) -> serde_json::Result<()> {
    let lost = LostLine {
        time: SystemTime::now(),
        event: EventName::LinesLost,
        node,
        lines,
    };
    escape::to_writer(line, &lost)?;
    line.push(b'\n');
    Ok(())
}

#[derive(Serialize)]
struct LostLine<'a> {
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
    event: EventName,
    node: &'a str,
    /// Since this was last said.
    lines: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolCallLine<'a> {
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
    event: EventName,
    node: &'a str,
    path: &'static str,
    decision: &'static str,
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The service outside that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<&'a str>,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_error: Option<&'a str>,
    decision_id: &'a str,
    outcome: Outcome,
    status: Option<u16>,
    identity: Identity<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    #[serde(rename = "called_as", skip_serializing_if = "Option::is_none")]
    called_as: Option<&'a str>,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a Client>,
    request_id: Option<&'a RawValue>,
    is_error: Option<bool>,
    /// Elements of a list that its caller was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    shown: Option<usize>,
    /// … and those that rules or pins hide from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden: Option<usize>,
    /// What was granted that has no line of its own.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    granted: &'a [Box<str>],
    /// … and what was refused.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    refused: &'a [Box<str>],
    duration_ms: f64,
    overhead_us: u64,
    request_bytes: u64,
    response_bytes: u64,
    destination: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    /// Of the arguments as they were written: equal where these are, as long as the key is.
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a RawValue>,
    /// Why they are not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments_omitted: Option<&'static str>,
}

impl<'a> ToolCallLine<'a> {
    fn new(node: &'a str, call: &'a ToolCall) -> Self {
        let name = |kind| (call.kind == kind).then_some(&*call.name);
        let (arguments, arguments_omitted) = match &call.payload {
            Some(Payload::Written(arguments)) => (Some(&**arguments), None),
            Some(Payload::Omitted(why)) => (None, Some(why.name())),
            None => (None, None),
        };
        Self {
            time: call.time,
            event: match call.kind {
                Kind::Tool => EventName::ToolCall,
                _ => EventName::McpRequest,
            },
            node,
            path: call.path.name(),
            decision: call.decision,
            rule: call.rule.as_deref(),
            reason: call.reason,
            engine: call.engine.as_ref().map(|decided| decided.engine),
            engine_error: call.engine.as_ref().and_then(|decided| decided.error.as_deref()),
            decision_id: &call.decision_id,
            outcome: call.outcome,
            status: call.status,
            identity: Identity::of(&call.caller),
            server: call.server.as_ref().map(ToString::to_string),
            tool: name(Kind::Tool),
            prompt: name(Kind::Prompt),
            resource: name(Kind::Resource),
            task: name(Kind::Task),
            called_as: (call.called_as != call.name).then_some(&call.called_as),
            method: &call.method,
            client: call.client.as_deref(),
            request_id: call.request_id.as_deref(),
            is_error: call.is_error,
            shown: call.listed.map(|listed| listed.shown),
            hidden: call.listed.map(|listed| listed.hidden),
            granted: call.beyond.as_ref().map_or(&[], |beyond| &*beyond.granted),
            refused: call.beyond.as_ref().map_or(&[], |beyond| &*beyond.refused),
            duration_ms: call.duration.as_micros() as f64 / 1000.0,
            overhead_us: call.overhead.as_micros() as u64,
            request_bytes: call.request_bytes,
            response_bytes: call.response_bytes,
            destination: call.caller.destination,
            trace_id: call.trace_id.map(|id| id.to_string()),
            arguments_hash: call.arguments_hash.map(|hash| hash.to_string()),
            arguments,
            arguments_omitted,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusedLine<'a> {
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
    event: EventName,
    node: &'a str,
    path: &'static str,
    reason: &'static str,
    status: Option<u16>,
    identity: Identity<'a>,
    destination: Option<SocketAddr>,
}

impl<'a> RefusedLine<'a> {
    fn new(node: &'a str, refusal: &'a Refusal) -> Self {
        let (identity, destination) = match &refusal.who {
            Who::Caller(caller) => (Identity::of(caller), Some(caller.destination)),
            Who::Workload(workload) => (Identity::of_workload(workload), None),
        };
        Self {
            time: refusal.time,
            event: match &refusal.who {
                Who::Caller(caller) if caller.observed => EventName::WouldDeny,
                _ => EventName::Refused,
            },
            node,
            path: refusal.path.name(),
            reason: refusal.reason,
            status: refusal.status,
            identity,
            destination,
        }
    }

    /// Of a stream that was open.
    fn of_stream(node: &'a str, refusal: &'a Refusal) -> Self {
        Self {
            event: EventName::StreamEnded,
            ..Self::new(node, refusal)
        }
    }
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity<'a> {
    namespace: Option<&'a str>,
    service_account: Option<&'a str>,
    workload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Cow<'a, str>>,
    pid: Option<u32>,
    executable: Option<Cow<'a, str>>,
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    /// Whom the token is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, str>>,
}

impl<'a> Identity<'a> {
    fn of(caller: &'a Caller) -> Self {
        let of_workload = caller.workload.as_deref().map(Self::of_workload);
        let known = of_workload.unwrap_or_else(|| Self::of_account(caller));
        let known = Self {
            issuer: caller.token.as_deref().map(|token| &*token.issuer),
            subject: caller.token.as_deref().map(|token| bounded(&token.subject)),
            ..known
        };
        let Some(process) = &caller.process else {
            return known;
        };
        let text = |path: &std::path::PathBuf| Cow::Owned(bounded(&path.to_string_lossy()).into_owned());
        Self {
            container: process.container.as_deref().map(bounded),
            pid: Some(process.pid),
            executable: process.executable.as_ref().map(text),
            command: Some(&process.command),
            ..known
        }
    }

    /// What a token says of the ServiceAccount of a caller whom the kernel does not know.
    fn of_account(caller: &'a Caller) -> Self {
        let account = caller.token.as_deref().and_then(|token| token.service_account.as_ref());
        Self {
            namespace: account.map(|account| &*account.name.namespace),
            service_account: account.map(|account| &*account.name.name),
            ..Self::default()
        }
    }

    pub(super) fn of_workload(workload: &'a WorkloadIdentity) -> Self {
        Self {
            namespace: Some(&workload.workload.namespace),
            service_account: Some(&workload.service_account),
            workload: Some(&workload.workload.name),
            ..Self::default()
        }
    }
}

/// UTC with milliseconds, every field zero-padded.
pub(super) fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}
