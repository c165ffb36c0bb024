//! What a request of the modern era must have, checked in the order and with the codes of the specification.

use http::{HeaderMap, HeaderValue};
use serde_json::{json, value::RawValue};

pub use super::param_headers::ParamHeaders;
use super::{
    Envelope, Kind,
    error::code,
    headers::{MCP_METHOD, MCP_NAME, MCP_PROTOCOL_VERSION, decoded},
    method::Method,
    version::Revision,
};

/// A request that is refused by the rules of the modern era.
#[derive(Debug)]
pub struct Rejection {
    /// The HTTP status.
    pub status: u16,
    /// The JSON-RPC error code.
    pub code: i64,
    /// The text for the client.
    pub message: String,
    /// What a client can go by.
    pub data: Option<Box<RawValue>>,
    /// The word for it in metrics and in the audit log.
    pub reason: &'static str,
}

impl Rejection {
    fn new(status: u16, code: i64, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            data: None,
            reason,
        }
    }

    fn mismatch(name: &str) -> Self {
        let message = format!("Header mismatch: {name} does not match the request body");
        Self::new(400, code::HEADER_MISMATCH, "header_mismatch", message)
    }
}

/// Checks a message of the modern era; `parameters` where the tool that it calls is known.
pub fn check(headers: &HeaderMap, envelope: &Envelope<'_>, parameters: Option<&ParamHeaders>) -> Result<(), Rejection> {
    for name in [MCP_PROTOCOL_VERSION, MCP_METHOD, MCP_NAME] {
        if headers.get_all(name).iter().count() > 1 {
            let message = format!("Header mismatch: {name} is there more than once");
            return Err(Rejection::new(400, code::HEADER_MISMATCH, "header_mismatch", message));
        }
    }
    let Some(text) = envelope.method.as_deref() else {
        return Ok(());
    };
    let method = Method::of(text);
    let meta = &envelope.params.meta;
    let is_request = envelope.kind == Kind::Request;
    if is_request {
        meta_is_there(envelope)?;
    }
    // The header says what the body says; where the body of a notification says nothing, it must be there.
    let version = header(headers, MCP_PROTOCOL_VERSION)?;
    if meta.protocol_version.as_deref().is_some_and(|said| said != version) {
        return Err(Rejection::mismatch(MCP_PROTOCOL_VERSION));
    }
    if (is_request || headers.contains_key(MCP_METHOD)) && header(headers, MCP_METHOD)? != text {
        return Err(Rejection::mismatch(MCP_METHOD));
    }
    match (
        method.has_subject().then(|| envelope.subject()).flatten(),
        headers.contains_key(MCP_NAME),
    ) {
        (Some(subject), _) => {
            if header(headers, MCP_NAME)? != subject {
                return Err(Rejection::mismatch(MCP_NAME));
            }
        }
        (None, true) => return Err(Rejection::mismatch(MCP_NAME)),
        (None, false) => {}
    }
    if version != Revision::MODERN.as_str() {
        let supported = [Revision::MODERN.as_str()];
        let data = json!({ "supported": supported, "requested": version });
        return Err(Rejection {
            data: serde_json::value::to_raw_value(&data).ok(),
            ..Rejection::new(
                400,
                code::UNSUPPORTED_VERSION,
                "unsupported_version",
                format!("Unsupported protocol version: {version}"),
            )
        });
    }
    if let Some(parameters) = parameters {
        let arguments = envelope.locate().arguments;
        parameters
            .check(headers, arguments)
            .map_err(|name| Rejection::mismatch(&name))?;
    }
    if method.is_gone_in_modern() {
        let message = format!("Method not found: {text}");
        return Err(Rejection::new(404, code::METHOD_NOT_FOUND, "unknown_method", message));
    }
    Ok(())
}

fn meta_is_there(envelope: &Envelope<'_>) -> Result<(), Rejection> {
    let meta = &envelope.params.meta;
    let missing = match (&meta.protocol_version, meta.has_capabilities) {
        (None, _) => super::envelope::META_VERSION,
        (_, false) => super::envelope::META_CAPABILITIES,
        (Some(_), true) => return Ok(()),
    };
    let message = format!("Invalid params: _meta.{missing} is required");
    Err(Rejection::new(400, code::INVALID_PARAMS, "missing_meta", message))
}

/// The text of a header that must be there.
fn header(headers: &HeaderMap, name: &'static str) -> Result<String, Rejection> {
    let missing = || {
        let message = format!("Header mismatch: {name} is required");
        Rejection::new(400, code::HEADER_MISMATCH, "header_mismatch", message)
    };
    let value: &HeaderValue = headers.get(name).ok_or_else(missing)?;
    decoded(value).map(Into::into).ok_or_else(|| Rejection::mismatch(name))
}
