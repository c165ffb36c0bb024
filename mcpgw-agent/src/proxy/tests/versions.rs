//! Which version a request names, and what becomes of it at the gateway.

use serde_json::json;

use super::{
    Answer,
    gateway::{ask, desired, request, start},
    modern_server::ModernServer,
    post_modern,
    session_server::SessionServer,
    streams,
};
use crate::mcp::headers::{MAX_REVISION_NAME, MAX_SESSION_ID};

#[tokio::test]
async fn a_legacy_request_that_names_no_version_that_there_is_gets_400() {
    let server = SessionServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let call = request("tools/call", json!({"name": "a_add", "arguments": {}}));
    for (headers, status) in [
        ("", 200),
        ("MCP-Protocol-Version: 2025-06-18\r\n", 200),
        ("MCP-Protocol-Version: 2024-11-05\r\n", 200),
        ("MCP-Protocol-Version: 1900-01-01\r\n", 400),
        ("MCP-Protocol-Version: \r\n", 400),
        (
            "MCP-Protocol-Version: 2025-06-18\r\nMCP-Protocol-Version: 2025-06-18\r\n",
            400,
        ),
    ] {
        let before = server.calls().len();
        let answer = ask(&proxied, headers, &call).await;
        let code = (status == 400).then_some(40000);
        assert_eq!((answer.status, answer.code()), (status, code), "{headers}");
        assert_eq!(server.calls().len() - before, usize::from(status == 200), "{headers}");
        if status == 400 {
            assert_eq!(answer.body["id"], 7);
        }
    }
    // Before it has heard which versions there are, a client may wish for any.
    let params =
        json!({"protocolVersion": "1900-01-01", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
    let wish = "MCP-Protocol-Version: 1900-01-01\r\n";
    let opened = ask(&proxied, wish, &request("initialize", params)).await;
    assert_eq!(opened.body["result"]["protocolVersion"], "2025-11-25", "{opened:?}");
}

#[tokio::test]
async fn a_server_that_begins_a_session_with_more_than_is_kept_has_none() {
    let server = SessionServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let call = request("tools/call", json!({"name": "a_add", "arguments": {}}));
    for (id, revision, why) in [
        (MAX_SESSION_ID + 1, 0, Some("session id")),
        (0, MAX_REVISION_NAME + 1, Some("protocol version")),
        (MAX_SESSION_ID, MAX_REVISION_NAME, None),
    ] {
        server.begin_with(id, revision);
        let answer = ask(&proxied, "", &call).await;
        let said = answer.body["error"]["message"].as_str();
        assert_eq!(answer.status == 200 && said.is_none(), why.is_none(), "{answer:?}");
        assert!(why.is_none_or(|why| said.unwrap().contains(why)), "{answer:?}");
    }
}

#[tokio::test]
async fn the_modern_era_has_no_streams_to_get_and_no_sessions_to_delete() {
    let server = SessionServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let session = streams::session(&proxied, "").await;
    for (version, status) in [("2026-07-28", 405), ("1900-01-01", 400), ("2025-11-25", 200)] {
        for verb in ["GET", "DELETE"] {
            // The stream of a GET that is served has no end.
            if (verb, status) == ("GET", 200) {
                continue;
            }
            let asked = format!(
                "{verb} /mcp HTTP/1.1\r\nHost: a\r\n{session}Accept: text/event-stream\r\n\
                 MCP-Protocol-Version: {version}\r\nConnection: close\r\n\r\n"
            );
            assert_eq!(
                Answer::of(&proxied.exchange(asked).await).status,
                status,
                "{verb} {version}"
            );
        }
    }
}

#[tokio::test]
async fn errors_have_the_codes_and_the_status_of_the_clients_era() {
    let (legacy, modern) = (SessionServer::start().await, ModernServer::start().await);
    let to_legacy = start(desired(&[legacy.address])).await;
    let unknown = Answer::of(&to_legacy.exchange(post_modern("", "vendor/unknown", json!({}))).await);
    assert_eq!((unknown.status, unknown.code()), (404, Some(-32601)), "{unknown:?}");
    let unknown = ask(&to_legacy, "", &request("vendor/unknown", json!({}))).await;
    assert_eq!((unknown.status, unknown.code()), (200, Some(-32601)), "{unknown:?}");
    let to_modern = start(desired(&[modern.address])).await;
    let read = ask(&to_modern, "", &request("resources/read", json!({"uri": "x:y"}))).await;
    assert_eq!((read.status, read.code()), (200, Some(-32002)), "{read:?}");
    for (code, other) in [(-32021, 4090), (-32020, 50200), (-32022, 50200), (-32603, -32603)] {
        let params = json!({"name": "a_greet", "arguments": {"wanted": code}});
        let same = Answer::of(&to_modern.exchange(post_modern("", "tools/call", params.clone())).await);
        assert_eq!((same.status, same.code()), (400, Some(code)), "{same:?}");
        let changed = ask(&to_modern, "", &request("tools/call", params)).await;
        assert_eq!((changed.status, changed.code()), (200, Some(other)), "{changed:?}");
    }
}
