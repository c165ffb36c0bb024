//! URLs: of issuers, of what they publish, and of the gateway itself.

use std::net::IpAddr;

use http::Uri;

use super::{
    bounds::MAX_URL_BYTES,
    fields::{Field, Sink},
    problem::quote,
};

/// The URL at `field`: `https`, or `http` on loopback, where nobody listens in.
pub(super) fn secure(field: &Field, sink: &mut Sink) -> Option<String> {
    let text = field.text(sink)?;
    match check(text) {
        Ok(_) => Some(text.to_owned()),
        Err(reason) => {
            field.report(sink, format!("{} {reason}", quote(text)));
            None
        }
    }
}

/// As [`secure`], for what paths are put behind: it ends without a slash.
pub(super) fn base(field: &Field, sink: &mut Sink) -> Option<String> {
    let text = secure(field, sink)?;
    if text.ends_with('/') {
        let reason = format!("{} ends with \"/\": leave it out", quote(&text));
        field.report(sink, reason);
        return None;
    }
    Some(text)
}

/// Parses a URL that may be asked for keys or tokens: `https`, or `http` on loopback.
pub fn check(text: &str) -> Result<Uri, &'static str> {
    const SHAPE: &str = "is not a URL such as \"https://issuer.example/realm\"";
    let uri: Uri = text.parse().map_err(|_| SHAPE)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(SHAPE);
    };
    if text.len() > MAX_URL_BYTES {
        return Err("is too long");
    }
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(SHAPE);
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("has a query or a fragment, which no such URL has");
    }
    match scheme {
        "https" => Ok(uri),
        "http" if is_loopback(authority.host()) => Ok(uri),
        "http" => Err("is http, and not on loopback: anybody on the way could put other keys in place; use https"),
        _ => Err(SHAPE),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_is_fine_and_http_on_loopback_only() {
        for good in [
            "https://issuer.example",
            "https://issuer.example:8443/realms/x/",
            "http://127.0.0.1:3000",
            "http://localhost/x",
            "http://[::1]:1/x",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "issuer.example",
            "/realm",
            "ftp://issuer.example",
            "http://issuer.example",
            "http://127.0.0.1.example",
            "http://10.0.0.1",
            "https://user@issuer.example",
            "https://issuer.example?x=1",
            "https://issuer.example#x",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&format!("https://a.example/{}", "x".repeat(MAX_URL_BYTES))).is_err());
    }
}
