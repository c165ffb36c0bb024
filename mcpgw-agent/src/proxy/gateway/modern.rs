//! Requests to servers that know no sessions: modern client, modern server. The answer passes unchanged, but
//! for ids of tasks and resources; what answers another request does not pass.

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::{
    super::{
        carries::Carries,
        exchange::Body,
        is_events,
        refused::Refused,
        relay::{Relay, Watch},
        rewrite::{Both, Rewrite, Rewriter, Rewritten},
    },
    Call,
    collect::{self, CollectError},
    forward::{self, Forwarded},
    link, settle,
    tasks::{EXTENSION, TaskIds},
    uris::Uris,
};
use crate::{
    mcp::{
        AnswerObserver,
        headers::{MCP_METHOD, MCP_NAME, MCP_PROTOCOL_VERSION, encoded},
        held::Held,
        message::Id,
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
    if let Some(record) = &mut record {
        record.answered(response.version());
    }
    let tasks = seen.catalogue.extensions.contains_key(EXTENSION);
    let tasks = tasks.then(|| TaskIds::new(call.gateway, server, call.owner));
    let mut changes = Both(tasks, Uris::of(&call.view, server));
    let (events, head) = (is_events(response.headers()), response.headers().clone());
    let status = response.status();
    let body = if events {
        let watch = AnswerObserver::new(Some(id), &head, call.payer);
        let watch = record.map(|record| Watch::new(record, watch, status));
        let rewriter = Rewriter::new(&head, call.payer, Both(Carries::one(Id::of(id)), changes));
        Body::relay(Relay::new(response.into_body(), watch).rewriting(Some(rewriter)))
    } else {
        // Held whole: whose answer it is, its last byte may tell.
        let whole = collect::answer(response, id.get()).await;
        let changed = whole.and_then(|whole| match changes.message(&whole) {
            Rewritten::Replace(changed) => Held::counted(changed, call.payer).ok_or(CollectError::NoRoom),
            Rewritten::Keep | Rewritten::Drop => Ok(whole),
        });
        match changed {
            Ok(whole) => {
                if let Some(record) = &mut record {
                    settle(record, id, status, &whole);
                }
                Body::from(whole)
            }
            Err(error) => return refuse(forward::unanswered(server, &error.into()), record),
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for name in [http::header::CONTENT_TYPE, http::header::CACHE_CONTROL] {
        if let Some(value) = head.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if events {
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
