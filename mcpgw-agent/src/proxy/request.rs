//! What is refused by the head of a request alone, before its body is read.
//!
//! Which origins a browser may send requests from, the gateway decides for its own address. A server that a client
//! dialled itself decides for its own: only it knows the names by which it is reached, and where pages name their own
//! host, as after DNS rebinding, `Host` and `Origin` agree. It gets `Origin` as it came, and one of it.

use http::{HeaderMap, HeaderName, Method, StatusCode, Version, header, request::Parts};

use super::{
    limits::{MAX_HEADER_BYTES, MAX_HEADERS},
    refused::Refused,
};

/// Headers of which two could be read as the one or as the other.
const ONCE: [(HeaderName, &str, &str); 2] = [
    (header::HOST, "ambiguous_host", "More than one Host header"),
    (header::ORIGIN, "ambiguous_origin", "More than one Origin header"),
];

/// Checks the head of a request.
pub(super) fn check(head: &Parts) -> Result<(), Refused> {
    if !matches!(head.version, Version::HTTP_11 | Version::HTTP_2) {
        // HTTP/1.0 ends some answers by closing, where half an answer looks like a whole one.
        let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
        return Err(Refused::new(status, "http_version", "Only HTTP/1.1 and HTTP/2 are supported").closing());
    }
    if head.headers.len() > MAX_HEADERS || size(head) > MAX_HEADER_BYTES {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refused::new(status, "headers_too_large", "Request headers are too large").closing());
    }
    if !matches!(head.method, Method::POST | Method::GET | Method::DELETE | Method::HEAD) {
        return Err(Refused::method("method"));
    }
    if wants_upgrade(&head.headers) {
        return Err(Refused::method("upgrade"));
    }
    for (name, reason, message) in ONCE {
        if head.headers.get_all(name).iter().count() > 1 {
            return Err(Refused::new(StatusCode::BAD_REQUEST, reason, message));
        }
    }
    Ok(())
}

/// Size on the wire, near enough.
fn size(head: &Parts) -> usize {
    let separators = ": \r\n".len();
    let line =
        |(name, value): (&header::HeaderName, &header::HeaderValue)| name.as_str().len() + value.len() + separators;
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    target + head.headers.iter().map(line).sum::<usize>()
}

/// Whether the client asks for another protocol than HTTP. The offer of HTTP/2 that some clients (Java's)
/// make on every first request is left unanswered instead, as HTTP allows.
fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::UPGRADE)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"h2c"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn reason(request: http::request::Builder) -> Option<&'static str> {
        check(&request.body(()).unwrap().into_parts().0)
            .err()
            .map(|refused| refused.reason)
    }

    #[test]
    fn plain_requests_pass() {
        for method in ["POST", "GET", "DELETE", "HEAD"] {
            assert_eq!(
                reason(Request::builder().method(method).uri("/mcp?x=1").header("host", "a")),
                None
            );
        }
        assert_eq!(reason(Request::post("/mcp").header("upgrade", "h2c")), None);
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_name() {
        let many = (0..=MAX_HEADERS).fold(Request::post("/mcp"), |request, n| request.header(format!("x-{n}"), ""));
        for (request, why) in [
            (Request::post("/mcp").version(Version::HTTP_10), "http_version"),
            (
                Request::post("/mcp").header("x", "y".repeat(MAX_HEADER_BYTES)),
                "headers_too_large",
            ),
            (
                Request::get(format!("/{}", "y".repeat(60_000))).header("x", "y".repeat(6_000)),
                "headers_too_large",
            ),
            (many, "headers_too_large"),
            (Request::put("/mcp"), "method"),
            (Request::connect("a:80"), "method"),
            (Request::get("/mcp").header("upgrade", "websocket"), "upgrade"),
            (
                Request::get("/mcp").header("host", "a").header("host", "b"),
                "ambiguous_host",
            ),
            (
                Request::post("/mcp")
                    .header("origin", "http://a")
                    .header("origin", "http://b"),
                "ambiguous_origin",
            ),
        ] {
            assert_eq!(reason(request), Some(why));
        }
    }
}
