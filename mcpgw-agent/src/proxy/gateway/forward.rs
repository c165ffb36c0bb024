//! A request on its way to its server, in the server's era.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde_json::value::RawValue;

use super::{
    super::{
        body::Share,
        call::{Asked, Decided, decide},
        exchange::Body,
        refused::Refused,
    },
    Call, interact, legacy,
    link::LinkError,
    modern,
    owner::Owner,
    tasks,
    view::{Kind as ListKind, Named, Seen},
};
use crate::{
    mcp::{
        Envelope,
        governed::{Governed, Kind, governed},
        params::Target,
        part::Text,
        splice::{Splice, json_string},
        version::Era,
    },
    resources::ObjectName,
    telemetry::{Carried, Keeping, Path, Propagated, Record},
    upstream::UpstreamError,
};

/// A request that goes to a server.
pub(super) struct Forwarded<'a> {
    pub(super) seen: &'a Seen,
    pub(super) id: &'a RawValue,
    pub(super) method: &'a str,
    /// What the server calls what is asked for: the value of `Mcp-Name`.
    pub(super) subject: Option<Cow<'a, str>>,
    /// Headers that go on to every server.
    pub(super) headers: HeaderMap,
    /// The body, with the server's own names.
    pub(super) body: Bytes,
    /// Open where it was decided.
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
    let mut subject = envelope.subject().map(Cow::Borrowed);
    let mut body = call.body.clone();
    let mut record = None;
    let mut traced = None;
    let seen = match governed(envelope) {
        Some(asked) if asked.kind == Kind::Task && !tasks::are_known_to(call.era, envelope) => {
            return Err(Refused::rejection(tasks::not_declared()).to(Some(id)));
        }
        Some(asked) => {
            let found = find(call, asked).ok_or_else(|| call.unknown(asked, id, envelope))?;
            let Found { seen, own, left_out } = found;
            let own = own.unwrap_or(Cow::Borrowed(asked.name));
            match decided(
                call,
                Some(id),
                seen,
                Governed { name: &own, ..asked },
                asked.name,
                envelope,
                left_out,
            )
            .await
            {
                Decided::Allowed(open) => record = Some(open),
                Decided::Denied(answer) => return Ok(answer),
            }
            let name = renamable(envelope, asked).filter(|name| ***name != *own);
            traced = record.as_mut().and_then(Record::propagated);
            body = changed(body, envelope, name.map(|name| (name, &*own)), traced.as_ref());
            subject = subject.map(|_| own);
            seen
        }
        // What the gateway doesn't know can go to a server only where there is just one that it can mean.
        None => call.view.only().ok_or_else(|| {
            let asked = Governed {
                method: text,
                kind: Kind::Other,
                name: text,
            };
            call.unknown(asked, id, envelope)
        })?,
    };
    let forwarded = Forwarded {
        seen,
        id,
        method: text,
        subject,
        headers: headers(call.head, traced.as_ref()),
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

/// What a request is about.
struct Found<'c> {
    seen: &'c Seen,
    /// The server's own name for it, where the gateway has another.
    own: Option<Cow<'c, str>>,
    left_out: bool,
}

/// The server that has what is asked for, whether the caller may see it or not.
fn find<'c>(call: &'c Call<'_>, asked: Governed<'_>) -> Option<Found<'c>> {
    let view = &call.view;
    let named = |list| match view.named(list, asked.name) {
        Named::Shown(entry) => Some(Found {
            seen: view.server(entry),
            own: Some(Cow::Borrowed(&*entry.own)),
            left_out: false,
        }),
        Named::Hidden { seen, own, left_out } => Some(Found {
            seen,
            own: Some(Cow::Borrowed(&**own)),
            left_out,
        }),
        Named::Unknown => None,
    };
    let at = |seen| Found {
        seen,
        own: None,
        left_out: false,
    };
    match asked.kind {
        Kind::Tool => named(ListKind::Tools),
        Kind::Prompt => named(ListKind::Prompts),
        Kind::Resource => {
            let template = || named(ListKind::Templates);
            let of_template = (asked.method == "completion/complete").then(template).flatten();
            of_template.or_else(|| {
                view.owner_of(asked.name).map(|Owner { seen, own }| Found {
                    seen,
                    own: Some(Cow::Owned(own)),
                    left_out: false,
                })
            })
        }
        Kind::Task => tasks::find(call, asked.name).map(|(seen, task)| Found {
            seen,
            own: Some(Cow::Owned(task)),
            left_out: false,
        }),
        // What the gateway doesn't know can go to a server only where there is just one that it can mean.
        Kind::Other => view.only().map(at),
    }
}

