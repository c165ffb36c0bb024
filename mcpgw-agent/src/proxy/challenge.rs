//! What clients without a good token are told: the `WWW-Authenticate` of RFC 6750, and where they find an
//! authorization server (RFC 9728). What names this gateway is its public URL, never a `Host` header.

use std::fmt::Write;

use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;

use crate::{
    identity::jwt::Refusal,
    policy::Plan,
    resources::{Issuer, Settings},
};

/// Where the metadata of a resource is, between its host and its path.
pub(super) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What is wrong with a token, in the words of RFC 6750.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// Another token may do.
    InvalidToken,
    /// A token of the same issuer with more scopes will do.
    InsufficientScope,
}

/// `WWW-Authenticate` for a request to a path of the gateway, or on the redirected path, which has no metadata: its
/// URL is the server's.
pub(super) fn header(plan: &Plan, path: Option<&str>, error: Option<(Error, Refusal)>) -> HeaderValue {
    let settings = &plan.settings;
    let mut challenge = r#"Bearer realm="mcpgw""#.to_owned();
    if let Some((error, refusal)) = error {
        let error = match error {
            Error::InvalidToken => "invalid_token",
            Error::InsufficientScope => "insufficient_scope",
        };
        // Writing to a string cannot fail.
        let _ = write!(challenge, r#", error="{error}", error_description="{refusal}""#);
    }
    let scopes = scopes(settings);
    if !scopes.is_empty() {
        let _ = write!(challenge, r#", scope="{}""#, scopes.join(" "));
    }
    if let (Some(url), Some(path)) = (&settings.public_url, path)
        && servers(settings).next().is_some()
    {
        let _ = write!(challenge, r#", resource_metadata="{}""#, metadata_url(url, path));
    }
    // URLs and scopes are ASCII without quotes by the schema.
    HeaderValue::from_str(&challenge).unwrap_or(HeaderValue::from_static(r#"Bearer realm="mcpgw""#))
}

/// The metadata of the resource at a path of the gateway, or of the gateway itself for an empty one; `None` where there
/// is no authorization server to tell of.
pub(super) fn metadata(plan: &Plan, path: &str) -> Option<Bytes> {
    #[derive(Serialize)]
    struct Metadata<'a> {
        resource: String,
        authorization_servers: Vec<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        scopes_supported: Vec<&'a str>,
        bearer_methods_supported: [&'static str; 1],
        resource_name: &'static str,
    }
    let settings = &plan.settings;
    let url = settings.public_url.as_deref()?;
    let metadata = Metadata {
        resource: format!("{url}{path}"),
        authorization_servers: servers(settings).map(|issuer| &*issuer.issuer).collect(),
        scopes_supported: scopes(settings),
        bearer_methods_supported: ["header"],
        resource_name: "mcpgw",
    };
    let tells = !metadata.authorization_servers.is_empty();
    tells
        .then(|| serde_json::to_vec(&metadata).ok().map(Bytes::from))
        .flatten()
}

/// The path of the resource whose metadata is at this path of ours; `None` where no metadata is. A front proxy may
/// leave the path of the public URL in place, or take it away.
pub(super) fn resource_of<'a>(settings: &Settings, path: &'a str) -> Option<&'a str> {
    let path = path.strip_prefix(WELL_KNOWN)?.trim_end_matches('/');
    let below = settings.public_url.as_deref().map_or("", |url| split(url).1);
    let rest = path
        .strip_prefix(below)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let path = rest.unwrap_or(path);
    (path.is_empty() || path.starts_with('/')).then_some(path)
}

/// Where a client finds the metadata of the resource at a path below a URL.
fn metadata_url(url: &str, path: &str) -> String {
    let (origin, below) = split(url);
    format!("{origin}{WELL_KNOWN}{below}{path}")
}

/// Scheme and host of a URL, and its path.
fn split(url: &str) -> (&str, &str) {
    let host = url.find("://").map_or(0, |scheme| scheme + "://".len());
    let path = url[host..].find('/').map_or(url.len(), |path| host + path);
    url.split_at(path)
}

fn servers(settings: &Settings) -> impl Iterator<Item = &Issuer> {
    settings
        .issuers
        .iter()
        .map(|issuer| &**issuer)
        .filter(|issuer| issuer.oauth.is_some())
}

/// The scopes that any of the authorization servers is asked for, each once.
fn scopes(settings: &Settings) -> Vec<&str> {
    let mut scopes: Vec<&str> = Vec::new();
    for scope in servers(settings).flat_map(|issuer| issuer.oauth.iter().flat_map(|oauth| &oauth.scopes)) {
        if !scopes.contains(&&**scope) {
            scopes.push(scope);
        }
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_of_a_resource_is_between_its_host_and_its_path() {
        for (url, path, expected) in [
            (
                "https://a.example",
                "/mcp",
                "https://a.example/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "https://a.example:8443/gw",
                "/mcp/x",
                "https://a.example:8443/.well-known/oauth-protected-resource/gw/mcp/x",
            ),
        ] {
            assert_eq!(metadata_url(url, path), expected);
        }
    }

    #[test]
    fn metadata_is_found_behind_a_front_proxy_that_strips_the_path_and_one_that_does_not() {
        let settings = Settings {
            public_url: Some("https://a.example/gw".into()),
            ..Settings::default()
        };
        let of = |path: &str| resource_of(&settings, path).map(ToOwned::to_owned);
        assert_eq!(of("/.well-known/oauth-protected-resource").as_deref(), Some(""));
        assert_eq!(of("/.well-known/oauth-protected-resource/mcp").as_deref(), Some("/mcp"));
        assert_eq!(
            of("/.well-known/oauth-protected-resource/gw/mcp").as_deref(),
            Some("/mcp")
        );
        assert_eq!(of("/.well-known/oauth-protected-resource/gwx").as_deref(), Some("/gwx"));
        assert_eq!(of("/.well-known/oauth-protected-resourcex"), None);
        assert_eq!(of("/mcp"), None);
    }
}
