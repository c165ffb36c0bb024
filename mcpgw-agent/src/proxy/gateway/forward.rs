//! A request on its way to its server, in the server's era.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde_json::value::RawValue;

use super::{
    super::{
        body::Share,
        call::{Decided, ToolCall, decide},
        exchange::Body,
        refused::Refused,
    },
    Call, interact, legacy,
    link::LinkError,
    modern,
    view::{Kind as List, Seen, Tool},
};
use crate::{
    mcp::{
        Envelope,
        error::code,
        method::Method,
        params::Target,
        part::Text,
        splice::{Splice, json_string},
        version::Era,
    },
    resources::ObjectName,
    telemetry::{Path, Record},
    upstream::UpstreamError,
};

/// A request that goes to a server.
pub(super) struct Forwarded<'a> {
    pub(super) seen: &'a Seen,
    pub(super) id: &'a RawValue,
    pub(super) method: &'a str,
    /// What the server calls what is asked for: the value of `Mcp-Name`.
    pub(super) subject: Option<&'a str>,
    /// The body, with the server's own names.
    pub(super) body: Bytes,
    /// Open where it is a tool call.
    pub(super) record: Option<Record>,
    /// The body's share of the caller's memory: goes back when the server begins to answer.
    pub(super) share: Share,
}

/// Finds the server of a request, decides, and takes the request there.
pub(super) async fn request(
    call: &Call<'_>,
    id: &RawValue,
    envelope: &Envelope<'_>,
    share: Share,
) -> Result<Response<Body>, Refused> {
    let text = envelope.method.as_deref().unwrap_or_default();
    let method = Method::of(text);
    let mut subject = envelope.subject();
    let mut body = call.body.clone();
    let mut record = None;
    let seen = match method {
        Method::ToolsCall => {
            let name = subject.unwrap_or_default();
            let (seen, own, left_out) = match call.view.tool(name) {
                Tool::Shown(entry) => (call.view.server(entry), &entry.own, false),
                Tool::Hidden { seen, own, left_out } => (seen, own, left_out),
                Tool::Unknown => return Err(Refused::unknown_tool(name).to(Some(id))),
            };
            let decided = decide(
                &call.shared.telemetry,
                &call.plan,
                &ToolCall {
                    caller: call.caller,
                    path: Path::Gateway,
                    server: &seen.server,
                    tool: own,
                    called_as: name,
                    id: Some(id),
                    received: call.received,
                    read: call.read,
                    request_bytes: call.body.len(),
                    left_out,
                },
            );
            match decided {
                Decided::Allowed(open) => record = Some(open),
                Decided::Denied(answer) => return Ok(answer),
            }
            body = renamed(body, envelope.params.name.as_ref(), own);
            subject = Some(own);
            seen
        }
        Method::PromptsGet => {
            let name = subject.unwrap_or_default();
            let Some(entry) = call.view.prompts.get(name) else {
                return Err(
                    unknown(StatusCode::OK, code::INVALID_PARAMS, format!("Unknown prompt: {name}")).to(Some(id)),
                );
            };
            body = renamed(body, envelope.params.name.as_ref(), &entry.own);
            subject = Some(&entry.own);
            call.view.server(entry)
        }
        Method::ResourcesRead => match call.view.owner_of(subject.unwrap_or_default()) {
            Some(seen) => seen,
            None => return Err(unknown_resource(call.era, subject.unwrap_or_default()).to(Some(id))),
        },
        Method::Complete => {
            let (seen, edited) = completion(call, envelope, body).ok_or_else(|| {
                let message = "Unknown prompt or resource template".to_owned();
                unknown(StatusCode::OK, code::INVALID_PARAMS, message).to(Some(id))
            })?;
            body = edited;
            seen
        }
        // What the gateway doesn't know can go to a server only where there is just one that it can mean.
        _ => call.view.only().ok_or_else(|| no_method(call.era, text).to(Some(id)))?,
    };
    let forwarded = Forwarded {
        seen,
        id,
        method: text,
        subject,
        body,
        record,
        share,
    };
    let speaks = &seen.catalogue.speaks;
    match call.era {
        Era::Modern if speaks.modern => modern::pass(call, forwarded).await,
        Era::Legacy if speaks.legacy.is_none() => interact::ask(call, envelope, forwarded).await,
        Era::Modern | Era::Legacy => legacy::ask(call, forwarded).await,
    }
}

/// The body with the server's own name in place of the gateway's.
fn renamed(body: Bytes, name: Option<&Text<'_>>, own: &str) -> Bytes {
    let Some(name) = name.filter(|name| name.value != own) else {
        return body;
    };
    let mut splice = Splice::new(&body);
    splice.replace(name.span.clone(), json_string(own));
    splice.finish()
}

/// The server that completes what is asked for, and the body with its own names.
fn completion<'c>(call: &'c Call<'_>, envelope: &Envelope<'_>, body: Bytes) -> Option<(&'c Seen, Bytes)> {
    let reference = envelope.params.reference.as_ref()?;
    match reference.target()? {
        Target::Prompt(name) => {
            let entry = call.view.prompts.get(name)?;
            let body = renamed(body, Some(name), &entry.own);
            Some((call.view.server(entry), body))
        }
        Target::Resource(uri) => {
            let entry = call.view.list(List::Templates).get(uri);
            let seen = entry.map(|entry| call.view.server(entry));
            Some((seen.or_else(|| call.view.owner_of(uri))?, body))
        }
    }
}

/// Headers of the caller that go on to every server: the trace.
pub(super) fn trace(head: &http::request::Parts) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in ["traceparent", "tracestate", "baggage"] {
        if let Some(value) = head.headers.get(name) {
            headers.insert(name, value.clone());
        }
    }
    headers
}

fn unknown(status: StatusCode, code: i64, message: String) -> Refused {
    Refused::protocol(status, code, "unknown_name", message)
}

fn unknown_resource(era: Era, uri: &str) -> Refused {
    let code = match era {
        Era::Legacy => code::RESOURCE_NOT_FOUND,
        Era::Modern => code::INVALID_PARAMS,
    };
    unknown(StatusCode::OK, code, format!("Resource not found: {uri}"))
}

fn no_method(era: Era, method: &str) -> Refused {
    let status = match era {
        Era::Legacy => StatusCode::OK,
        Era::Modern => StatusCode::NOT_FOUND,
    };
    let message = format!("Method not found: {method}");
    Refused::protocol(status, code::METHOD_NOT_FOUND, "unknown_method", message)
}

/// The refusal when a server could not be asked.
pub(in crate::proxy) fn unreachable(server: &ObjectName, error: &UpstreamError) -> Refused {
    let (status, reason) = error.answer();
    Refused::new(status, reason, format!("MCP server {server} {}", error.explain()))
}

/// As [`unreachable`], for what may go wrong with a session there.
pub(super) fn unanswered(server: &ObjectName, error: &LinkError) -> Refused {
    match error {
        LinkError::Upstream(error) => unreachable(server, error),
        LinkError::Timeout => Refused::new(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream_timeout",
            format!("MCP server {server} {error}"),
        ),
        other => Refused::new(
            StatusCode::BAD_GATEWAY,
            "upstream_answer",
            format!("MCP server {server} {other}"),
        ),
    }
}
