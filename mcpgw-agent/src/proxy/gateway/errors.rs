//! Error codes, from one era to the other.
//!
//! | server | client | what it is | becomes |
//! |---|---|---|---|
//! | legacy | modern | -32002, no such resource | -32602 |
//! | legacy | modern | -32601, no such method | the same, with HTTP 404 where the answer is no stream |
//! | modern | legacy | -32602 to `resources/read` | -32002 |
//! | modern | legacy | -32021, the client lacks a capability | 4090, our own |
//! | modern | legacy | -32020 and -32022, what the gateway wrote or speaks | 50200, our own |
//!
//! Messages and data stay as they are, and so does every other code.

use bytes::Bytes;
use http::StatusCode;

use crate::mcp::{error::code, message::Peek, splice::Splice};

/// What a modern client knows for a legacy server's code; `None`: the same.
pub(super) fn for_modern(code: i64) -> Option<i64> {
    (code == code::RESOURCE_NOT_FOUND).then_some(code::INVALID_PARAMS)
}

/// The HTTP status with which a modern client gets an answer that came with this one.
pub(super) fn modern_status(answer: &[u8], status: StatusCode) -> StatusCode {
    let code = Peek::new(answer).ok().and_then(|answer| answer.error_code());
    match code {
        Some(code::METHOD_NOT_FOUND) if status.is_success() => StatusCode::NOT_FOUND,
        _ => status,
    }
}

/// What a legacy client knows for a modern server's code, in answer to `resources/read` if it `reads`; `None`: the
/// same.
fn for_legacy(code: i64, reads: bool) -> Option<i64> {
    match code {
        code::INVALID_PARAMS if reads => Some(code::RESOURCE_NOT_FOUND),
        code::MISSING_CLIENT_CAPABILITY => Some(code::INPUT_REQUIRED),
        code::HEADER_MISMATCH | code::UNSUPPORTED_VERSION => Some(code::of_status(StatusCode::BAD_GATEWAY.as_u16())),
        _ => None,
    }
}

/// A modern server's answer, as a legacy client knows it.
pub(super) fn to_legacy(answer: Bytes, reads: bool) -> Bytes {
    let Ok(peek) = Peek::new(&answer) else { return answer };
    let Some(other) = peek.error_code().and_then(|code| for_legacy(code, reads)) else {
        return answer;
    };
    let mut splice = Splice::new(&answer);
    if let Some(part) = peek.error_code_part() {
        splice.replace(part.span(), other.to_string());
    }
    splice.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legacy(code: i64, reads: bool) -> String {
        let answer = format!(r#"{{"id":1,"error":{{"data":[1.0],"code":{code},"message":"m"}}}}"#);
        let changed = to_legacy(Bytes::from(answer), reads);
        String::from_utf8(changed.to_vec()).unwrap()
    }

    #[test]
    fn a_legacy_client_gets_no_code_that_only_the_modern_era_has() {
        for (code, reads, other) in [
            (-32602, true, -32002),
            (-32602, false, -32602),
            (-32021, false, 4090),
            (-32020, true, 50200),
            (-32022, false, 50200),
            (-32603, true, -32603),
            (7, true, 7),
        ] {
            let expected = format!(r#"{{"id":1,"error":{{"data":[1.0],"code":{other},"message":"m"}}}}"#);
            assert_eq!(legacy(code, reads), expected, "{code}");
        }
        let result = Bytes::from_static(br#"{"id":1,"result":{"code":-32021}}"#);
        assert_eq!(to_legacy(result.clone(), true), result);
    }

    #[test]
    fn a_modern_client_hears_by_the_status_too_that_there_is_no_such_method() {
        let unknown = br#"{"id":1,"error":{"code":-32601,"message":"m"}}"#;
        assert_eq!(modern_status(unknown, StatusCode::OK), 404);
        assert_eq!(modern_status(unknown, StatusCode::BAD_GATEWAY), 502);
        assert_eq!(
            modern_status(br#"{"id":1,"error":{"code":-32602}}"#, StatusCode::OK),
            200
        );
        assert_eq!((for_modern(-32002), for_modern(-32601)), (Some(-32602), None));
    }
}
