//! What the HTTP headers say about the body. Headers are claims: a decision is made on the body, and a
//! header that says something else is refused, because the server might believe it.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, header};

use super::Envelope;

/// Names the method, from revision 2026-07-28 on.
pub const MCP_METHOD: &str = "mcp-method";
/// Names the tool, prompt, resource or task, from revision 2026-07-28 on.
pub const MCP_NAME: &str = "mcp-name";

/// Names the revision.
pub const MCP_PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// Names the session, up to revision 2025-11-25.
pub const MCP_SESSION_ID: &str = "mcp-session-id";

/// The longest id of a session that a server may give, in bytes.
pub const MAX_SESSION_ID: usize = 1_024;
/// The longest name of a revision that a server may choose, in bytes.
pub const MAX_REVISION_NAME: usize = 64;

const BASE64_PREFIX: &str = "=?base64?";
const BASE64_SUFFIX: &str = "?=";

/// Why a request is refused for its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// HTTP 415.
    #[error("Content-Type must be application/json, in UTF-8")]
    ContentType,
    /// HTTP 415: what cannot be read cannot be governed.
    #[error("Content-Encoding is not supported")]
    ContentEncoding,
    /// HTTP 400, code -32020; the word is the header's name.
    #[error("Header mismatch: {0} does not match the request body")]
    Mismatch(&'static str),
}

/// Checks that the body is what this gateway can read: one `Content-Type: application/json`, not encoded.
pub fn check_content(headers: &HeaderMap) -> Result<(), HeaderError> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (Some(value), None) if is_json(value) => {}
        _ => return Err(HeaderError::ContentType),
    }
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        Ok(())
    } else {
        Err(HeaderError::ContentEncoding)
    }
}

/// Checks every `Mcp-Method` and `Mcp-Name` of a legacy request against the body; absent headers claim nothing. Of
/// modern requests [`super::modern::check`] demands more.
pub fn check_claims(headers: &HeaderMap, envelope: &Envelope<'_>) -> Result<(), HeaderError> {
    let agrees = |name: &'static str, said: Option<&str>| {
        let matches = |value: &HeaderValue| said.is_some_and(|said| decoded(value).is_some_and(|value| value == said));
        if headers.get_all(name).iter().all(matches) {
            Ok(())
        } else {
            Err(HeaderError::Mismatch(name))
        }
    };
    agrees(MCP_METHOD, envelope.method.as_deref())?;
    agrees(MCP_NAME, envelope.subject())
}

/// A server gave a session an id of more than [`MAX_SESSION_ID`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it gave a session id of more than {MAX_SESSION_ID} bytes")]
pub struct LongSessionId;

/// The id that a server gave a session, to be kept: in memory of its own, not in that of the answer that it came with.
pub fn session_id(headers: &HeaderMap) -> Result<Option<HeaderValue>, LongSessionId> {
    let Some(id) = headers.get(MCP_SESSION_ID) else {
        return Ok(None);
    };
    if id.len() > MAX_SESSION_ID {
        return Err(LongSessionId);
    }
    Ok(HeaderValue::from_bytes(id.as_bytes()).ok())
}

/// The id that a server gave a session, however long: of one that cannot be kept, so that it can be ended.
pub fn any_session_id(headers: &HeaderMap) -> Option<HeaderValue> {
    session_id(headers).unwrap_or_else(|LongSessionId| headers.get(MCP_SESSION_ID).cloned())
}

/// The revision that a server chose, to be kept: one that is not known here too, in a name of a sensible length.
pub fn revision(chosen: &str) -> Option<HeaderValue> {
    let is_short = chosen.len() <= MAX_REVISION_NAME;
    is_short.then(|| HeaderValue::from_str(chosen).ok()).flatten()
}

fn is_json(value: &HeaderValue) -> bool {
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.split(';').map(str::trim);
    let json = parts
        .next()
        .is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    json && parts.all(|parameter| match parameter.split_once('=') {
        Some((name, charset)) if name.trim().eq_ignore_ascii_case("charset") => {
            charset.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        // `charset*=` and the like say it in a way that some servers hear and others do not.
        _ => false,
    })
}

/// The text of a header, also in its `=?base64?…?=` form; `None` if it cannot be decoded.
fn decoded(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    match text
        .strip_prefix(BASE64_PREFIX)
        .and_then(|rest| rest.strip_suffix(BASE64_SUFFIX))
    {
        Some(encoded) => String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?)
            .ok()
            .map(Cow::Owned),
        None => Some(Cow::Borrowed(text)),
    }
}

/// The text of a header that has none but the characters that the specification allows: what [`encoded`] writes.
pub(super) fn decoded_strictly(value: &HeaderValue) -> Option<Cow<'_, str>> {
    value.to_str().ok()?;
    decoded(value)
}

