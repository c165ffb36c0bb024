//! Refusals: what the client gets is an HTTP status and a JSON-RPC error that it can show.

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::value::RawValue;

use super::{exchange::Body, limits::MAX_BODY};
use crate::{
    identity::Caller,
    mcp::{
        EnvelopeError, error,
        error::{DenialData, code},
        headers::HeaderError,
        modern::Rejection,
        seal::TokenError,
    },
    resources::ObjectName,
    telemetry::{Outcome, Path, Record, Refusal, Telemetry, Who},
};

/// A request that is refused.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    code: i64,
    /// The word for it in metrics and in the audit log.
    pub(super) reason: &'static str,
    message: Cow<'static, str>,
    data: Option<Box<RawValue>>,
    /// Whether a record says all that there is to say of it.
    is_recorded: bool,
    id: Option<Box<RawValue>>,
    closing: bool,
    /// Whether the client is told what its line in the audit log is found by.
    is_traceable: bool,
    /// What a client without a good token is told.
    challenge: Option<Box<HeaderValue>>,
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
            data: None,
            is_recorded: false,
            id: None,
            closing: false,
            is_traceable: false,
            challenge: None,
        }
    }

    /// A refusal with an error code of the protocol.
    pub(super) fn protocol(
        status: StatusCode,
        code: i64,
        reason: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            code,
            ..Self::new(status, reason, message)
        }
    }

    /// What the rules of the modern era refuse.
    pub(super) fn rejection(rejection: Rejection) -> Self {
        let status = StatusCode::from_u16(rejection.status).unwrap_or(StatusCode::BAD_REQUEST);
        Self {
            data: rejection.data,
            ..Self::protocol(status, rejection.code, rejection.reason, rejection.message)
        }
    }

    /// HTTP 400.
    pub(super) fn ambiguous_path() -> Self {
        let message = "The path can be read in several ways";
        Self::new(StatusCode::BAD_REQUEST, "ambiguous_path", message)
    }

    /// HTTP 403: only enrolled workloads may call, and no token would help.
    pub(super) fn not_attested() -> Self {
        let message = "This gateway serves enrolled workloads only, and this caller is none that the kernel attests";
        Self::new(StatusCode::FORBIDDEN, "not_attested", message).traceable()
    }

    /// Says in `WWW-Authenticate` which token would do.
    pub(super) fn challenging(mut self, challenge: HeaderValue) -> Self {
        self.challenge = Some(Box::new(challenge));
        self
    }

    /// HTTP 404: the client begins a new session.
    pub(super) fn no_session() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no_session",
            "There is no such session: begin a new one",
        )
    }

    /// HTTP 404.
    pub(super) fn no_catalog() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_catalog", "There is nothing at this path")
    }

    /// HTTP 502: the server went away with a change of the configuration.
    pub(super) fn gone(server: &ObjectName) -> Self {
        let message = format!("MCP server {server} is no longer there");
        Self::new(StatusCode::BAD_GATEWAY, "upstream_gone", message)
    }

    /// HTTP 403: the server is not to be dialled.
    pub(super) fn gateway_only() -> Self {
        let message = "This MCP server is reached through the gateway only";
        Self::new(StatusCode::FORBIDDEN, "gateway_only", message).closing()
    }

    /// HTTP 503: no call goes unrecorded.
    pub(super) fn unaudited() -> Self {
        let message = "The audit log is full, and no call is served that cannot be recorded; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "audit_full", message)
    }

    /// HTTP 503: a caller has as many calls in flight as it may.
    pub(super) fn no_streams() -> Self {
        let message = "Too many calls of this caller are in flight; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message)
    }

    /// HTTP 503: a caller has as many connections as it may, and this one is not served.
    pub(super) fn no_connections() -> Self {
        let message = "Too many connections of this caller are open; close some, or use one of them";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", message).closing()
    }

    /// HTTP 503: what a workload is subscribed to takes all the memory that it may.
    pub(super) fn no_subscriptions() -> Self {
        let message = "This workload is subscribed to too many resources; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_subscriptions", message)
    }

    /// HTTP 503: something goes on in all the sessions that there may be.
    pub(super) fn no_room_for_sessions() -> Self {
        let message = "Too many sessions are in use; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_sessions", message)
    }

    /// HTTP 500: the next page of a list cannot be named.
    pub(super) fn no_cursor(error: &TokenError) -> Self {
        let message = format!("No cursor can be made: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "cursor", message)
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

    /// Says this beside the message. The record of the request says what is to be reported.
    pub(super) fn recorded(self, data: Option<Box<RawValue>>) -> Self {
        Self {
            data,
            is_recorded: true,
            ..self
        }
    }

    /// The refusal of the request of this record, which says what is to be reported and is found by what the client is
    /// told.
    pub(super) fn of(self, mut record: Record) -> Self {
        let data = self.found_by(record.decision_id());
        record.status(self.status.as_u16());
        record.error_code(self.code);
        record
            .add_response_bytes(error::body(self.id.as_deref(), self.code, &self.message, data.as_ref()).len() as u64);
        self.recorded(data)
    }

    /// What the client is told of this decision.
    fn found_by(&self, decision_id: &str) -> Option<Box<RawValue>> {
        let data = DenialData {
            decision_id,
            reason: self.reason,
            retry_after_ms: None,
        };
        serde_json::value::to_raw_value(&data).ok()
    }

    /// Tells the client what the refusal is found by in the audit log.
    pub(super) fn traceable(mut self) -> Self {
        self.is_traceable = true;
        self
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

    /// The answer to a tool call that was allowed, and could not be answered. Its record tells, so that the refusal
    /// is not reported beside it.
    fn into_answer_of(self, mut record: Record) -> Response<Body> {
        let response = self.response();
        record.status(self.status.as_u16());
        record.outcome(Outcome::Error, None);
        record.error_code(self.code);
        record.add_response_bytes(http_body::Body::size_hint(response.body()).lower());
        response
    }

    /// The answer to the call with this id, which ends with it; without a record, the refusal as it is.
    pub(super) fn ending(self, id: Option<&RawValue>, record: Option<Record>) -> Result<Response<Body>, Self> {
        let refused = self.to(id);
        match record {
            Some(record) => Ok(refused.into_answer_of(record)),
            None => Err(refused),
        }
    }

    /// The answer, counted and audited: a client that is told what the line in the audit log is found by must be told
    /// the id of that line.
    pub(super) fn answered(mut self, telemetry: &Telemetry, caller: &Arc<Caller>, path: Path) -> Response<Body> {
        if !self.is_recorded {
            self.report(telemetry, caller, path);
        }
        self.response()
    }

    fn report(&mut self, telemetry: &Telemetry, caller: &Arc<Caller>, path: Path) {
        let status = Some(self.status.as_u16());
        let who = Who::Caller(Arc::clone(caller));
        let decision_id = self.is_traceable.then(|| telemetry.decision_id());
        if let Some(id) = &decision_id {
            self.data = self.found_by(id);
        }
        telemetry.refused(Refusal {
            time: SystemTime::now(),
            reason: self.reason,
            status,
            path,
            who,
            decision_id,
        });
    }

    fn response(&self) -> Response<Body> {
        let body = error::body(self.id.as_deref(), self.code, &self.message, self.data.as_ref());
        let mut response = json(self.status, body);
        if self.closing {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(challenge) = &self.challenge {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::clone(challenge));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
        }
        response
    }
}

/// HTTP 202: a notification or an answer was taken.
pub(super) fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// A response with a JSON body.
pub(super) fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
