//! Path → answer.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

use super::state::State;

/// Which listener a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// TCP: what a scraper and a kubelet ask.
    Metrics,
    /// The Unix socket: that, and what only the CLI may ask.
    Cli,
}

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Answers a request; its body is never read.
pub(super) fn answer<B>(request: &Request<B>, surface: Surface, state: &State) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let known = match surface {
        Surface::Metrics => ["/healthz", "/readyz", "/metrics"].contains(&path),
        Surface::Cli => ["/healthz", "/readyz", "/metrics", "/status", "/explain"].contains(&path),
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
        "/status" => json(StatusCode::OK, &state.status()),
        _ => explain(request.uri().query().unwrap_or_default(), state),
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
