//! Calls that are decided, and what becomes of them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    join,
};

use super::{
    Answer, Proxied, call, desired, post, post_and_stay, post_modern, read_until,
    upstreams::{Scripted, Upstream, dead},
};
use crate::{policy::Plan, resources::Desired};

#[tokio::test]
async fn an_allowed_call_goes_to_the_dialled_server_and_is_recorded() {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    let answer = proxied.call("add").await;
    assert_eq!((answer.status, &answer.body["id"]), (200, &"r1".into()));
    {
        let seen = upstream.seen.lock().unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].head.headers["host"], "calc.tools.svc");
        assert!(!seen[0].head.headers.contains_key("connection"));
        assert_eq!(
            (seen[0].head.uri.path(), &seen[0].body[..]),
            ("/mcp", call("add").as_bytes())
        );
    }
    let metrics = proxied.telemetry.render();
    let lines = proxied.finish().await;
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!(line["event"], "tool_call");
    assert_eq!(
        (&line["decision"], &line["rule"]),
        (&"allow".into(), &"tools/restrict#1".into())
    );
    assert_eq!(
        (&line["outcome"], &line["isError"], &line["status"]),
        (&"ok".into(), &false.into(), &200.into())
    );
    assert_eq!(
        (&line["tool"], &line["server"], &line["requestId"]),
        (&"add".into(), &"tools/calc".into(), &"r1".into())
    );
    assert_eq!(line["requestBytes"], call("add").len());
    assert!(line["responseBytes"].as_u64().unwrap() > 0 && line["overheadUs"].as_u64().unwrap() > 0);
    assert!(metrics.contains(r#"outcome="ok",path="redirected""#), "{metrics}");
}

#[tokio::test]
async fn a_denied_call_reaches_nobody_and_its_answer_leads_to_the_audit_line() {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    let answer = proxied.call("big").await;
    assert_eq!((answer.status, answer.code()), (200, Some(-32602)));
    assert_eq!(answer.body["id"], "r1");
    assert_eq!(answer.body["error"]["message"], "Unknown tool: big");
    assert_eq!(answer.body["error"]["data"]["reason"], "denied");
    assert_eq!(
        (upstream.requests(), upstream.connections.load(Ordering::SeqCst)),
        (0, 0)
    );
    let lines = proxied.finish().await;
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["decisionId"], answer.body["error"]["data"]["decisionId"]);
    assert_eq!(
        (&lines[0]["decision"], &lines[0]["outcome"]),
        (&"deny".into(), &"denied".into())
    );
    assert_eq!(
        (&lines[0]["rule"], &lines[0]["status"]),
        (&"tools/restrict#2".into(), &200.into())
    );
}