/// A text as the value of `Mcp-Name` or `Mcp-Param-…`: as it is, or in its `=?base64?…?=` form where it would not
/// come through unchanged, or could be taken for that form.
pub fn encoded(text: &str) -> Option<HeaderValue> {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
        && text.trim_ascii() == text
        && !(text.starts_with(BASE64_PREFIX) && text.ends_with(BASE64_SUFFIX));
    match plain {
        true => HeaderValue::from_str(text).ok(),
        false => HeaderValue::try_from([BASE64_PREFIX, &BASE64_STANDARD.encode(text), BASE64_SUFFIX].concat()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    fn claims(pairs: &[(&'static str, &str)]) -> Result<(), HeaderError> {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"größe"}}"#;
        check_claims(&headers(pairs), &Envelope::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn absent_and_equal_claims_pass() {
        assert_eq!(claims(&[]), Ok(()));
        assert_eq!(
            claims(&[("mcp-method", "tools/call"), ("mcp-name", "=?base64?Z3LDtsOfZQ==?=")]),
            Ok(())
        );
        assert_eq!(
            claims(&[("mcp-name", "größe"), ("mcp-name", "=?base64?Z3LDtsOfZQ==?=")]),
            Ok(())
        );
    }

    #[test]
    fn a_claim_that_differs_is_refused_also_as_the_second_one() {
        assert_eq!(
            claims(&[("mcp-method", "tools/list")]),
            Err(HeaderError::Mismatch(MCP_METHOD))
        );
        assert_eq!(
            claims(&[("mcp-name", "größe"), ("mcp-name", "add")]),
            Err(HeaderError::Mismatch(MCP_NAME))
        );
        assert_eq!(
            claims(&[("mcp-name", "=?base64?!?=")]),
            Err(HeaderError::Mismatch(MCP_NAME))
        );
    }

    #[test]
    fn a_claim_about_nothing_is_refused() {
        let envelope = Envelope::parse(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#).unwrap();
        assert!(check_claims(&headers(&[("mcp-method", "ping")]), &envelope).is_err());
    }

    #[test]
    fn what_is_written_into_a_header_reads_as_it_was() {
        for plain in ["add", "us west\t1", "file:///a?b=c", ""] {
            assert_eq!(encoded(plain).unwrap(), plain);
        }
        for (text, written) in [
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            let value = encoded(text).unwrap();
            assert_eq!(value, written);
            assert_eq!(decoded_strictly(&value).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_canonical_base64_is_not_decoded() {
        for bad in [
            "=?base64?YQ?=",
            "=?base64?YR==?=",
            "=?base64?/w==?=",
            "=?base64? YQ==?=",
        ] {
            assert_eq!(decoded(&HeaderValue::from_static(bad)), None, "{bad}");
        }
        assert!(decoded_strictly(&HeaderValue::from_bytes("größe".as_bytes()).unwrap()).is_none());
    }

    #[test]
    fn what_is_kept_of_a_servers_session_has_its_own_memory_and_an_end() {
        let given = |length: usize| headers(&[(MCP_SESSION_ID, &"s".repeat(length))]);
        let longest = given(MAX_SESSION_ID);
        let kept = session_id(&longest).unwrap().unwrap();
        assert_eq!(kept, longest[MCP_SESSION_ID]);
        assert_ne!(kept.as_bytes().as_ptr(), longest[MCP_SESSION_ID].as_bytes().as_ptr());
        assert_eq!(session_id(&given(MAX_SESSION_ID + 1)), Err(LongSessionId));
        assert_eq!(session_id(&headers(&[])), Ok(None));
        assert_eq!(revision("2030-01-01").unwrap(), "2030-01-01");
        assert!(revision(&"2".repeat(MAX_REVISION_NAME)).is_some());
        assert!(revision(&"2".repeat(MAX_REVISION_NAME + 1)).is_none());
        assert!(revision("2030\n").is_none());
    }

    #[test]
    fn only_plain_json_is_read() {
        let content = |pairs: &[(&'static str, &str)]| check_content(&headers(pairs));
        assert_eq!(content(&[("content-type", "application/json")]), Ok(()));
        assert_eq!(content(&[("content-type", "Application/JSON; charset=UTF-8")]), Ok(()));
        assert_eq!(
            content(&[("content-type", "application/json"), ("content-encoding", "identity")]),
            Ok(())
        );
        for bad in [
            "text/plain",
            "application/json-seq",
            "application/json; charset=utf-16",
            "",
        ] {
            assert_eq!(
                content(&[("content-type", bad)]),
                Err(HeaderError::ContentType),
                "{bad}"
            );
        }
        assert_eq!(content(&[]), Err(HeaderError::ContentType));
        let twice = [
            ("content-type", "application/json"),
            ("content-type", "application/json"),
        ];
        assert_eq!(content(&twice), Err(HeaderError::ContentType));
        let encoded = [("content-type", "application/json"), ("content-encoding", "gzip")];
        assert_eq!(content(&encoded), Err(HeaderError::ContentEncoding));
    }
}
