//! JSON-RPC errors: bodies that every client shows to its user.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::version::Revision;

/// Error codes. Those of JSON-RPC and MCP, and our own, outside of the range that JSON-RPC reserves: four digits, of
/// which the first three are the HTTP status that comes closest. What has no code of its own has five.
pub mod code {
    /// JSON-RPC: not JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// JSON-RPC: not a valid message.
    pub const INVALID_REQUEST: i64 = -32600;
    /// JSON-RPC: no such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// JSON-RPC: bad parameters; also the answer for a tool that the caller may not see.
    pub const INVALID_PARAMS: i64 = -32602;
    /// MCP, legacy era: no such resource; later [`INVALID_PARAMS`].
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// MCP: a routing header and the body differ.
    pub const HEADER_MISMATCH: i64 = -32020;
    /// MCP: the client has not declared what the request needs of it.
    pub const MISSING_CLIENT_CAPABILITY: i64 = -32021;
    /// MCP: the revision is not supported.
    pub const UNSUPPORTED_VERSION: i64 = -32022;

    /// Ours: refused on the arguments of the call.
    pub const ARGUMENTS_DENIED: i64 = 4030;
    /// Ours: refused until it is approved, or because the tool is not what was pinned.
    pub const NOT_APPROVED: i64 = 4031;
    /// Ours, with HTTP 403: a path that is not open to callers.
    pub const PATH_CLOSED: i64 = 4032;
    /// Ours: the server asks something that this client cannot be asked.
    pub const INPUT_REQUIRED: i64 = 4090;
    /// Ours: the client took the call back itself.
    pub const TAKEN_BACK: i64 = 4990;
    /// Ours: over a limit.
    pub const LIMITED: i64 = 4290;

    /// Ours: a service that must be asked about the request does not answer.
    pub const ENGINE_UNAVAILABLE: i64 = 5030;

    /// Our code for what an HTTP status says alone, for example 40300. None of it is one of ours with four digits.
    pub const fn of_status(status: u16) -> i64 {
        status as i64 * 100
    }
}

/// What a denial says beside its message; never the text of a rule.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DenialData<'a> {
    /// Finds the decision in the audit log.
    pub decision_id: &'a str,
    /// For example `denied`.
    pub reason: &'a str,
    /// For a limit: milliseconds until the call would be allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// A request that is refused by the rules of the protocol.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The HTTP status.
    pub status: u16,
    /// The JSON-RPC error code.
    pub code: i64,
    /// The text for the client.
    pub message: Cow<'static, str>,
    /// What a client can go by.
    pub data: Option<Box<RawValue>>,
    /// The word for it in metrics and in the audit log.
    pub reason: &'static str,
}

impl Rejection {
    /// HTTP 400, -32602: what a request must say in `_meta` is missing or no such thing.
    pub fn meta(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, code::INVALID_PARAMS, "missing_meta", message)
    }

    /// HTTP 400, -32600.
    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, code::INVALID_REQUEST, "invalid_envelope", message)
    }

    /// HTTP 400, -32020: this header is missing, cannot be read, or does not say what the body says.
    pub fn header(name: &str, what: &str) -> Self {
        let message = format!("Header mismatch: {name} {what}");
        Self::new(400, code::HEADER_MISMATCH, "header_mismatch", message)
    }

    /// HTTP 404, -32601.
    pub fn method_not_found(method: &str) -> Self {
        let message = format!("Method not found: {method}");
        Self::new(404, code::METHOD_NOT_FOUND, "unknown_method", message)
    }

    /// HTTP 400, -32022, with the version to ask for instead.
    pub fn unsupported_version(requested: &str) -> Self {
        #[derive(Serialize)]
        struct Versions<'a> {
            supported: [Revision; 1],
            requested: &'a str,
        }
        let supported = [Revision::MODERN];
        let versions = Versions { supported, requested };
        let message = format!("Unsupported protocol version: {requested}");
        Self {
            data: serde_json::value::to_raw_value(&versions).ok(),
            ..Self::new(400, code::UNSUPPORTED_VERSION, "unsupported_version", message)
        }
    }

    /// HTTP 400, -32021: the request needs these capabilities of the client, an object like `{"sampling":{}}`.
    pub fn missing_capability(required: &RawValue) -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Missing<'a> {
            required_capabilities: &'a RawValue,
        }
        let missing = Missing {
            required_capabilities: required,
        };
        let message = "The client has not declared a capability that this request needs";
        Self {
            data: serde_json::value::to_raw_value(&missing).ok(),
            ..Self::new(400, code::MISSING_CLIENT_CAPABILITY, "missing_capability", message)
        }
    }

    /// The JSON-RPC error, as the answer to this id.
    pub fn body(&self, id: Option<&RawValue>) -> Bytes {
        body(id, self.code, &self.message, self.data.as_ref())
    }

    fn new(status: u16, code: i64, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            data: None,
            reason,
        }
    }
}