/// Decides a request to a server.
pub(super) async fn decided(
    call: &Call<'_>,
    id: Option<&RawValue>,
    seen: &Seen,
    governed: Governed<'_>,
    called_as: &str,
    envelope: &Envelope<'_>,
    left_out: bool,
) -> Decided {
    let asked = Asked {
        left_out,
        ..asked(call, id, seen, governed, called_as, envelope)
    };
    decide(call.shared, &call.plan, &asked).await
}

/// What is to be decided about a request, by the policies of a server.
pub(super) fn asked<'a>(
    call: &'a Call<'_>,
    id: Option<&'a RawValue>,
    seen: &'a Seen,
    governed: Governed<'a>,
    called_as: &'a str,
    envelope: &'a Envelope<'_>,
) -> Asked<'a> {
    Asked {
        caller: call.caller,
        path: Path::Gateway,
        server: &seen.server,
        catalog: call.catalog,
        personal: seen.is_personal.then_some(&*seen.catalogue),
        governed,
        called_as,
        arguments: envelope.params.arguments,
        era: call.era,
        id,
        received: call.received,
        read: call.read,
        request_bytes: call.body.len(),
        http_path: call.head.uri.path(),
        left_out: false,
        on_record: true,
        denial_status: call.view.denial_status,
        carried: Carried {
            headers: &call.head.headers,
            version: call.head.version,
            meta: &envelope.params.meta,
        },
        keeping: Keeping::by(&call.plan.settings.audit),
    }
}

/// The name in a request that the gateway and the server write differently.
fn renamable<'e>(envelope: &'e Envelope<'_>, asked: Governed<'_>) -> Option<&'e Text<'e>> {
    match asked.kind {
        Kind::Tool => envelope.params.name.as_ref(),
        Kind::Prompt => match envelope
            .params
            .reference
            .as_ref()
            .and_then(|reference| reference.target())
        {
            Some(Target::Prompt(name)) if asked.method == "completion/complete" => Some(name),
            _ => envelope.params.name.as_ref(),
        },
        Kind::Task => envelope.params.task_id.as_ref(),
        Kind::Resource => match envelope
            .params
            .reference
            .as_ref()
            .and_then(|reference| reference.target())
        {
            Some(Target::Resource(uri)) if asked.method == "completion/complete" => Some(uri),
            _ => envelope.params.uri.as_ref(),
        },
        Kind::Other => None,
    }
}

/// The body with the server's own name in place of the gateway's, and with what the server is told of the trace.
fn changed(
    body: Bytes,
    envelope: &Envelope<'_>,
    name: Option<(&Text<'_>, &str)>,
    traced: Option<&Propagated>,
) -> Bytes {
    let mut splice = Splice::new(&body);
    if let Some((name, own)) = name {
        splice.replace(name.span.clone(), json_string(own));
    }
    if let Some(traced) = traced {
        traced.write_meta(envelope, &mut splice);
    }
    splice.finish()
}

/// Headers that go on to every server: the trace, as the gateway tells it, or else as the caller does.
fn headers(head: &http::request::Parts, traced: Option<&Propagated>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in ["traceparent", "tracestate", "baggage"] {
        if let Some(value) = head.headers.get(name) {
            headers.insert(name, value.clone());
        }
    }
    if let Some(traced) = traced {
        traced.write_headers(&mut headers);
    }
    headers
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
