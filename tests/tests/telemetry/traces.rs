//! Traces, as a real collector receives them.

use anyhow::{Context, Result, ensure};
use mcpgw_tests::Node;
use serde_json::{Value, json};

use crate::{
    collector::{CLIENT, Collector, ERROR, Protocol, SERVER, Span},
    scene::{PARENT, SPAN, Scene, TRACE, Trace, Way, with},
};

/// What the server was told with its last call: `traceparent` in the header and in `_meta`, and the whole `_meta`.
fn told(scene: &Scene) -> Result<(Value, Value, Value)> {
    let seen = scene.server.seen()?;
    let last = seen.last().context("the server has seen no call")?;
    let body: Value = serde_json::from_str(last["body"].as_str().unwrap_or_default()).context("parse a call's body")?;
    let meta = body["params"]["_meta"].clone();
    Ok((last["traceparent"].clone(), meta["traceparent"].clone(), meta))
}

/// Longer than what an id or a time of a span could have in it by chance.
const ARGUMENT: i64 = 200_012_345_678_901;

/// The two spans of the call with this decision.
fn spans_of(collector: &Collector, decision: &str) -> Result<(Span, Span)> {
    let server = collector.span("the SERVER span", |span| {
        span.attribute("mcpgw.decision_id").as_deref() == Some(decision)
    })?;
    let client = collector.span("the CLIENT span", |span| {
        span.kind() == CLIENT && span.parent() == server.id()
    })?;
    Ok((server, client))
}

