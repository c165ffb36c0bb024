//! What a policy engine that does not answer cannot be made to let pass.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpListener;

use super::{
    Answer, Proxied,
    cancellation::{BOTH, modern, send},
    desired, limits, post,
    upstreams::{Upstream, dead},
};
use crate::{
    proxy::limits::MAX_LISTENED_ON_RECORD,
    resources::{Engine, ExtAuthz, KeyPart, Limit, OnFailure, Policy},
    waiting::until,
};

/// An engine that answers every question with this status of gRPC, and nothing else.
async fn engine(grpc_status: &'static str) -> SocketAddr {
    counting_engine(grpc_status, Arc::default()).await
}

/// The same, counting the questions.
async fn counting_engine(grpc_status: &'static str, questions: Arc<AtomicUsize>) -> SocketAddr {
    tiring_engine(grpc_status, questions, usize::MAX).await
}

/// The same, which answers so many and no more.
async fn tiring_engine(grpc_status: &'static str, questions: Arc<AtomicUsize>, most: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let questions = Arc::clone(&questions);
            let service = service_fn(move |_| {
                let is_tired = questions.fetch_add(1, Relaxed) >= most;
                async move {
                    if is_tired {
                        std::future::pending::<()>().await;
                    }
                    let response = Response::builder()
                        .header("content-type", "application/grpc")
                        .header("grpc-status", grpc_status);
                    Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
                }
            });
            let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    address
}

/// The settings of an engine at an address.
pub(super) fn ext_authz(engine: SocketAddr, on_failure: OnFailure) -> Arc<ExtAuthz> {
    Arc::new(ExtAuthz {
        engine: Engine {
            host: engine.ip().to_string().into(),
            port: engine.port(),
            tls: None,
            timeout: Duration::from_secs(10),
            on_failure,
        },
        include_arguments: true,
    })
}

/// A server that no rules govern, whose callers this engine is asked about.
async fn asking(upstream: &Upstream, engine: SocketAddr, on_failure: OnFailure) -> Proxied {
    asking_with(upstream, engine, on_failure, Vec::new()).await
}

/// The same, whose policies are these.
async fn asking_with(
    upstream: &Upstream,
    engine: SocketAddr,
    on_failure: OnFailure,
    policies: Vec<Arc<Policy>>,
) -> Proxied {
    let mut desired = desired(upstream.address);
    desired.policies = policies;
    desired.settings.ext_authz = Some(ext_authz(engine, on_failure));
    Proxied::start_with(desired, Some(upstream.address)).await
}

#[tokio::test]
async fn an_engine_that_is_not_there_lets_pass_what_it_should_and_one_that_cannot_answer_a_question_does_not() {
    const RESOURCE_EXHAUSTED: &str = "8";
    const INTERNAL: &str = "13";
    const UNAVAILABLE: &str = "14";
    for (engine, passes) in [
        (dead().await, true),
        (engine(UNAVAILABLE).await, true),
        // What engines say of a question that is too long for them, or that they cannot read: its caller chose that.
        (engine(RESOURCE_EXHAUSTED).await, false),
        (engine(INTERNAL).await, false),
    ] {
        let upstream = Upstream::start().await;
        let proxied = asking(&upstream, engine, OnFailure::Open).await;
        let answer = proxied.call("add").await;
        assert_eq!(answer.body["result"].is_object(), passes, "{answer:?}");
        assert_eq!(upstream.requests(), usize::from(passes));
        if !passes {
            assert_eq!(answer.code(), Some(5030), "{answer:?}");
        }
        // Also what passes without the engine's word says so.
        let line = proxied.finish().await.remove(0);
        let decision = if passes { "allow" } else { "deny" };
        assert_eq!(
            (&line["decision"], &line["engine"]),
            (&decision.into(), &"extAuthz".into())
        );
        assert!(
            line["engineError"].as_str().is_some_and(|error| !error.is_empty()),
            "{line}"
        );
    }
}

#[tokio::test]
async fn an_engine_is_asked_about_subscriptions_also_where_no_rules_govern_a_server() {
    let upstream = Upstream::start().await;
    let proxied = asking(&upstream, dead().await, OnFailure::Closed).await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["file:///secret"]},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let headers = "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\n";
    let answer = Answer::of(&proxied.exchange(post(headers, body)).await);
    assert_eq!(answer.code(), Some(5030), "{answer:?}");
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_decided_what_it_may_listen_to_leaves_the_names_of_what_was() {
    const UNAVAILABLE: &str = "14";
    let (upstream, questions) = (Upstream::start().await, Arc::<AtomicUsize>::default());
    let decided = MAX_LISTENED_ON_RECORD + 2;
    let engine = tiring_engine(UNAVAILABLE, Arc::clone(&questions), decided).await;
    let proxied = asking(&upstream, engine, OnFailure::Open).await;
    let uris: Vec<String> = (0..=decided).map(|number| format!("file:///{number}")).collect();
    let params = json!({ "notifications": { "resourceSubscriptions": uris } });
    let (headers, listen) = modern(1, "subscriptions/listen", None, params);
    let client = send(&proxied, &format!("{BOTH}{headers}"), &listen).await;
    until("the question that is not answered", async || {
        questions.load(Relaxed) > decided
    })
    .await;
    drop(client);
    let lines = proxied.finish().await;
    let line = lines
        .iter()
        .find(|line| line["method"] == "subscriptions/listen")
        .unwrap();
    assert_eq!(line["outcome"], "cancelled", "{line}");
    assert_eq!(line["granted"], json!(uris[MAX_LISTENED_ON_RECORD..decided]), "{line}");
}

#[tokio::test]
async fn an_engine_is_not_asked_about_callers_that_are_over_a_limit_and_what_it_refuses_spends_nothing() {
    const INTERNAL: &str = "13";
    const UNAVAILABLE: &str = "14";
    for (status, codes) in [
        // It lets pass, so the second call is over the limit.
        (UNAVAILABLE, [None, Some(4290), Some(4290)]),
        (INTERNAL, [Some(5030); 3]),
    ] {
        let questions = Arc::<AtomicUsize>::default();
        let engine = counting_engine(status, Arc::clone(&questions)).await;
        let upstream = Upstream::start().await;
        let limit = Limit {
            key: vec![KeyPart::Identity],
            ..limits::an_hour(1)
        };
        let policies = vec![Arc::new(limits::policy(limit))];
        let proxied = asking_with(&upstream, engine, OnFailure::Open, policies).await;
        for (number, code) in codes.into_iter().enumerate() {
            let answer = proxied.call("add").await;
            assert_eq!(answer.code(), code, "{number}: {answer:?}");
        }
        let passed = codes.iter().filter(|code| code.is_none()).count();
        let limited = codes.iter().filter(|code| **code == Some(4290)).count();
        assert_eq!(upstream.requests(), passed);
        assert_eq!(questions.load(Relaxed), codes.len() - limited);
    }
}
