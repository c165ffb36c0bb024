//! JSON-RPC errors: bodies that every client shows to its user.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

/// Error codes. Those of JSON-RPC and MCP, and our own: an HTTP status times ten, outside of the range that
/// JSON-RPC reserves.
pub mod code {
    /// JSON-RPC: not JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// JSON-RPC: not a valid message.
    pub const INVALID_REQUEST: i64 = -32600;
    /// JSON-RPC: bad parameters; also the answer for a tool that the caller may not see.
    pub const INVALID_PARAMS: i64 = -32602;
    /// JSON-RPC: no such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// MCP, legacy era: no such resource.
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// MCP: the revision is not supported.
    pub const UNSUPPORTED_VERSION: i64 = -32022;
    /// MCP: a routing header and the body differ.
    pub const HEADER_MISMATCH: i64 = -32020;

    /// Ours: the server asks something that this client cannot be asked.
    pub const INPUT_REQUIRED: i64 = 4090;
    /// Ours, with HTTP 403: a path that is not open to callers.
    pub const PATH_CLOSED: i64 = 4032;

    /// Our code for an HTTP status.
    pub const fn of_status(status: u16) -> i64 {
        status as i64 * 10
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
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":4130,"message":"too large"}}"#
        );
    }
}