#[tokio::test]
async fn a_denied_call_by_notification_or_with_escapes_is_denied_too() {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    for body in [
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"big"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools\/call","params":{"n\u0061me":"b\u0069g"}}"#,
    ] {
        assert_eq!(Answer::of(&proxied.exchange(post("", body)).await).code(), Some(-32602));
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn outcomes_are_read_from_the_answer() {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    for tool in ["failing", "unknown"] {
        assert_eq!(proxied.call(tool).await.status, 200);
    }
    let lines = proxied.finish().await;
    assert_eq!(
        (&lines[0]["outcome"], &lines[0]["isError"]),
        (&"tool_error".into(), &true.into())
    );
    assert_eq!(
        (&lines[1]["outcome"], &lines[1]["isError"]),
        (&"error".into(), &serde_json::Value::Null)
    );
}

#[tokio::test]
async fn other_verbs_and_methods_that_list_nothing_pass_without_a_record() {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(Answer::of(&proxied.exchange(post("", ping)).await).status, 200);
    for (verb, path, status) in [
        ("GET", "/mcp", 200),
        ("DELETE", "/mcp/", 204),
        ("GET", "//%6dcp", 200),
        ("GET", "/.well-known/oauth-protected-resource", 200),
    ] {
        let request = format!("{verb} {path} HTTP/1.1\r\nHost: a\r\nX-Mine: s\r\nConnection: close\r\n\r\n");
        assert_eq!(
            Answer::of(&proxied.exchange(request).await).status,
            status,
            "{verb} {path}"
        );
    }
    {
        let seen = upstream.seen.lock().unwrap();
        assert_eq!(seen[2].head.headers["x-mine"], "s");
        assert_eq!((seen[2].head.uri.path(), seen[3].head.uri.path()), ("/mcp/", "/mcp"));
    }
    assert_eq!(proxied.finish().await.len(), 0);
}

#[tokio::test]
async fn connections_are_kept_and_each_request_is_decided_by_the_plan_of_its_time() {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    let mut client = proxied.connect().await;
    for _ in 0..3 {
        client.write_all(post_and_stay(&call("add")).as_bytes()).await.unwrap();
        read_until(&mut client, "\"result\":{\"content\":[]}}").await;
    }
    assert_eq!(
        (upstream.requests(), upstream.connections.load(Ordering::SeqCst)),
        (3, 1)
    );
    let open = Desired {
        policies: vec![],
        ..desired_of(upstream.address)
    };
    proxied.plan.store(Arc::new(Plan::compile(&open)));
    client.write_all(post_and_stay(&call("big")).as_bytes()).await.unwrap();
    read_until(&mut client, "\"result\":{\"content\":[]}}").await;
    proxied.plan.store(Arc::new(Plan::default()));
    client.write_all(post_and_stay(&call("add")).as_bytes()).await.unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 502"));
    assert_eq!(upstream.requests(), 4);
}

fn desired_of(server: std::net::SocketAddr) -> Desired {
    let server = crate::resources::Server::at(super::name("tools", "calc"), vec![server]);
    Desired {
        servers: vec![Arc::new(server)],
        ..Desired::default()
    }
}

#[tokio::test]
async fn a_dead_server_is_a_502_that_names_it() {
    let proxied = Proxied::start(dead().await).await;
    let answer = proxied.call("add").await;
    assert_eq!(
        (answer.status, answer.code(), &answer.body["id"]),
        (502, Some(50200), &"r1".into())
    );
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("MCP server tools/calc at 127.0.0.1:"), "{message}");
    assert!(message.contains("Connection refused"), "{message}");
    let list = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;
    let answer = Answer::of(&proxied.exchange(post("", list)).await);
    assert_eq!((answer.status, &answer.body["id"]), (502, &7.into()));
    let lines = proxied.finish().await;
    assert_eq!(
        (&lines[0]["outcome"], &lines[0]["status"]),
        (&"error".into(), &502.into())
    );
    assert_eq!(
        (&lines[1]["event"], &lines[1]["method"], &lines[1]["outcome"]),
        (&"mcp_request".into(), &"tools/list".into(), &"error".into())
    );
}

#[tokio::test]
async fn a_server_that_breaks_off_before_its_answer_is_a_502() {
    let (server, address) = Scripted::start().await;
    let proxied = Proxied::start(address).await;
    let (answer, ()) = join!(proxied.call("add"), async { drop(server.asked().await) });
    assert_eq!(
        (answer.status, answer.code(), &answer.body["id"]),
        (502, Some(50200), &"r1".into())
    );
    assert_eq!(proxied.finish().await[0]["outcome"], "error");
}

#[tokio::test]
async fn half_an_answer_ends_as_an_error() {
    for head in [
        "Transfer-Encoding: chunked\r\n\r\n14\r\n",
        "Content-Length: 4000\r\n\r\n",
    ] {
        let (server, address) = Scripted::start().await;
        let proxied = Proxied::start(address).await;
        let (answer, ()) = join!(proxied.exchange(post("", &call("add"))), async {
            let mut stream = server.asked().await;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{head}{{\"jsonrpc\":\"2.0\",  ");
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        // Neither the last chunk nor the announced length came: no client takes this for a whole answer.
        assert!(
            answer.starts_with("HTTP/1.1 200") && !answer.contains("\r\n0\r\n"),
            "{answer}"
        );
        assert!(answer.len() < 4000);
        let lines = proxied.finish().await;
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["outcome"], "error");
    }
}

#[tokio::test]
async fn an_event_stream_is_passed_on_event_by_event() {
    let (server, address) = Scripted::start().await;
    let proxied = Proxied::start(address).await;
    let mut client = proxied.connect().await;
    client.write_all(post_and_stay(&call("add")).as_bytes()).await.unwrap();
    let mut stream = server.asked().await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for event in [
        "data: {\"method\":\"a\"}\n\n",
        "data: {\"id\":\"r1\",\"result\":{\"isError\":true}}\n\n",
    ] {
        stream
            .write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
            .await
            .unwrap();
        // The next event is sent only when this one has come through.
        read_until(&mut client, event).await;
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut client, "0\r\n\r\n").await;
    assert_eq!(proxied.finish().await[0]["outcome"], "tool_error");
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    let (server, address) = Scripted::start().await;
    let proxied = Proxied::start(address).await;
    let mut client = proxied.connect().await;
    client.write_all(post_and_stay(&call("add")).as_bytes()).await.unwrap();
    let mut stream = server.asked().await;
    drop(client);
    assert_eq!(
        stream.read(&mut [0; 16]).await.unwrap_or(0),
        0,
        "the server learns of it"
    );
    let lines = proxied.finish().await;
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["outcome"], &lines[0]["status"]),
        (&"cancelled".into(), &serde_json::Value::Null)
    );
}

#[tokio::test]
async fn a_client_that_leaves_after_its_answer_has_not_cancelled() {
    let (server, address) = Scripted::start().await;
    let proxied = Proxied::start(address).await;
    let mut client = proxied.connect().await;
    client.write_all(post_and_stay(&call("add")).as_bytes()).await.unwrap();
    let mut stream = server.asked().await;
    let event = "data: {\"id\":\"r1\",\"result\":{}}\n\n";
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream
        .write_all(format!("{head}{:x}\r\n{event}\r\n", event.len()).as_bytes())
        .await
        .unwrap();
    read_until(&mut client, event).await;
    drop(client);
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    assert_eq!(proxied.finish().await[0]["outcome"], "ok");
}

#[tokio::test]
async fn a_stream_of_notifications_outlives_the_time_of_a_call() {
    let (scripted, address) = Scripted::start().await;
    let mut desired = desired(address);
    let call = Duration::from_millis(300);
    Arc::make_mut(&mut desired.servers[0]).timeouts.call = call;
    let proxied = Proxied::start_with(desired, Some(address)).await;
    let mut client = proxied.connect().await;
    let listen = post_modern("", "subscriptions/listen", serde_json::json!({"notifications": {}}));
    client.write_all(listen.as_bytes()).await.unwrap();
    let mut server = scripted.asked().await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let said = |word: &str| format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/{word}\"}}\n\n");
    server
        .write_all((head.to_owned() + &said("first")).as_bytes())
        .await
        .unwrap();
    read_until(&mut client, "/first").await;
    tokio::time::sleep(2 * call).await;
    server.write_all(said("second").as_bytes()).await.unwrap();
    read_until(&mut client, "/second").await;
}
