//! Refusals: what the client gets is an HTTP status and a JSON-RPC error that it can show.

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use serde_json::value::RawValue;

use super::{exchange::Body, limits::MAX_BODY};
use crate::{
    identity::Caller,
    mcp::{EnvelopeError, error, error::code, headers::HeaderError},
    telemetry::{Path, Refusal, Telemetry, Who},
};

/// A request that is refused.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    code: i64,
    /// The word for it in metrics and in the audit log.
    pub(super) reason: &'static str,
    message: Cow<'static, str>,
    id: Option<Box<RawValue>>,
    closing: bool,
}

impl Refused {
    /// A refusal with our own error code.
    pub(super) fn new(status: StatusCode, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let code = code::of_status(status.as_u16());
        Self {
            status,
            code,
            reason,
            message: message.into(),
            id: None,
            closing: false,
        }
    }

    /// HTTP 405.
    pub(super) fn method(reason: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, reason, "Method not allowed")
    }

    /// HTTP 403.
    pub(super) fn path() -> Self {
        let message = "This path of the MCP server is not open to callers";
        Self {
            code: code::PATH_CLOSED,
            ..Self::new(StatusCode::FORBIDDEN, "path", message)
        }
    }

    /// HTTP 413.
    pub(super) fn body_too_large() -> Self {
        let message = format!("The request body is larger than {MAX_BODY} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message).closing()
    }

    /// HTTP 400, for a body that cannot be governed.
    pub(super) fn envelope(refused: &crate::mcp::envelope::Refused<'_>) -> Self {
        let error: &EnvelopeError = &refused.error;
        let new = Self::new(StatusCode::BAD_REQUEST, error.reason(), error.to_string());
        Self {
            code: error.code(),
            ..new
        }
        .to(refused.id)
    }

    /// HTTP 400 or 415, for headers that do not fit the body.
    pub(super) fn headers(error: HeaderError) -> Self {
        let unsupported = |reason| Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason, error.to_string());
        match error {
            HeaderError::ContentType => unsupported("content_type"),
            HeaderError::ContentEncoding => unsupported("content_encoding"),
            HeaderError::Mismatch(_) => Self {
                code: code::HEADER_MISMATCH,
                ..Self::new(StatusCode::BAD_REQUEST, "header_mismatch", error.to_string())
            },
        }
    }

    /// Answers to this request id.
    pub(super) fn to(mut self, id: Option<&RawValue>) -> Self {
        self.id = id.map(ToOwned::to_owned);
        self
    }

    /// Closes the connection after the answer: the rest of the request is not worth reading.
    pub(super) fn closing(mut self) -> Self {
        self.closing = true;
        self
    }

    /// Counts and audits it.
    pub(super) fn report(&self, telemetry: &Telemetry, caller: &Arc<Caller>) {
        let status = Some(self.status.as_u16());
        let who = Who::Caller(Arc::clone(caller));
        telemetry.refused(Refusal {
            time: SystemTime::now(),
            reason: self.reason,
            status,
            path: Path::Redirected,
            who,
        });
    }

    /// The answer.
    pub(super) fn response(&self) -> Response<Body> {
        let body = error::body(self.id.as_deref(), self.code, &self.message, None);
        let mut response = json(self.status, body);
        if self.closing {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
        }
        response
    }
}

/// A response with a JSON body.
pub(super) fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
