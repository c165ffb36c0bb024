//! Requests to servers that know no sessions: modern client, modern server. The answer passes unchanged, but
//! for ids of tasks.

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::{
    super::{
        exchange::Body,
        refused::Refused,
        relay::{Relay, Watch},
        rewrite::{Both, Rewriter},
    },
    Call,
    forward::{self, Forwarded},
    link,
    tasks::{EXTENSION, TaskIds},
    uris::Uris,
};
use crate::{
    mcp::{
        AnswerObserver,
        headers::{MCP_METHOD, MCP_NAME, MCP_PROTOCOL_VERSION, encoded},
        version::Revision,
    },
    upstream::Endpoint,
};

/// What begins the names of the headers that repeat arguments.
const MCP_PARAM: &str = "mcp-param-";

/// Passes a request on.
pub(super) async fn pass(call: &Call<'_>, forwarded: Forwarded<'_>) -> Result<Response<Body>, Refused> {
    let Forwarded {
        seen,
        id,
        method,
        subject,
        mut headers,
        body,
        record,
        share,
    } = forwarded;
    route(&mut headers, method, subject.as_deref());
    let parameters = |(name, _): &(&HeaderName, &HeaderValue)| name.as_str().starts_with(MCP_PARAM);
    for (name, value) in call.head.headers.iter().filter(parameters) {
        headers.append(name.clone(), value.clone());
    }
    let server = seen.server.name();
    let refuse = |refused: Refused, record| refused.ending(Some(id), record);
    let Some(upstream) = call.shared.upstreams.of(&seen.server.wanted) else {
        return refuse(Refused::gone(server), record);
    };
    let mut record = record;
    let sent_to = |endpoint: &Endpoint| {
        if let Some(record) = &mut record {
            record.sent_to(endpoint.address());
            record.leaving();
        }
    };
    let request = || link::post(&upstream, body.clone(), &headers, call.behalf());
    let response = match upstream.ask_any(call.payer, request, sent_to).await {
        Ok((_, response)) => response,
        Err(error) => return refuse(forward::unreachable(server, &error), record),
    };
    drop(share);
    let (head, body) = response.into_parts();
    let watch = record.map(|mut record| {
        record.answered(head.version);
        Watch::new(
            record,
            AnswerObserver::new(Some(id), &head.headers, call.payer),
            head.status,
        )
    });
    let has_tasks = seen.catalogue.extensions.contains_key(EXTENSION);
    let ids = || TaskIds::new(call.gateway, server, call.owner);
    let rewriter = match (has_tasks, Uris::of(&call.view, server)) {
        (false, None) => None,
        (true, None) => Some(Rewriter::new(&head.headers, call.payer, ids())),
        (false, Some(uris)) => Some(Rewriter::new(&head.headers, call.payer, uris)),
        (true, Some(uris)) => Some(Rewriter::new(&head.headers, call.payer, Both(ids(), uris))),
    };
    let mut response = Response::new(Body::relay(Relay::new(body, watch).rewriting(rewriter)));
    *response.status_mut() = head.status;
    let headers = response.headers_mut();
    for name in [http::header::CONTENT_TYPE, http::header::CACHE_CONTROL] {
        if let Some(value) = head.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if super::super::is_events(headers) {
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    Ok(response)
}

/// The headers by which a modern request is routed.
pub(super) fn route(headers: &mut HeaderMap, method: &str, subject: Option<&str>) {
    let mut insert = |name, text: &str| {
        if let Some(value) = encoded(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    insert(MCP_PROTOCOL_VERSION, Revision::MODERN.as_str());
    insert(MCP_METHOD, method);
    if let Some(subject) = subject {
        insert(MCP_NAME, subject);
    }
}
