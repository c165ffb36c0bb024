//! Headers that pass say what the body says. The input: a line for each of Content-Type, Mcp-Method and Mcp-Name (an
//! empty one: no such header), then the body.
#![no_main]

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use mcpgw_agent::mcp::{
    Envelope,
    headers::{MCP_METHOD, MCP_NAME, check_claims, check_content},
};

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(4, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in [header::CONTENT_TYPE.as_str(), MCP_METHOD, MCP_NAME] {
        let value = parts.next().unwrap_or_default();
        if let (false, Ok(value)) = (value.is_empty(), HeaderValue::from_bytes(value)) {
            headers.insert(http::HeaderName::from_bytes(name.as_bytes()).expect("a name"), value);
        }
    }
    if check_content(&headers).is_ok() {
        let media = headers[header::CONTENT_TYPE].to_str().expect("plain text");
        assert!(media.trim_start().to_ascii_lowercase().starts_with("application/json"));
    }
    let Ok(envelope) = Envelope::parse(parts.next().unwrap_or_default()) else {
        return;
    };
    if check_claims(&headers, &envelope).is_err() {
        return;
    }
    // A claim in plain text is the body's word; other forms of it the check has decoded.
    for (name, said) in [(MCP_METHOD, envelope.method.as_deref()), (MCP_NAME, envelope.subject())] {
        if let Some(claim) = headers.get(name) {
            let said = said.expect("a claim that passes is about something");
            assert!(claim.as_bytes() == said.as_bytes() || claim.as_bytes().starts_with(b"=?base64?"));
        }
    }
});
