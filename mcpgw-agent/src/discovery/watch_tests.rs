//! A server that changes what it lists at the worst moments.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::discovery::{
    Discovery, State,
    limits::{LISTEN_TIMEOUT, MIN_INTERVAL},
};
use crate::{
    pins::Pins,
    resources::{ObjectName, Server},
    telemetry::{AuditSink, Telemetry, TelemetryOptions},
    upstream::Upstreams,
};

type Body = BoxBody<Bytes, Infallible>;

/// It has one tool, and right after it has listed it for the first time it has another instead.
#[derive(Default)]
struct Fickle {
    listed: usize,
    stream: Option<mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>>,
    /// It says that it has prompts, and does not list them.
    broken_prompts: bool,
    /// It says all the time that its list has changed, and so it has.
    restless: bool,
    /// How long it takes to let itself be heard.
    shy: Duration,
}

const CHANGED: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n";

impl Fickle {
    async fn start(self) -> SocketAddr {
        serve(Arc::new(Mutex::new(self))).await
    }
}

async fn serve(state: Arc<Mutex<Fickle>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let state = Arc::clone(&state);
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// Says that its list has changed for as long as it is restless, and somebody hears it.
async fn repeat(state: Arc<Mutex<Fickle>>, stream: mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>) {
    while state.lock().unwrap().restless && stream.send(Ok(Frame::data(CHANGED.into()))).is_ok() {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn answer(shared: Arc<Mutex<Fickle>>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    if head.method == Method::GET {
        let shy = shared.lock().unwrap().shy;
        sleep(shy).await;
    }
    let mut state = shared.lock().unwrap();
    if head.method == Method::GET {
        let (sender, mut frames) = mpsc::unbounded_channel();
        tokio::spawn(repeat(Arc::clone(&shared), sender.clone()));
        state.stream = Some(sender);
        let frames = futures_util::stream::poll_fn(move |context| frames.poll_recv(context));
        let response = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
        return Ok(response.body(BodyExt::boxed(StreamBody::new(frames))).unwrap());
    }
    let Ok(asked) = serde_json::from_slice::<Value>(&body) else {
        return Ok(Response::default());
    };
    let result = match asked["method"].as_str().unwrap() {
        "initialize" => json!({
            "protocolVersion": "2025-11-25", "serverInfo": {"name": "fickle", "version": "0"},
            "capabilities": match state.broken_prompts {
                true => json!({"tools": {}, "prompts": {}}),
                false => json!({"tools": {"listChanged": true}}),
            },
        }),
        "tools/list" => {
            state.listed += 1;
            let name = match (state.restless, state.listed) {
                (true, number) => format!("number-{number}"),
                (false, 1) => "before".to_owned(),
                (false, _) => "after".to_owned(),
            };
            if let (1, Some(stream)) = (state.listed, &state.stream) {
                stream.send(Ok(Frame::data(CHANGED.into()))).unwrap();
            }
            json!({"tools": [{"name": name, "inputSchema": {"type": "object"}}]})
        }
        "server/discover" | "prompts/list" => {
            let error = json!({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32603, "message": "no"}});
            return Ok(whole(&error));
        }
        _ => {
            let mut response = Response::<Body>::default();
            *response.status_mut() = StatusCode::ACCEPTED;
            return Ok(response);
        }
    };
    Ok(whole(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result})))
}

fn whole(body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string())).boxed();
    let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
    response.body(body).unwrap()
}

/// Discovers what the server at this address offers.
fn discover(address: SocketAddr, dir: &tempfile::TempDir) -> (Arc<Discovery>, ObjectName) {
    let telemetry = Telemetry::new(TelemetryOptions {
        node: "n".to_owned(),
        audit: AuditSink::File(dir.path().join("audit.log")),
        audit_export: None,
        traces: None,
    });
    let name = ObjectName::parse("tools/fickle").unwrap();
    let servers = [Arc::new(Server::at(name.clone(), vec![address]))];
    let upstreams = Upstreams::new(Handle::current());
    upstreams.put_in_force(&servers);
    let pins = Pins::new(dir.path().join("pins"), telemetry.unwrap());
    let discovery = Discovery::new(upstreams, Handle::current(), pins);
    discovery.put_in_force(&servers);
    (discovery, name)
}

/// Its tools, once they are these.
async fn until_tools_are(discovery: &Discovery, name: &ObjectName, wanted: &str) {
    for _ in 0..200 {
        let snapshot = discovery.snapshot();
        let tools = snapshot.get(name).map(|catalogue| catalogue.tools.iter());
        if tools.into_iter().flatten().any(|tool| &*tool.name == wanted) {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("{wanted} is not known: {:?}", discovery.states());
}

#[tokio::test]
async fn a_list_that_changes_right_after_it_was_given_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let (discovery, name) = discover(Fickle::default().start().await, &dir);
    until_tools_are(&discovery, &name, "after").await;
    assert_eq!(discovery.states()[&name], State::Ready);
}

#[tokio::test]
async fn what_changes_before_a_server_can_be_heard_is_known_soon_after() {
    let dir = tempfile::tempdir().unwrap();
    let server = Fickle {
        shy: LISTEN_TIMEOUT + Duration::from_secs(1),
        ..Fickle::default()
    };
    let (discovery, name) = discover(server.start().await, &dir);
    until_tools_are(&discovery, &name, "after").await;
}

#[tokio::test]
async fn a_list_that_cannot_be_had_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let server = Fickle {
        broken_prompts: true,
        ..Fickle::default()
    };
    let (discovery, name) = discover(server.start().await, &dir);
    until_tools_are(&discovery, &name, "after").await;
    let State::Partial { reason, .. } = &discovery.states()[&name] else {
        panic!("{:?}", discovery.states());
    };
    assert!(reason.contains("prompts/list"), "{reason}");
}

#[tokio::test]
async fn a_server_that_says_all_the_time_that_its_list_changed_is_asked_about_once_a_second_and_after_the_last_time() {
    let dir = tempfile::tempdir().unwrap();
    let state = Arc::new(Mutex::new(Fickle {
        restless: true,
        ..Fickle::default()
    }));
    let begun = Instant::now();
    let (discovery, name) = discover(serve(Arc::clone(&state)).await, &dir);
    until_tools_are(&discovery, &name, "number-3").await;
    let listed = state.lock().unwrap().listed;
    // However slow the machine is: the first at once, and each other a second after the one before was begun.
    let most = 1 + begun.elapsed().as_millis() / MIN_INTERVAL.as_millis();
    assert!(listed as u128 <= most, "{listed} times in {:?}", begun.elapsed());
    state.lock().unwrap().restless = false;
    until_tools_are(&discovery, &name, "after").await;
}