fn both_protocols_and_ways(protocol: Protocol) -> Result<()> {
    let node = Node::new()?;
    let collector = Collector::start(&node)?;
    let scene = Scene::new(&node, protocol.environment())?;
    for way in Way::BOTH {
        let mark = scene.agent.audit_mark();
        let trace = Trace {
            meta: &[("traceparent", PARENT), ("tracestate", "a=1")],
            // Not believed, since `_meta` says otherwise.
            headers: &[("traceparent", "00-11111111111111111111111111111111-2222222222222222-01")],
        };
        let answer = scene.call(way, "add", json!({"a": ARGUMENT, "b": 22}), &trace)?;
        let (argument, result) = (ARGUMENT.to_string(), (ARGUMENT + 22).to_string());
        ensure!(answer.body.contains(&result), "{answer:?}");
        let line = scene
            .agent
            .audit_after(mark, "the call", |line| line["event"] == "tool_call")?;
        ensure!(line["traceId"] == TRACE, "{line}");
        let (server, client) = spans_of(&collector, line["decisionId"].as_str().unwrap_or_default())?;

        ensure!(
            (server.trace(), server.parent(), server.kind()) == (TRACE, SPAN, SERVER),
            "{server:?}"
        );
        ensure!((client.trace(), client.kind()) == (TRACE, CLIENT), "{client:?}");
        ensure!((server.state(), client.state()) == ("a=1", "a=1"), "{server:?}");
        let expected = format!("00-{TRACE}-{}-01", client.id());
        let (header, meta, whole) = told(&scene)?;
        ensure!(header == expected && meta == expected, "{header} {meta} {expected}");
        ensure!(whole["tracestate"] == "a=1", "{whole}");
        let ((begin, end), (sent, got)) = (server.times(), client.times());
        ensure!(
            0 < begin && begin <= sent && sent <= got && got <= end,
            "{server:?} {client:?}"
        );

        let destination = match way {
            Way::Redirected => scene.server.address(),
            Way::Gateway => scene.gateway,
        };
        for (span, key, value) in [
            (&server, "mcp.method.name", "tools/call"),
            (&server, "gen_ai.tool.name", "add"),
            (&server, "gen_ai.operation.name", "execute_tool"),
            (&server, "mcp.protocol.version", "2026-07-28"),
            (&server, "jsonrpc.request.id", "r-1"),
            (&server, "network.transport", "tcp"),
            (&server, "network.protocol.name", "http"),
            (&server, "network.protocol.version", "1.1"),
            (&client, "network.protocol.version", "1.1"),
            (&server, "server.address", &*destination.ip().to_string()),
            (&server, "server.port", &*destination.port().to_string()),
            (&server, "mcpgw.path", way.word()),
            (&server, "mcpgw.server", "tools/calc"),
            (&server, "mcpgw.decision", "allow"),
            (&server, "mcpgw.rule", "tools/rules#1"),
            (&server, "enduser.id", "system:serviceaccount:agents:research"),
            (&client, "mcp.method.name", "tools/call"),
            (&client, "gen_ai.tool.name", "add"),
            (&client, "gen_ai.operation.name", "execute_tool"),
            (&client, "mcp.protocol.version", "2026-07-28"),
            (&client, "server.address", &*scene.server.address().ip().to_string()),
            (&client, "server.port", "3001"),
        ] {
            ensure!(
                span.attribute(key).as_deref() == Some(value),
                "{way:?}: {key} is not {value}: {span:?}"
            );
        }
        // The kernel redirects to a listener on the pod's own loopback.
        ensure!(
            server.attribute("client.address").as_deref() == Some("127.0.0.1"),
            "{server:?}"
        );
        ensure!(
            server.attribute("client.port").is_some_and(|port| port != "0"),
            "{server:?}"
        );
        for span in [&server, &client] {
            ensure!(span.name() == "tools/call add", "{span:?}");
            ensure!(
                span.attribute("error.type").is_none() && span.status() != ERROR,
                "{span:?}"
            );
            // Neither arguments nor results.
            ensure!(
                !span.everything().contains(&argument) && !span.everything().contains(&result),
                "{span:?}"
            );
            ensure!(span.resource("service.name").as_deref() == Some("mcpgw"), "{span:?}");
            ensure!(
                span.resource("service.instance.id").as_deref() == Some(scene.node.name()),
                "{span:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_call_is_two_spans_in_the_callers_trace_by_grpc() -> Result<()> {
    both_protocols_and_ways(Protocol::Grpc)
}

#[test]
fn a_call_is_two_spans_in_the_callers_trace_by_http() -> Result<()> {
    both_protocols_and_ways(Protocol::Http)
}

#[test]
fn a_trace_begins_here_where_the_caller_names_none_and_goes_on_from_its_header() -> Result<()> {
    let node = Node::new()?;
    let collector = Collector::start(&node)?;
    let scene = Scene::new(&node, Protocol::Http.environment())?;
    for way in Way::BOTH {
        for (headers, parent) in [
            (&[][..], None),
            (&[("traceparent", "00-not-a-parent-01")][..], None),
            (&[("traceparent", PARENT), ("baggage", "k=v")][..], Some(SPAN)),
        ] {
            let mark = scene.agent.audit_mark();
            scene.call(way, "echo", json!({"message": "m"}), &Trace { headers, meta: &[] })?;
            let line = scene
                .agent
                .audit_after(mark, "the call", |line| line["event"] == "tool_call")?;
            let (server, client) = spans_of(&collector, line["decisionId"].as_str().unwrap_or_default())?;
            ensure!(server.parent() == parent.unwrap_or_default(), "{server:?}");
            ensure!(line["traceId"] == server.trace(), "{line}");
            ensure!((server.trace() == TRACE) == parent.is_some(), "{server:?}");
            let expected = format!("00-{}-{}-01", server.trace(), client.id());
            let (header, meta, whole) = told(&scene)?;
            ensure!(
                header == expected && meta == expected,
                "{way:?} {header} {meta} {expected}"
            );
            ensure!((whole["baggage"] == "k=v") == parent.is_some(), "{whole}");
        }
    }
    Ok(())
}

#[test]
fn what_is_denied_limited_or_fails_is_in_the_trace() -> Result<()> {
    let node = Node::new()?;
    let collector = Collector::start(&node)?;
    let scene = Scene::new(&node, Protocol::Grpc.environment())?;
    let trace = Trace {
        headers: &[],
        meta: &[("traceparent", PARENT)],
    };
    for way in Way::BOTH {
        scene.call(way, "delete_everything", json!({}), &trace)?;
        let denied = collector.span("a denied call", |span| {
            span.attribute("mcpgw.decision").as_deref() == Some("deny")
                && span.attribute("mcpgw.path").as_deref() == Some(way.word())
        })?;
        ensure!(
            denied.attribute("error.type").as_deref() == Some("denied"),
            "{denied:?}"
        );
        ensure!(
            denied.attribute("rpc.response.status_code").as_deref() == Some("-32602"),
            "{denied:?}"
        );
        ensure!(
            denied.attribute("mcpgw.rule").as_deref() == Some("tools/rules#2"),
            "{denied:?}"
        );
        ensure!((denied.parent(), denied.status()) == (SPAN, ERROR), "{denied:?}");
        // Nobody has proven that there is such a tool, and the rule names a pattern.
        ensure!(denied.name() == "tools/call", "{denied:?}");
        // One budget, whatever the way: the second call is over it.
        scene.call(way, "get_time", json!({}), &trace)?;
    }
    let limited = collector.span("a limited call", |span| {
        span.attribute("mcpgw.decision").as_deref() == Some("limit")
    })?;
    ensure!(
        limited.attribute("error.type").as_deref() == Some("limited"),
        "{limited:?}"
    );
    ensure!(
        limited.attribute("rpc.response.status_code").as_deref() == Some("4290"),
        "{limited:?}"
    );
    // Refused calls were never with the server.
    let spans = collector.spans()?;
    let refused = |span: &&Span| matches!(span.attribute("mcpgw.decision").as_deref(), Some("deny" | "limit"));
    ensure!(spans.iter().filter(refused).count() == 3, "{spans:#?}");
    for refused in spans.iter().filter(refused) {
        ensure!(spans.iter().all(|span| span.parent() != refused.id()), "{spans:#?}");
    }
    // The server's own error: no such argument.
    scene.call(Way::Redirected, "add", json!({"a": "no number"}), &trace)?;
    let failed = collector.span("a failed call", |span| {
        span.kind() == SERVER && span.status() == ERROR && span.attribute("gen_ai.tool.name").as_deref() == Some("add")
    })?;
    let kind = failed.attribute("error.type");
    ensure!(matches!(kind.as_deref(), Some("error" | "tool_error")), "{failed:?}");
    Ok(())
}

#[test]
fn the_sampler_is_honoured_and_so_is_the_callers_decision() -> Result<()> {
    let node = Node::new()?;
    let collector = Collector::start(&node)?;
    let environment = with(
        Protocol::Grpc.environment(),
        "OTEL_TRACES_SAMPLER",
        "parentbased_traceidratio",
    );
    let environment = with(environment, "OTEL_TRACES_SAMPLER_ARG", "0");
    let scene = Scene::new(&node, environment)?;
    for way in Way::BOTH {
        // Nobody has asked for a trace: the ratio decides, and nothing is told to the server.
        let mark = scene.agent.audit_mark();
        scene.call(way, "echo", json!({"message": "root"}), &Trace::default())?;
        let line = scene.agent.audit_after(mark, "the call", |line| {
            line["event"] == "tool_call" && line["path"] == way.word()
        })?;
        ensure!(line["traceId"].is_null(), "{line}");
        let (header, meta, _) = told(&scene)?;
        ensure!(header.is_null() && meta.is_null(), "{header} {meta}");
        // The caller traces, and did not choose this one: what it says goes on as it is.
        let unsampled = "00-33333333333333333333333333333333-4444444444444444-00";
        let trace = Trace {
            headers: &[("traceparent", unsampled)],
            meta: &[("traceparent", unsampled)],
        };
        scene.call(way, "echo", json!({"message": "unsampled"}), &trace)?;
        let (header, meta, _) = told(&scene)?;
        ensure!(header == unsampled && meta == unsampled, "{header} {meta}");
        // The caller traces, and chose this one.
        let trace = Trace {
            headers: &[("traceparent", PARENT)],
            meta: &[],
        };
        scene.call(way, "echo", json!({"message": "sampled"}), &trace)?;
        collector.span("the call that the caller chose", |span| {
            span.attribute("mcpgw.path").as_deref() == Some(way.word())
        })?;
    }
    let spans = collector.spans()?;
    ensure!(spans.iter().all(|span| span.trace() == TRACE), "{spans:#?}");
    Ok(())
}
