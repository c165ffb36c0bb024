//! Requests that are refused before a decision.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use super::{
    Answer, Proxied, call, desired, post, post_and_stay, read_until,
    upstreams::{Upstream, dead},
};
use crate::{
    policy::Plan,
    proxy::limits::{MAX_BODY, MAX_HEADER_BYTES, MAX_HEADERS, READ_BUFFER},
    resources::Capture,
};

/// Sends each request; expects its status and code, one audit line with its reason, and nothing at the server.
async fn refuses(requests: &[(String, u16, i64, &str)]) {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    for (request, status, code, reason) in requests {
        let answer = Answer::of(&proxied.exchange(request).await);
        assert_eq!(
            (answer.status, answer.code()),
            (*status, Some(*code)),
            "{reason}: {answer:?}"
        );
        assert!(answer.head.contains("application/json"), "{}", answer.head);
    }
    assert_eq!(upstream.requests(), 0);
    let metrics = proxied.telemetry.render();
    let lines = proxied.finish().await;
    for ((_, status, _, reason), line) in requests.iter().zip(&lines) {
        assert_eq!(
            (&line["event"], &line["reason"], &line["status"]),
            (&"refused".into(), &(*reason).into(), &(*status).into())
        );
        assert!(
            metrics.contains(&format!("mcpgw_requests_refused_total{{reason=\"{reason}\"}}")),
            "{metrics}"
        );
    }
    assert_eq!(lines.len(), requests.len());
}

#[tokio::test]
async fn bodies_that_cannot_be_governed() {
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","name":"big"}}"#;
    refuses(&[
        (post("", "{not json"), 400, -32700, "invalid_json"),
        (post("", twice), 400, -32600, "duplicate_key"),
        (
            post("MCP-Protocol-Version: 2025-06-18\r\n", &format!("[{}]", call("add"))),
            400,
            -32600,
            "batch",
        ),
        (post("", "[]"), 400, -32600, "batch"),
        (
            post("", r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"x"}"#),
            400,
            -32600,
            "ambiguous_key",
        ),
        (
            post("", r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#),
            400,
            -32602,
            "invalid_envelope",
        ),
    ])
    .await;
}

#[tokio::test]
async fn headers_that_do_not_fit_the_body() {
    let plain = post("", &call("add")).replace("application/json", "text/plain");
    refuses(&[
        (
            post("Mcp-Method: tools/list\r\n", &call("add")),
            400,
            -32020,
            "header_mismatch",
        ),
        (
            post("Mcp-Name: add\r\nMcp-Name: sub\r\n", &call("add")),
            400,
            -32020,
            "header_mismatch",
        ),
        (
            post("Content-Encoding: gzip\r\n", &call("add")),
            415,
            41500,
            "content_encoding",
        ),
        (plain, 415, 41500, "content_type"),
        (post("Host: other\r\n", &call("add")), 400, 40000, "ambiguous_host"),
    ])
    .await;
}

#[tokio::test]
async fn paths_and_verbs_that_are_not_served() {
    let to = |request: String, target: &str| request.replace("POST /mcp", target);
    refuses(&[
        (
            to(post("", &call("add")), "POST /m%2563p"),
            400,
            40000,
            "ambiguous_path",
        ),
        (to(post("", &call("add")), "POST /mcp;x"), 400, 40000, "ambiguous_path"),
        (to(post("", &call("add")), "POST /%61dmin"), 403, 4032, "path"),
        (to(post("", &call("add")), "POST /admin"), 403, 4032, "path"),
        (to(post("", ""), "GET /healthz"), 403, 4032, "path"),
        (to(post("", &call("add")), "PUT /mcp"), 405, 40500, "method"),
        (to(post("", ""), "CONNECT a:80"), 405, 40500, "method"),
        (post("Upgrade: websocket\r\n", &call("add")), 405, 40500, "upgrade"),
        (
            post("", &call("add")).replace("HTTP/1.1", "HTTP/1.0"),
            505,
            50500,
            "http_version",
        ),
    ])
    .await;
}

#[tokio::test]
async fn oversize_bodies_and_headers_get_an_answer_that_arrives() {
    let large = "x".repeat(MAX_BODY + 1);
    let chunked = post("", "").replace("Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n");
    refuses(&[
        (post("", &large), 413, 41300, "body_too_large"),
        (
            format!("{chunked}{:x}\r\n{large}\r\n0\r\n\r\n", large.len()),
            413,
            41300,
            "body_too_large",
        ),
        (
            post(&format!("X: {}\r\n", "y".repeat(MAX_HEADER_BYTES)), &call("add")),
            431,
            43100,
            "headers_too_large",
        ),
        (
            post(&"X: y\r\n".repeat(MAX_HEADERS + 1), &call("add")),
            431,
            43100,
            "headers_too_large",
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_http_itself_refuses_is_counted_and_audited() {
    let proxied = Proxied::start(dead().await).await;
    let bad = proxied.exchange("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(bad.starts_with("HTTP/1.1 400"), "{bad}");
    let endless = proxied
        .exchange(format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(2 * READ_BUFFER)))
        .await;
    assert!(endless.starts_with("HTTP/1.1 431"), "{endless}");
    let lines = proxied.finish().await;
    let reasons: Vec<&str> = lines.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["bad_http", "headers_too_large"]);
}

#[tokio::test]
async fn an_address_that_no_plan_knows_is_no_longer_governed() {
    let address = dead().await;
    let proxied = Proxied::start_with(crate::resources::Desired::default(), Some(address)).await;
    let answer = proxied.call("add").await;
    assert_eq!((answer.status, answer.code()), (502, Some(50200)));
    assert_eq!(proxied.finish().await[0]["reason"], "not_governed");
}

/// The kernel refuses new connections; one that was open when the server went behind the gateway gets no further.
#[tokio::test]
async fn a_connection_to_a_server_that_has_gone_behind_the_gateway() {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    let mut stream = proxied.connect().await;
    stream.write_all(post_and_stay(&call("add")).as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "}").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut changed = desired(upstream.address);
    for server in &mut changed.servers {
        Arc::make_mut(server).capture = Capture::GatewayOnly;
    }
    proxied.plan.store(Arc::new(Plan::compile(&changed)));
    stream.write_all(post_and_stay(&call("add")).as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "gateway only").await;
    assert!(answer.contains("HTTP/1.1 403"), "{answer}");
    assert_eq!(upstream.requests(), 1);
    let lines = proxied.finish().await;
    assert_eq!(lines.last().unwrap()["reason"], "gateway_only", "{lines:?}");
}
