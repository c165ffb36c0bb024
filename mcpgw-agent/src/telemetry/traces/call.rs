//! The spans of one request: SERVER from its head to the end of its answer, CLIENT for its time at the server. They
//! hold neither arguments nor results.

use std::{
    borrow::Cow,
    net::SocketAddr,
    time::{Instant, SystemTime},
};

use aws_lc_rs::digest::{SHA256, digest};
use http::Version;
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanKind, Status, TraceContextExt, TraceId, Tracer},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use serde_json::value::RawValue;

use super::context::{Carried, Propagated};
use crate::{
    identity::Caller,
    mcp::{
        governed::{Kind, recorded},
        headers::{MCP_PROTOCOL_VERSION, MCP_SESSION_ID},
        params::MetaKey,
        version::Revision,
    },
    resources::ObjectName,
    telemetry::{OTHER, Outcome, Path},
};

/// Bytes of a session's digest that tell it apart.
const SESSION_DIGEST: usize = 8;

/// What is known of a request when it has been decided.
pub(in crate::telemetry) struct Opened<'a> {
    pub(in crate::telemetry) carried: Carried<'a>,
    pub(in crate::telemetry) caller: &'a Caller,
    pub(in crate::telemetry) path: Path,
    /// `None` where it is about several, or none is known to have what it is about.
    pub(in crate::telemetry) server: Option<&'a ObjectName>,
    pub(in crate::telemetry) method: &'a str,
    pub(in crate::telemetry) kind: Kind,
    /// The name of what it is about, cut to what is recorded of it.
    pub(in crate::telemetry) name: &'a str,
    pub(in crate::telemetry) request_id: Option<&'a RawValue>,
    pub(in crate::telemetry) received: Instant,
    pub(in crate::telemetry) decision: &'static str,
    pub(in crate::telemetry) rule: Option<&'a str>,
    pub(in crate::telemetry) decision_id: &'a str,
}

/// What is known of it in the end.
pub(in crate::telemetry) struct Ended<'a> {
    /// What stands for the tool in names; `None` where no tool was called.
    pub(in crate::telemetry) tool_label: Option<&'a str>,
    pub(in crate::telemetry) outcome: Outcome,
    /// The code of the JSON-RPC error, where the answer is one.
    pub(in crate::telemetry) code: Option<i64>,
}

/// The spans of one request that is traced.
pub(in crate::telemetry) struct CallSpans {
    tracer: SdkTracer,
    server: Span,
    client: Option<Span>,
    /// Where the request went.
    upstream: Option<SocketAddr>,
    baggage: Option<String>,
    /// What the spans have in common.
    common: Vec<KeyValue>,
    /// The method, among those that are known.
    method: &'static str,
    /// The caller is only observed: nothing that it sends changes.
    observed: bool,
}

impl CallSpans {
    pub(super) fn open(tracer: &SdkTracer, opened: Opened<'_>) -> Option<Self> {
        let Opened { carried, caller, .. } = opened;
        let parent = carried.parent();
        let parent = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        // A method that is nobody's is the caller's word, and no name.
        let method = recorded(opened.method).unwrap_or(OTHER);
        let builder = tracer
            .span_builder(method)
            .with_kind(SpanKind::Server)
            .with_start_time(SystemTime::now() - opened.received.elapsed());
        let mut server = tracer.build_with_context(builder, &parent);
        if !server.is_recording() {
            return None;
        }
        let common = common(&opened);
        server.set_attributes(common.iter().cloned());
        server.set_attributes(of_server(&opened));
        Some(Self {
            tracer: tracer.clone(),
            server,
            client: None,
            upstream: None,
            baggage: (!caller.observed).then(|| carried.baggage()).flatten(),
            common,
            method,
            observed: caller.observed,
        })
    }

    /// The trace that it is part of.
    pub(in crate::telemetry) fn trace_id(&self) -> TraceId {
        self.server.span_context().trace_id()
    }

    /// The request is about to go to the server.
    pub(in crate::telemetry) fn leave(&mut self) -> &mut Span {
        self.client.get_or_insert_with(|| {
            let parent = Context::new().with_remote_span_context(self.server.span_context().clone());
            let builder = self.tracer.span_builder(self.method).with_kind(SpanKind::Client);
            let mut span = self.tracer.build_with_context(builder, &parent);
            span.set_attributes(self.common.drain(..));
            span
        })
    }

    /// Notes in which version of HTTP the server answers.
    pub(in crate::telemetry) fn answered_in(&mut self, version: Version) {
        if let Some(client) = &mut self.client {
            client.set_attribute(protocol_version(version));
        }
    }

    /// Notes where it goes.
    pub(in crate::telemetry) fn sent_to(&mut self, upstream: SocketAddr) {
        self.upstream = Some(upstream);
    }

