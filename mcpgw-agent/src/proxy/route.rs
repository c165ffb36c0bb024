//! Which paths of a governed address are served.

use std::borrow::Cow;

use http::Method;

use crate::resources::{Server, Transport};

/// Where clients look for a server's OAuth metadata.
const OAUTH_METADATA: &str = "/.well-known/oauth-";

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The server's MCP endpoint.
    Mcp,
    /// A path that passes without a look at it.
    Open,
    /// None that is served.
    Closed,
}

/// The route of a request to a server, by its normal path.
pub(super) fn route(server: &Server, method: &Method, path: &str) -> Route {
    let reading = matches!(*method, Method::GET | Method::HEAD);
    let is_endpoint = path == &*server.path || path.strip_suffix('/') == Some(&*server.path);
    // The stream of an HTTP+SSE server tells where to post, which may be any path; what is posted is MCP.
    let posts_anywhere = server.transport == Transport::Sse && *method == Method::POST;
    if is_endpoint && *method != Method::HEAD || posts_anywhere {
        Route::Mcp
    } else if reading && (path.starts_with(OAUTH_METADATA) || server.other_paths.iter().any(|open| **open == *path)) {
        Route::Open
    } else {
        Route::Closed
    }
}

/// Whether a path has one reading only, so that a server reads it as we do.
pub(super) fn is_plain(path: &str) -> bool {
    let dots = |segment: &str| matches!(segment, "." | "..");
    path.starts_with('/') && !path.contains(['%', '\\', ';']) && !path.contains("//") && !path.split('/').any(dots)
}

/// The one path that all spellings of it mean: percent-encoding decoded, dot segments and empty segments gone.
/// `None` where servers may read it in different ways even so.
pub(super) fn normal(path: &str) -> Option<Cow<'_, str>> {
    if is_plain(path) {
        return Some(Cow::Borrowed(path));
    }
    let decoded = percent_decoded(path)?;
    // What is still encoded was encoded twice; a backslash and a parameter are a separator to some.
    if !decoded.starts_with('/') || decoded.contains(['%', '\\', ';']) || decoded.contains(char::is_control) {
        return None;
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            // Above the root there is nothing: whoever writes that means something else.
            ".." => drop(segments.pop()?),
            segment => segments.push(segment),
        }
    }
    let mut normal = segments
        .iter()
        .fold(String::new(), |path, segment| path + "/" + segment);
    if decoded.ends_with('/') || normal.is_empty() {
        normal.push('/');
    }
    Some(Cow::Owned(normal))
}

/// `None` for an encoding that is none, and for an encoded slash: some servers see a separator there.
fn percent_decoded(path: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || (bytes.next()? as char).to_digit(16);
        let byte = (digit()? * 16 + digit()?) as u8;
        if byte == b'/' {
            return None;
        }
        decoded.push(byte);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::ObjectName;

    fn server(path: &str) -> Server {
        let name = ObjectName {
            namespace: "tools".into(),
            name: "calc".into(),
        };
        Server {
            path: path.into(),
            other_paths: vec!["/health".into()],
            ..Server::at(name, vec![])
        }
    }

    #[test]
    fn the_endpoint_is_its_path_and_its_path_with_a_slash() {
        for path in ["/mcp", "/mcp/"] {
            assert_eq!(route(&server("/mcp"), &Method::POST, path), Route::Mcp);
        }
        for path in ["/", "/mcp/x", "/mcpx", "/MCP", "/health"] {
            assert_eq!(route(&server("/mcp"), &Method::POST, path), Route::Closed, "{path}");
        }
        assert_eq!(route(&server("/mcp"), &Method::HEAD, "/mcp"), Route::Closed);
        assert_eq!(route(&server("/"), &Method::POST, "/"), Route::Mcp);
        assert_eq!(route(&server("/"), &Method::POST, "/x"), Route::Closed);
    }

    #[test]
    fn an_http_sse_server_may_be_posted_to_at_any_path_and_it_is_mcp() {
        let server = Server {
            transport: Transport::Sse,
            ..server("/sse")
        };
        assert_eq!(route(&server, &Method::POST, "/messages/"), Route::Mcp);
        assert_eq!(route(&server, &Method::GET, "/messages/"), Route::Closed);
    }

    #[test]
    fn oauth_metadata_and_listed_paths_may_be_read_and_nothing_else() {
        let metadata = "/.well-known/oauth-protected-resource/mcp";
        let server = server("/mcp");
        assert_eq!(route(&server, &Method::GET, metadata), Route::Open);
        assert_eq!(route(&server, &Method::HEAD, metadata), Route::Open);
        assert_eq!(route(&server, &Method::GET, "/health"), Route::Open);
        assert_eq!(route(&server, &Method::POST, metadata), Route::Closed);
        assert_eq!(route(&server, &Method::GET, "/.well-known/other"), Route::Closed);
    }

    #[test]
    fn all_spellings_of_a_path_are_one() {
        for path in [
            "/mcp",
            "/%6dcp",
            "/%6Dcp",
            "//mcp",
            "/./mcp",
            "/x/../mcp",
            "///x//..//mcp",
        ] {
            assert_eq!(normal(path).as_deref(), Some("/mcp"), "{path}");
        }
        for path in ["/mcp/", "/mcp//", "/mcp/.", "/mcp/x/.."] {
            let normal = normal(path).unwrap();
            assert_eq!(normal.trim_end_matches('/'), "/mcp", "{path}");
        }
        assert_eq!(normal("/a..b/.c").as_deref(), Some("/a..b/.c"));
        assert_eq!(normal("/.").as_deref(), Some("/"));
    }

    #[test]
    fn what_can_be_read_in_several_ways_is_no_path() {
        for path in [
            "",
            "*",
            "mcp",
            "/..",
            "/x/../../mcp",
            "/mcp%2Fx",
            "/%256dcp",
            "/mcp;x",
            "/%3b",
            "/mcp\\x",
            "/%5c",
            "/%00",
            "/%",
            "/%6",
            "/%zz",
            "/%ff",
        ] {
            assert_eq!(normal(path), None, "{path}");
        }
    }
}
