use std::{net::SocketAddr, time::Instant};

use http::{HeaderMap, HeaderValue, Version};

use super::*;
use crate::{
    identity::Caller,
    mcp::{governed::Kind, params::Meta},
    resources::ObjectName,
    telemetry::{Outcome, Path},
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// With a collector that nobody will ever be.
fn traces(queue: usize) -> Traces {
    Traces::start("node-1", &ExportSettings::to_nobody(queue)).unwrap()
}

fn caller(observed: bool) -> Caller {
    Caller {
        workload: None,
        destination: SocketAddr::from(([10, 0, 0, 1], 80)),
        client: None,
        process: None,
        token: None,
        observed,
    }
}

fn open(traces: &Traces, observed: bool) -> Option<Box<CallSpans>> {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static(PARENT));
    traces.open(Opened {
        carried: Carried {
            headers: &headers,
            version: Version::HTTP_11,
            meta: &Meta::default(),
        },
        caller: &caller(observed),
        path: Path::Redirected,
        server: Some(&ObjectName {
            namespace: "tools".into(),
            name: "calc".into(),
        }),
        method: "tools/call",
        kind: Kind::Tool,
        name: "add",
        request_id: None,
        received: Instant::now(),
        decision: "allow",
        rule: None,
        decision_id: "1",
    })
}

#[test]
fn nothing_that_an_observed_caller_sends_is_changed() {
    let traces = traces(8);
    let mut observed = open(&traces, true).unwrap();
    assert_eq!(observed.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert!(observed.propagated().is_none());
    assert!(open(&traces, false).unwrap().propagated().is_some());
}

#[test]
fn the_server_is_told_of_the_same_span_however_often_it_is_asked() {
    let traces = traces(8);
    let mut spans = open(&traces, false).unwrap();
    let told = |spans: &mut CallSpans| {
        let mut headers = HeaderMap::new();
        spans.propagated().unwrap().write_headers(&mut headers);
        headers
    };
    let first = told(&mut spans);
    spans.leave();
    assert_eq!(told(&mut spans), first);
    assert_ne!(first["traceparent"], PARENT);
}

#[test]
fn spans_beyond_the_queue_are_counted_and_lost() {
    const CALLS: u64 = 50;
    let traces = traces(4);
    for _ in 0..CALLS {
        let spans = open(&traces, false).unwrap();
        spans.end(&Ended {
            tool_label: Some("add"),
            outcome: Outcome::Ok,
            code: None,
        });
    }
    let health = traces.health();
    assert_eq!(health.lost + health.waiting as u64, CALLS);
    assert!(health.lost > 0 && health.waiting <= 4, "{health:?}");
}
