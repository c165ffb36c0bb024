//! Which paths of a governed address are served.

use http::Method;

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

/// The route of a request to a server whose MCP endpoint is at `endpoint`. The path is not ambiguous.
pub(super) fn route(endpoint: &str, method: &Method, path: &str) -> Route {
    let reading = matches!(*method, Method::GET | Method::HEAD);
    if path == endpoint || path.strip_suffix('/') == Some(endpoint) {
        Route::Mcp
    } else if reading && path.starts_with(OAUTH_METADATA) {
        Route::Open
    } else {
        Route::Closed
    }
}

/// Whether servers may read a path in different ways: percent-encoding, dot segments, empty segments,
/// backslashes,
/// path parameters.
pub(super) fn is_ambiguous(path: &str) -> bool {
    let dots = |segment: &str| matches!(segment, "." | "..");
    !path.starts_with('/') || path.contains(['%', '\\', ';']) || path.contains("//") || path.split('/').any(dots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_its_path_and_its_path_with_a_slash() {
        for path in ["/mcp", "/mcp/"] {
            assert_eq!(route("/mcp", &Method::POST, path), Route::Mcp);
        }
        for path in ["/", "/mcp/x", "/mcpx", "/MCP", "/mcp;x"] {
            assert_eq!(route("/mcp", &Method::POST, path), Route::Closed, "{path}");
        }
        assert_eq!(route("/", &Method::POST, "/"), Route::Mcp);
        assert_eq!(route("/", &Method::POST, "/x"), Route::Closed);
    }

    #[test]
    fn oauth_metadata_may_be_read_and_nothing_else() {
        let metadata = "/.well-known/oauth-protected-resource/mcp";
        assert_eq!(route("/mcp", &Method::GET, metadata), Route::Open);
        assert_eq!(route("/mcp", &Method::HEAD, metadata), Route::Open);
        assert_eq!(route("/mcp", &Method::POST, metadata), Route::Closed);
        assert_eq!(route("/mcp", &Method::GET, "/.well-known/other"), Route::Closed);
    }

    #[test]
    fn a_path_with_several_readings_is_ambiguous() {
        for path in [
            "/%6dcp",
            "/x/../mcp",
            "/./mcp",
            "/mcp/..",
            "//mcp",
            "/mcp//",
            "/mcp\\x",
            "/.well-known/oauth-x/..;/env",
            "",
            "*",
            "mcp",
        ] {
            assert!(is_ambiguous(path), "{path}");
        }
        for path in ["/", "/mcp", "/mcp/", "/.well-known/oauth-x", "/a..b/.c"] {
            assert!(!is_ambiguous(path), "{path}");
        }
    }
}
