//! Checks of modern requests, in the order of the reference SDKs: a request with two faults is refused for the
//! same one everywhere.
//!
//! Each routing header once → metadata → version, `Mcp-Method`, `Mcp-Name` as in the body → version supported →
//! `Mcp-Param-…` → method there.

use std::borrow::Cow;

use http::HeaderMap;

use super::{
    Envelope, Kind,
    headers::{MCP_METHOD, MCP_NAME, MCP_PROTOCOL_VERSION, decoded_strictly},
    params::MetaKey,
    version::{Era, Revision},
};
pub use super::{error::Rejection, param_headers::ParamHeaders};

/// Checks a modern message; `parameters` where it is a call of a tool that has some.
///
/// A notification needs no metadata, and no other header than the one that made it modern; what it has must be true.
pub fn check(headers: &HeaderMap, envelope: &Envelope<'_>, parameters: Option<&ParamHeaders>) -> Result<(), Rejection> {
    for name in [MCP_PROTOCOL_VERSION, MCP_METHOD, MCP_NAME] {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(Rejection::header(name, "is there more than once"));
        }
    }
    let (Some(method), Some(known)) = (envelope.method.as_deref(), envelope.known()) else {
        return Err(Rejection::invalid_request(
            "Invalid request: a client sends no responses in this protocol version",
        ));
    };
    // What is sent like a notification but is none is what a server might execute.
    let required = envelope.kind == Kind::Request || !known.is_notification();
    let claimed = metadata(envelope, required)?;

    let header = header(headers, MCP_PROTOCOL_VERSION)?;
    let version = match (&header, &claimed) {
        (Some(header), Some(claimed)) if header == claimed => header,
        (Some(header), None) => header,
        (Some(_), Some(_)) => {
            return Err(Rejection::header(
                MCP_PROTOCOL_VERSION,
                "does not match the request body",
            ));
        }
        // Only what has metadata was modern without it.
        (None, _) => return Err(Rejection::header(MCP_PROTOCOL_VERSION, "is missing")),
    };
    agrees(headers, MCP_METHOD, Some(method), required)?;
    // What this era does not have is refused as that, whatever headers it was sent with.
    let there = known.is_open_to_clients(Era::Modern);
    agrees(headers, MCP_NAME, envelope.subject(), required && there)?;

    if !version.parse().is_ok_and(|revision: Revision| !revision.is_legacy()) {
        return Err(Rejection::unsupported_version(version));
    }
    if let Some(parameters) = parameters {
        parameters.check(headers, envelope.params.arguments)?;
    }
    if !there {
        return Err(Rejection::method_not_found(method));
    }
    Ok(())
}

/// Checks what a request has to say in `_meta`, and returns the version from there.
fn metadata<'a>(envelope: &Envelope<'a>, required: bool) -> Result<Option<Cow<'a, str>>, Rejection> {
    let meta = &envelope.params.meta;
    let version = meta.get(MetaKey::ProtocolVersion);
    let capabilities = meta.get(MetaKey::ClientCapabilities);
    for (key, value) in [
        (MetaKey::ProtocolVersion, version),
        (MetaKey::ClientCapabilities, capabilities),
    ] {
        if required && value.is_none() {
            let message = format!("Invalid params: `params._meta` needs `{}`", key.as_str());
            return Err(Rejection::meta(message));
        }
    }
    let wrong = |key: MetaKey, kind: &str| {
        let message = format!("Invalid params: `{}` in `params._meta` must be {kind}", key.as_str());
        Rejection::meta(message)
    };
    if capabilities.is_some_and(|capabilities| capabilities.members().is_none()) {
        return Err(wrong(MetaKey::ClientCapabilities, "an object"));
    }
    let text = |version: super::part::Part<'a>| {
        version
            .text()
            .ok_or_else(|| wrong(MetaKey::ProtocolVersion, "a string"))
    };
    version.map(text).transpose()
}

/// Checks that a header says what the body says, in whose place there may be nothing to say.
fn agrees(headers: &HeaderMap, name: &'static str, said: Option<&str>, required: bool) -> Result<(), Rejection> {
    match (header(headers, name)?, said) {
        (None, Some(_)) if required => Err(Rejection::header(name, "is missing")),
        (None, _) => Ok(()),
        (Some(header), Some(said)) if header == said => Ok(()),
        (Some(_), _) => Err(Rejection::header(name, "does not match the request body")),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<Cow<'a, str>>, Rejection> {
    let decode = |value| decoded_strictly(value).ok_or_else(|| Rejection::header(name, "cannot be decoded"));
    headers.get(name).map(decode).transpose()
}

#[cfg(test)]
#[path = "modern_tests.rs"]
mod tests;
