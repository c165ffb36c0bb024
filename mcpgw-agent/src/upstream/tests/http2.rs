//! HTTP/2 towards a server, which hyper plays.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{ask, payer, post, server, workload};
use crate::{
    resources::{Backend, Server},
    upstream::{
        Upstream, UpstreamError, Upstreams,
        limits::{
            EJECTION, HTTP2_IDLE_TIMEOUT, MAX_CALLS_PER_ENDPOINT_AND_WORKLOAD, MAX_STREAMS_PER_CONNECTION,
            POOL_MAX_IDLE_PER_ENDPOINT, SETTINGS_PAUSE,
        },
    },
};

/// A server of HTTP/2 without TLS. `/big` answers with more than all windows hold; `/wait` when it may.
struct Peer {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    /// Of them, those that are open.
    open: AtomicUsize,
    /// Calls that wait to be answered.
    waiting: AtomicUsize,
    go: Option<Semaphore>,
    heads: Mutex<Vec<http::request::Parts>>,
    goodbye: Mutex<CancellationToken>,
}

impl Peer {
    async fn start(most: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            go: Some(Semaphore::new(0)),
            ..State::default()
        });
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serving.connections.fetch_add(1, Relaxed);
                let state = Arc::clone(&serving);
                let goodbye = state.goodbye.lock().unwrap().clone();
                let counted = Arc::clone(&state);
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                tokio::spawn(async move {
                    counted.open.fetch_add(1, Relaxed);
                    let mut connection = std::pin::pin!(
                        http2::Builder::new(TokioExecutor::new())
                            .max_concurrent_streams(most)
                            .serve_connection(TokioIo::new(stream), service)
                    );
                    tokio::select! {
                        _ = connection.as_mut() => {}
                        () = goodbye.cancelled() => {
                            connection.as_mut().graceful_shutdown();
                            let _ = connection.await;
                        }
                    }
                    counted.open.fetch_sub(1, Relaxed);
                });
            }
        });
        Self { address, state }
    }

    fn server(&self) -> Server {
        Server {
            backend: Backend::Addresses {
                addresses: vec![self.address],
                h2c: true,
            },
            ..server(&[])
        }
    }

    async fn until_waiting(&self, calls: usize) {
        let waits = async {
            while self.state.waiting.load(Relaxed) != calls {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = timeout(Duration::from_secs(20), waits).await;
        assert!(waited.is_ok(), "{} of {calls} wait", self.state.waiting.load(Relaxed));
    }

    fn answer(&self, calls: usize) {
        self.state.go.as_ref().unwrap().add_permits(calls);
    }

    fn connections(&self) -> usize {
        self.state.connections.load(Relaxed)
    }
}

/// A call that waits, until it is dropped.
struct Waiting(Arc<State>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    state.heads.lock().unwrap().push(head);
    let whole = body.collect().await.unwrap().to_bytes();
    Ok(Response::new(match path.as_str() {
        "/big" => {
            let chunk = || Ok(Frame::data(Bytes::from(vec![7; 64 * 1024])));
            BodyExt::boxed(StreamBody::new(stream::repeat_with(chunk).take(64)))
        }
        "/wait" => {
            state.waiting.fetch_add(1, Relaxed);
            let waiting = Waiting(Arc::clone(&state));
            state.go.as_ref().unwrap().acquire().await.unwrap().forget();
            drop(waiting);
            Full::from("late").boxed()
        }
        _ => Full::from(whole).boxed(),
    }))
}

/// The server, in force.
fn with(server: Server) -> (Arc<Upstreams>, Arc<Upstream>) {
    super::with(server)
}

fn wait() -> Request<Full<Bytes>> {
    Request::post("/wait").body(Full::default()).unwrap()
}

#[tokio::test]
async fn calls_share_a_connection_and_say_whom_they_are_for() {
    let peer = Peer::start(200).await;
    let (_upstreams, upstream) = with(peer.server());
    assert_eq!(ask(&upstream, post("one")).await.unwrap(), "one");
    let mut named = post("two");
    named.headers_mut().insert("host", "calc.tools.svc".parse().unwrap());
    assert_eq!(ask(&upstream, named).await.unwrap(), "two");
    assert_eq!(peer.connections(), 1);
    let heads = peer.state.heads.lock().unwrap();
    let own = format!("http://{}/mcp", peer.address);
    let uris: Vec<String> = heads.iter().map(|head| head.uri.to_string()).collect();
    assert_eq!(uris, [own, "http://calc.tools.svc/mcp".to_owned()]);
}

#[tokio::test]
async fn where_all_streams_are_taken_another_connection_is_opened() {
    let peer = Peer::start(1_000).await;
    let (_upstreams, upstream) = with(peer.server());
    let calls = MAX_STREAMS_PER_CONNECTION + 20;
    let all = join_all((0..calls).map(|_| ask(&upstream, wait())));
    let served = async {
        peer.until_waiting(calls).await;
        peer.answer(calls);
    };
    let (answers, ()) = tokio::join!(all, served);
    assert!(answers.into_iter().all(|answer| answer.unwrap() == "late"));
    assert_eq!(peer.connections(), 2);
}

#[tokio::test]
async fn a_server_that_allows_few_streams_gets_more_connections() {
    let peer = Peer::start(4).await;
    let (_upstreams, upstream) = with(peer.server());
    ask(&upstream, post("first")).await.unwrap();
    // Soon it is known how many.
    tokio::time::sleep(SETTINGS_PAUSE.0 * 40).await;
    let all = join_all((0..8).map(|_| ask(&upstream, wait())));
    let served = async {
        peer.until_waiting(8).await;
        peer.answer(8);
    };
    let (answers, ()) = tokio::join!(all, served);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(peer.connections() >= 2);
}

#[tokio::test]
async fn a_server_that_allows_no_streams_does_not_pile_up_connections() {
    let peer = Peer::start(0).await;
    let (_upstreams, upstream) = with(peer.server());
    let many = 2 * POOL_MAX_IDLE_PER_ENDPOINT;
    for _ in 0..8 * many {
        // Refused, or never taken.
        let _ = timeout(SETTINGS_PAUSE.0 * 4, ask(&upstream, wait())).await;
        if peer.connections() >= many {
            break;
        }
    }
    assert!(peer.connections() >= many, "{}", peer.connections());
    let few = async {
        while peer.state.open.load(Relaxed) > POOL_MAX_IDLE_PER_ENDPOINT + 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let few = timeout(HTTP2_IDLE_TIMEOUT / 4, few).await;
    assert!(few.is_ok(), "{} are open", peer.state.open.load(Relaxed));
}

#[tokio::test]
async fn an_abandoned_call_is_abandoned_at_the_server_and_the_others_go_on() {
    let peer = Peer::start(200).await;
    let (_upstreams, upstream) = with(peer.server());
    ask(&upstream, post("first")).await.unwrap();
    let abandoned = async {
        let asked = ask(&upstream, wait());
        tokio::select! {
            _ = asked => panic!("answered"),
            () = peer.until_waiting(2) => {}
        }
        peer.until_waiting(1).await;
        peer.answer(1);
    };
    let (other, ()) = tokio::join!(ask(&upstream, wait()), abandoned);
    assert_eq!(other.unwrap(), "late");
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn what_one_client_does_not_read_holds_up_no_other() {
    let peer = Peer::start(200).await;
    let (_upstreams, upstream) = with(peer.server());
    let endpoint = upstream.pick(payer()).unwrap();
    let big = || Request::get("/big").body(Full::default()).unwrap();
    let mut unread = Vec::new();
    for _ in 0..50 {
        unread.push(upstream.send(&endpoint, payer(), big()).await.unwrap());
    }
    let asked = timeout(Duration::from_secs(20), ask(&upstream, post("x"))).await;
    assert_eq!(asked.unwrap().unwrap(), "x");
    assert_eq!(peer.connections(), 1);
    let body = unread.pop().unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), 64 * 64 * 1024);
}

#[tokio::test]
async fn one_workload_cannot_take_all_the_room_of_an_endpoint() {
    let peer = Peer::start(200).await;
    let (_upstreams, upstream) = with(peer.server());
    let endpoint = upstream.pick(payer()).unwrap();
    let unread = async |name| {
        let big = Request::get("/big").body(Full::default()).unwrap();
        upstream.send(&endpoint, workload(name), big).await
    };
    let mut held = Vec::new();
    for _ in 0..MAX_CALLS_PER_ENDPOINT_AND_WORKLOAD {
        held.push(unread("greedy").await.unwrap());
    }
    let refused = unread("greedy").await.map(|_| ());
    assert!(matches!(refused, Err(UpstreamError::ShareTaken)), "{refused:?}");
    assert_eq!(
        endpoint.health().ejected_for_all(),
        0,
        "it is not the server that failed"
    );
    held.push(unread("modest").await.unwrap());
    drop(held.remove(0));
    held.push(unread("greedy").await.unwrap());
    let refused = unread("greedy").await.map(|_| ());
    assert!(matches!(refused, Err(UpstreamError::ShareTaken)), "{refused:?}");
}

#[tokio::test]
async fn a_server_that_says_goodbye_is_asked_on_another_connection_and_nothing_is_lost() {
    let peer = Peer::start(200).await;
    let (_upstreams, upstream) = with(peer.server());
    let last = async {
        peer.until_waiting(1).await;
        let before = std::mem::take(&mut *peer.state.goodbye.lock().unwrap());
        before.cancel();
        for n in 0..20 {
            assert_eq!(ask(&upstream, post("after")).await.unwrap(), "after", "{n}");
        }
        peer.answer(1);
    };
    let (first, ()) = tokio::join!(ask(&upstream, wait()), last);
    assert_eq!(first.unwrap(), "late");
    assert_eq!(peer.connections(), 2);
}

/// An address where a connection is neither taken nor refused, for as long as what comes with it is there.
async fn silent() -> (SocketAddr, impl Drop) {
    struct Full(tokio::net::TcpListener, Vec<tokio::net::TcpStream>);
    impl Drop for Full {
        fn drop(&mut self) {
            self.1.clear();
        }
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut full = Full(listener, Vec::new());
    // Nobody takes them: soon there is room for no more.
    while let Ok(taken) = timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await {
        full.1.push(taken.unwrap());
    }
    assert_eq!(full.0.local_addr().unwrap(), address);
    (address, full)
}

#[tokio::test]
async fn calls_that_wait_for_a_connection_that_cannot_be_made_go_elsewhere_and_count_it_once() {
    let (peer, (address, _full)) = (Peer::start(1_000).await, silent().await);
    let mut wanted = peer.server();
    wanted.timeouts.connect = Duration::from_millis(500);
    wanted.backend = Backend::Addresses {
        addresses: vec![address, peer.address],
        h2c: true,
    };
    let (_upstreams, upstream) = with(wanted);
    let call = || async {
        let (_, answer) = upstream.ask_any(payer(), || post("one"), |_| {}).await?;
        Ok::<_, UpstreamError>(super::text(answer.into_body()).await)
    };
    for answer in join_all((0..16).map(|_| call())).await {
        assert_eq!(answer.unwrap(), "one");
    }
    let status = upstream.status();
    let silent = status.endpoints.iter().find(|endpoint| endpoint.address == address);
    let ejected_for = Duration::from_millis(silent.unwrap().ejected_for);
    assert!(ejected_for <= EJECTION.0, "it was tried once: {ejected_for:?}");
}
