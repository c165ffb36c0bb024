//! Path → answer.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use serde::Serialize;

use super::{openmetrics, server::MAX_BODY_BYTES, state::State};
use crate::{pins::Approve, resources::ObjectName};

/// Which listener a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// TCP: what a scraper and a kubelet ask.
    Metrics,
    /// The Unix socket: that, and what only the CLI may ask.
    Cli,
}

/// Pinned tools: shown, and approved.
const PINS: &str = "/pins";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Answers a request. Its body is read only where it approves something.
pub(super) async fn answer<B>(request: Request<B>, surface: Surface, state: &Arc<State>) -> Response<Full<Bytes>>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if surface == Surface::Cli && (request.method(), request.uri().path()) == (&Method::POST, PINS) {
        return approve(request.into_body(), state).await;
    }
    look(&request, surface, state)
}

/// Approves what the body says.
async fn approve<B>(body: B, state: &Arc<State>) -> Response<Full<Bytes>>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(reason) => return error(StatusCode::BAD_REQUEST, &reason.to_string()),
    };
    let wanted: Approve = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(reason) => return error(StatusCode::BAD_REQUEST, &reason.to_string()),
    };
    let state = Arc::clone(state);
    match tokio::task::spawn_blocking(move || (state.approve)(&wanted)).await {
        Ok(Ok(())) => json(StatusCode::OK, &serde_json::json!({})),
        Ok(Err(reason)) => error(StatusCode::CONFLICT, &reason),
        Err(reason) => error(StatusCode::INTERNAL_SERVER_ERROR, &reason.to_string()),
    }
}

/// Answers a request that changes nothing; its body is never read.
fn look<B>(request: &Request<B>, surface: Surface, state: &State) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let known = match surface {
        Surface::Metrics => ["/healthz", "/readyz", "/metrics"].contains(&path),
        Surface::Cli => ["/healthz", "/readyz", "/metrics", "/status", "/explain", PINS].contains(&path),
    };
    if !known {
        return text(StatusCode::NOT_FOUND, PLAIN, "not found\n".to_owned());
    }
    if request.method() != Method::GET {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            PLAIN,
            "only GET is answered here\n".to_owned(),
        );
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    match path {
        "/healthz" => text(StatusCode::OK, PLAIN, "ok\n".to_owned()),
        "/metrics" if openmetrics::is_wanted(request.headers()) => text(
            StatusCode::OK,
            openmetrics::MEDIA_TYPE,
            openmetrics::of_text(&(state.metrics)()),
        ),
        "/metrics" => text(StatusCode::OK, PROMETHEUS_TEXT, (state.metrics)()),
        "/readyz" => {
            let readiness = state.readiness();
            json(
                if readiness.ready {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                },
                &readiness,
            )
        }
        PINS => pins(request.uri().query(), state),
        "/status" => json(StatusCode::OK, &state.status()),
        _ => explain(request.uri().query().unwrap_or_default(), state),
    }
}

fn pins(query: Option<&str>, state: &State) -> Response<Full<Bytes>> {
    let about = query.map(|query| query.strip_prefix("server=").and_then(ObjectName::parse));
    match about {
        Some(None) => error(StatusCode::BAD_REQUEST, "write /pins?server=NAMESPACE/NAME"),
        None => json(StatusCode::OK, &(state.pins)(None)),
        Some(Some(server)) => json(StatusCode::OK, &(state.pins)(Some(&server))),
    }
}

fn explain(query: &str, state: &State) -> Response<Full<Bytes>> {
    let value = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    };
    let (Some(workload), Some(to)) = (value("workload"), value("to")) else {
        return error(
            StatusCode::BAD_REQUEST,
            "write /explain?workload=NAMESPACE/NAME&to=IP:PORT",
        );
    };
    let Ok(to) = to.parse::<SocketAddr>() else {
        return error(StatusCode::BAD_REQUEST, "to: must be IP:PORT");
    };
    match (state.explain)(workload, to) {
        Ok(explanation) => json(StatusCode::OK, &explanation),
        Err(reason) => error(StatusCode::NOT_FOUND, &reason),
    }
}

fn error(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    json(status, &serde_json::json!({ "error": reason }))
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(body) {
        Ok(body) => text(status, JSON, body + "\n"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n")),
    }
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
