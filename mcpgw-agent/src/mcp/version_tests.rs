use http::HeaderValue;
use serde_json::{Value, json};

use super::*;

fn headers(versions: &[&'static str]) -> HeaderMap {
    let pair = |version: &&'static str| {
        (
            http::HeaderName::from_static(MCP_PROTOCOL_VERSION),
            HeaderValue::from_static(version),
        )
    };
    let mut headers = HeaderMap::new();
    for (name, value) in versions.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

fn era_of(versions: &[&'static str], method: &str, params: Value) -> Era {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    era(&headers(versions), &Envelope::parse(body.as_bytes()).unwrap())
}

fn claiming(version: impl Into<Value>) -> Value {
    json!({"_meta": {"io.modelcontextprotocol/protocolVersion": version.into()}})
}

#[test]
fn revisions_are_ordered_by_date_and_read_back() {
    assert!(Revision::ALL.is_sorted_by(|newer, older| newer > older));
    for revision in Revision::ALL {
        assert_eq!(revision.as_str().parse(), Ok(revision));
        assert_eq!(Era::of_version(revision.as_str()), revision.era());
    }
    assert_eq!("2025-03-27".parse::<Revision>(), Err(UnknownRevision));
}

#[test]
fn a_bare_request_is_legacy_and_its_revision_is_2025_03_26() {
    assert_eq!(era_of(&[], "tools/list", json!({})), Era::Legacy);
    assert_eq!(Revision::of_headers(&headers(&[])), Ok(Revision::V2025_03_26));
    assert_eq!(
        Revision::of_headers(&headers(&["2025-06-18"])),
        Ok(Revision::V2025_06_18)
    );
    assert_eq!(Revision::of_headers(&headers(&["2024-10-07"])), Err(UnknownRevision));
    assert_eq!(
        Revision::of_headers(&headers(&["2025-06-18", "2025-03-26"])),
        Err(UnknownRevision)
    );
}

#[test]
fn a_version_from_2026_07_28_on_is_modern_in_the_header_and_in_the_body() {
    for version in ["2026-07-28", "2026-07-29", "2099-01-01", "DRAFT-2027"] {
        assert_eq!(era_of(&[version], "tools/list", json!({})), Era::Modern, "{version}");
        assert_eq!(era_of(&[], "tools/list", claiming(version)), Era::Modern, "{version}");
        assert_eq!(
            era_of(&["2025-11-25"], "tools/list", claiming(version)),
            Era::Modern,
            "{version}"
        );
        assert_eq!(
            era_of(&["2025-11-25", version], "tools/list", json!({})),
            Era::Modern,
            "{version}"
        );
    }
    for version in ["2025-11-25", "2024-11-05", "2024-10-07", "1900-01-01"] {
        assert_eq!(era_of(&[version], "tools/list", json!({})), Era::Legacy, "{version}");
    }
}

#[test]
fn what_claims_a_version_in_its_body_is_modern_unless_the_version_is_a_legacy_one() {
    assert_eq!(
        era_of(&["1900-01-01"], "tools/list", claiming("1900-01-01")),
        Era::Modern
    );
    assert_eq!(era_of(&[], "tools/list", claiming(7)), Era::Modern);
    assert_eq!(
        era_of(&["2025-11-25"], "tools/list", claiming("2025-11-25")),
        Era::Legacy
    );
    assert_eq!(
        era_of(&["2026-07-28"], "tools/list", claiming("2025-11-25")),
        Era::Modern
    );
}

#[test]
fn initialize_is_legacy_whatever_it_asks_for_unless_its_body_has_modern_metadata() {
    let asks = json!({"protocolVersion": "2026-07-28"});
    assert_eq!(era_of(&["2026-07-28"], "initialize", asks), Era::Legacy);
    assert_eq!(
        era_of(&["2026-07-28"], "initialize", claiming("2026-07-28")),
        Era::Modern
    );
}

#[test]
fn what_only_the_modern_era_has_is_modern() {
    assert_eq!(era_of(&[], "server/discover", json!({})), Era::Modern);
    assert_eq!(era_of(&[], "subscriptions/listen", json!({})), Era::Modern);
    assert_eq!(era_of(&[], "ping", json!({})), Era::Legacy);
}

#[test]
fn initialize_is_answered_with_what_is_asked_for_or_with_2025_11_25() {
    assert_eq!(Revision::negotiated(Some("2025-06-18")), Revision::V2025_06_18);
    for asked in [Some("2026-07-28"), Some("2099-01-01"), Some(""), None] {
        assert_eq!(Revision::negotiated(asked), Revision::V2025_11_25, "{asked:?}");
    }
}