/// Writes a JSON-RPC error response. `id` is echoed byte for byte; `None` becomes null.
pub fn body<T: Serialize>(id: Option<&RawValue>, code: i64, message: &str, data: Option<&T>) -> Bytes {
    #[derive(Serialize)]
    struct Response<'a, T> {
        jsonrpc: &'a str,
        id: Option<&'a RawValue>,
        error: Error<'a, T>,
    }
    #[derive(Serialize)]
    struct Error<'a, T> {
        code: i64,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a T>,
    }
    let response = Response {
        jsonrpc: "2.0",
        id,
        error: Error { code, message, data },
    };
    // Strings and numbers always serialise.
    serde_json::to_vec(&response).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_echoed_as_it_was_written() {
        let id = RawValue::from_string(r#""a\u0062""#.to_owned()).unwrap();
        let data = DenialData {
            decision_id: "d1",
            reason: "denied",
            retry_after_ms: None,
        };
        assert_eq!(
            body(Some(&id), code::INVALID_PARAMS, "Unknown tool: \"x\"", Some(&data)),
            r#"{"jsonrpc":"2.0","id":"a\u0062","error":{"code":-32602,"message":"Unknown tool: \"x\"","data":{"decisionId":"d1","reason":"denied"}}}"#
        );
    }

    #[test]
    fn without_an_id_it_is_null() {
        assert_eq!(
            body::<()>(None, code::of_status(413), "too large", None),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":41300,"message":"too large"}}"#
        );
    }

    #[test]
    fn what_an_http_status_says_alone_is_never_taken_for_something_that_has_a_code_of_its_own() {
        let own = [
            code::ARGUMENTS_DENIED,
            code::NOT_APPROVED,
            code::PATH_CLOSED,
            code::INPUT_REQUIRED,
            code::LIMITED,
            code::ENGINE_UNAVAILABLE,
        ];
        assert!((100..1_000).all(|status| !own.contains(&code::of_status(status))));
        assert_eq!(code::of_status(403), 40300);
    }

    #[test]
    fn a_limit_says_when_to_try_again() {
        let data = DenialData {
            decision_id: "d2",
            reason: "limited",
            retry_after_ms: Some(1500),
        };
        assert_eq!(
            body(None, code::LIMITED, "Too many calls", Some(&data)),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":4290,"message":"Too many calls","data":{"decisionId":"d2","reason":"limited","retryAfterMs":1500}}}"#
        );
    }

    #[test]
    fn an_unsupported_version_is_answered_with_the_one_to_ask_for() {
        let rejection = Rejection::unsupported_version("1900-01-01");
        assert_eq!(rejection.status, 400);
        assert_eq!(
            rejection.body(None),
            concat!(
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"Unsupported protocol version: 1900-01-01","#,
                r#""data":{"supported":["2026-07-28"],"requested":"1900-01-01"}}}"#
            )
        );
    }

    #[test]
    fn a_missing_capability_is_answered_with_an_object() {
        let required = RawValue::from_string(r#"{"sampling":{}}"#.to_owned()).unwrap();
        let rejection = Rejection::missing_capability(&required);
        assert_eq!((rejection.status, rejection.code), (400, -32021));
        assert_eq!(
            rejection.data.unwrap().get(),
            r#"{"requiredCapabilities":{"sampling":{}}}"#
        );
    }
}