    /// What the server is to be told; `None` where the request must stay as it is.
    pub(in crate::telemetry) fn propagated(&mut self) -> Option<Propagated> {
        let observed = self.observed;
        let baggage = self.baggage.clone();
        let span = self.leave();
        (!observed).then(|| Propagated::new(span.span_context(), baggage))
    }

    /// The answer has ended.
    pub(in crate::telemetry) fn end(mut self, ended: &Ended<'_>) {
        let name: Cow<'static, str> = match ended.tool_label {
            Some(tool) if tool != OTHER => format!("{} {tool}", self.method).into(),
            _ => self.method.into(),
        };
        if let (Some(client), Some(upstream)) = (&mut self.client, self.upstream) {
            client.set_attributes(address("server", upstream));
        }
        let now = SystemTime::now();
        for span in [self.client.as_mut(), Some(&mut self.server)].into_iter().flatten() {
            span.update_name(name.clone());
            if ended.outcome != Outcome::Ok {
                span.set_attribute(KeyValue::new("error.type", ended.outcome.name()));
                span.set_status(Status::error(""));
            }
            if let Some(code) = ended.code {
                span.set_attribute(KeyValue::new("rpc.response.status_code", code.to_string()));
            }
            span.end_with_timestamp(now);
        }
    }
}

/// What both spans say.
fn common(opened: &Opened<'_>) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("mcp.method.name", opened.method.to_owned()),
        KeyValue::new("network.transport", "tcp"),
        KeyValue::new("network.protocol.name", "http"),
    ];
    if let Some(server) = opened.server {
        attributes.push(KeyValue::new("mcpgw.server", server.to_string()));
    }
    let name = || opened.name.to_owned();
    match opened.kind {
        Kind::Tool => {
            attributes.push(KeyValue::new("gen_ai.tool.name", name()));
            if opened.method == crate::mcp::envelope::TOOLS_CALL {
                attributes.push(KeyValue::new("gen_ai.operation.name", "execute_tool"));
            }
        }
        Kind::Prompt => attributes.push(KeyValue::new("gen_ai.prompt.name", name())),
        Kind::Resource => attributes.push(KeyValue::new("mcp.resource.uri", name())),
        Kind::Task | Kind::Other => {}
    }
    let Carried { headers, meta, .. } = opened.carried;
    let of_headers = || headers.get(MCP_PROTOCOL_VERSION)?.to_str().ok().map(Cow::Borrowed);
    let version = meta.get(MetaKey::ProtocolVersion).and_then(|version| version.text());
    // One that is none is the caller's word.
    let version = version
        .or_else(of_headers)
        .and_then(|version| version.parse::<Revision>().ok());
    if let Some(version) = version {
        attributes.push(KeyValue::new("mcp.protocol.version", version.as_str()));
    }
    if let Some(id) = opened.request_id {
        attributes.push(KeyValue::new(
            "jsonrpc.request.id",
            id.get().trim_matches('"').to_owned(),
        ));
    }
    // Who has the id could speak in the session.
    if let Some(session) = headers.get(MCP_SESSION_ID) {
        let digest = digest(&SHA256, session.as_bytes());
        let short: String = digest.as_ref()[..SESSION_DIGEST]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        attributes.push(KeyValue::new("mcp.session.id", short));
    }
    attributes
}

/// What only the SERVER span says.
fn of_server(opened: &Opened<'_>) -> Vec<KeyValue> {
    let mut attributes = vec![
        protocol_version(opened.carried.version),
        KeyValue::new("mcpgw.path", opened.path.name()),
        KeyValue::new("mcpgw.decision", opened.decision),
        KeyValue::new("mcpgw.decision_id", opened.decision_id.to_owned()),
        KeyValue::new("enduser.id", opened.caller.principal()),
    ];
    if let Some(rule) = opened.rule {
        attributes.push(KeyValue::new("mcpgw.rule", rule.to_owned()));
    }
    attributes.extend(address("server", opened.caller.destination));
    if let Some(client) = opened.caller.client {
        attributes.extend(address("client", client));
    }
    attributes
}

fn protocol_version(version: Version) -> KeyValue {
    let version = if version == Version::HTTP_2 { "2" } else { "1.1" };
    KeyValue::new("network.protocol.version", version)
}

fn address(whose: &'static str, address: SocketAddr) -> [KeyValue; 2] {
    let (name, port) = match whose {
        "client" => ("client.address", "client.port"),
        _ => ("server.address", "server.port"),
    };
    [
        KeyValue::new(name, address.ip().to_canonical().to_string()),
        KeyValue::new(port, i64::from(address.port())),
    ]
}
