use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::Full;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;

const PATIENCE: Duration = Duration::from_millis(300);
const WAIT: Duration = Duration::from_secs(20);

/// An answer, and what tells that nobody has it any more.
struct Held(Full<Bytes>, #[allow(dead_code, reason = "held for its Drop")] DropGuard);

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// A server whose answers are so long, on a connection to it; each answer that is given up is told.
async fn serve(length: usize) -> (DuplexStream, CancellationToken) {
    let (ours, theirs) = tokio::io::duplex(1024 * 1024);
    let gone = CancellationToken::new();
    let told = gone.clone();
    let service = service_fn(move |_: Request<hyper::body::Incoming>| {
        let held = Held(Full::from(vec![7; length]), told.clone().drop_guard());
        async move { Ok::<_, Infallible>(Response::new(Paced::new(held))) }
    });
    tokio::spawn(
        http2::Builder::new(Watched::new(TokioExecutor::new(), PATIENCE)).serve_connection(TokioIo::new(ours), service),
    );
    (theirs, gone)
}

async fn client(stream: DuplexStream) -> h2::client::SendRequest<Bytes> {
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(64 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .handshake(stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

#[tokio::test]
async fn a_stream_that_its_client_does_not_read_is_reset_and_the_others_go_on() {
    let (stream, gone) = serve(1024 * 1024).await;
    let mut client = client(stream).await;
    let get = || Request::get("http://a/").body(()).unwrap();
    let (stalled, _) = client.send_request(get(), true).unwrap();
    let mut stalled = stalled.await.unwrap().into_body();
    tokio::time::timeout(WAIT, gone.cancelled())
        .await
        .expect("the answer is held for ever");
    // What had room has arrived, and then the reset.
    let error = loop {
        match stalled.data().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error:?}");
    let (read, _) = client.send_request(get(), true).unwrap();
    assert_eq!(
        whole(read.await.unwrap().into_body(), Duration::ZERO).await,
        1024 * 1024
    );
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_waited_for() {
    let (stream, _gone) = serve(320 * 1024).await;
    let mut client = client(stream).await;
    let (answer, _) = client
        .send_request(Request::get("http://a/").body(()).unwrap(), true)
        .unwrap();
    // Longer in all than it may take for one chunk.
    assert_eq!(whole(answer.await.unwrap().into_body(), PATIENCE / 6).await, 320 * 1024);
}

async fn whole(mut body: h2::RecvStream, pause: Duration) -> usize {
    let mut length = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        length += chunk.len();
        tokio::time::sleep(pause).await;
        body.flow_control().release_capacity(chunk.len()).unwrap();
    }
    length
}
