//! HTTP/2 from clients, by hyper's own client.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    Proxied, call, gateway,
    session_server::SessionServer,
    upstreams::{Scripted, Upstream},
};
use crate::{
    identity::Caller,
    proxy::{http_service, limits::MAX_STREAMS_PER_WORKLOAD, room::Room},
    shares::Payer,
};

pub(super) type Client = SendRequest<Full<Bytes>>;

pub(super) async fn client(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Client {
    let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

pub(super) fn post(body: &str) -> Request<Full<Bytes>> {
    Request::post("http://calc.tools.svc/mcp")
        .header("content-type", "application/json")
        .body(Full::from(body.to_owned()))
        .unwrap()
}

pub(super) async fn json(response: Response<Incoming>) -> (StatusCode, Value) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn calls_of_one_connection_are_decided_each_and_reach_a_server_of_http1() {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    let mut client = client(proxied.connect().await).await;
    let (status, allowed) = json(client.send_request(post(&call("add"))).await.unwrap()).await;
    assert_eq!((status, &allowed["id"]), (StatusCode::OK, &Value::from("r1")));
    assert!(allowed["result"].is_object(), "{allowed}");
    let (status, denied) = json(client.send_request(post(&call("big"))).await.unwrap()).await;
    assert_eq!(
        (status, denied["error"]["code"].as_i64()),
        (StatusCode::OK, Some(-32602))
    );
    let many = join_all(
        (0..40)
            .map(|_| client.clone())
            .map(async |mut client| json(client.send_request(post(&call("add"))).await.unwrap()).await.0),
    );
    assert!(many.await.into_iter().all(|status| status == StatusCode::OK));
    {
        let seen = upstream.seen.lock().unwrap();
        assert_eq!(seen.len(), 41);
        let head = &seen[0].head;
        assert_eq!(head.version, http::Version::HTTP_11);
        assert_eq!(
            (head.uri.to_string().as_str(), &head.headers["host"]),
            ("/mcp", &"calc.tools.svc".parse().unwrap())
        );
    }
    drop(client);
    assert_eq!(proxied.finish().await.len(), 42);
}

#[tokio::test]
async fn the_gateway_speaks_it_too() {
    let server = SessionServer::start().await;
    let proxied = gateway::start(gateway::desired(&[server.address])).await;
    let mut client = client(proxied.connect().await).await;
    let list = r#"{"jsonrpc":"2.0","method":"tools/list","id":1}"#;
    let (status, answer) = json(client.send_request(post(list)).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["result"]["tools"][0]["name"], "a_add");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_and_the_connection_goes_on() {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    let mut client = client(proxied.connect().await).await;
    let with = |change: &dyn Fn(&mut Request<Full<Bytes>>)| {
        let mut request = post(&call("add"));
        change(&mut request);
        request
    };
    let host = with(&|request| drop(request.headers_mut().insert("host", "other".parse().unwrap())));
    let path = with(&|request| *request.uri_mut() = "http://calc/elsewhere".parse().unwrap());
    let method = with(&|request| *request.method_mut() = http::Method::PUT);
    let large = post(&" ".repeat(crate::proxy::limits::MAX_BODY + 1));
    let many = with(&|request| {
        for n in 0..70 {
            let name = http::HeaderName::try_from(format!("x-{n}")).unwrap();
            request.headers_mut().insert(name, "1".parse().unwrap());
        }
    });
    for (request, expected) in [
        (host, StatusCode::BAD_REQUEST),
        (path, StatusCode::FORBIDDEN),
        (method, StatusCode::METHOD_NOT_ALLOWED),
        (large, StatusCode::PAYLOAD_TOO_LARGE),
        (many, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
    ] {
        assert_eq!(json(client.send_request(request).await.unwrap()).await.0, expected);
    }
    assert_eq!(upstream.requests(), 0);
    let (status, _) = json(client.send_request(post(&call("add"))).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_call_that_is_taken_back_is_taken_back_at_the_server_and_recorded_so() {
    let (scripted, address) = Scripted::start().await;
    let proxied = Proxied::start(address).await;
    let mut client = client(proxied.connect().await).await;
    let mut server = tokio::select! {
        _ = client.send_request(post(&call("add"))) => panic!("answered"),
        server = scripted.asked() => server,
    };
    // The connection to the server ends with the call.
    let ended = tokio::time::timeout(Duration::from_secs(20), server.read(&mut [0; 1]))
        .await
        .unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    drop(client);
    assert_eq!(proxied.finish().await[0]["outcome"], "cancelled");
}

#[tokio::test]
async fn a_preface_in_pieces_is_one_and_what_follows_it_must_be_http2() {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    let mut stream = proxied.connect().await;
    stream.write_all(b"PRI * HT").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    stream.write_all(b"TP/2.0\r\n\r\nSM\r\n\r\nthis is none").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    // Settings first, and a goodbye at the end.
    assert_eq!(answer[3], 4, "{answer:?}");
    assert!(answer.windows(4).any(|frame| frame == [8, 7, 0, 0]), "{answer:?}");
    let lines = proxied.finish().await;
    assert_eq!(lines[0]["reason"], "bad_http");
}

#[tokio::test]
async fn a_workload_has_so_many_calls_in_flight_and_no_more() {
    let upstream = Upstream::start().await;
    let proxied = Proxied::start(upstream.address).await;
    let room = Room::of_workload(proxied.tasks.clone());
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (shared, served) = (Arc::clone(&proxied.shared), room.clone());
    let caller = Arc::new(Caller {
        workload: None,
        destination: upstream.address,
        client: None,
        process: None,
        token: None,
        observed: false,
    });
    tokio::spawn(async move { drop(http_service::two(ours, &caller, &served, &shared).await) });
    let mut client = client(theirs).await;
    let mut others = room.streams.none(Payer::Agent);
    assert!(others.resize(MAX_STREAMS_PER_WORKLOAD));
    let (status, body) = json(client.send_request(post(&call("add"))).await.unwrap()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert_eq!(upstream.requests(), 0);
    drop(others);
    let (status, _) = json(client.send_request(post(&call("add"))).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_call_whose_answer_is_not_read_lets_go_of_its_server() {
    let (scripted, address) = Scripted::start().await;
    let proxied = Proxied::start(address).await;
    let mut room = Room::of_workload(proxied.tasks.clone());
    room.patience = Duration::from_millis(200);
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let shared = Arc::clone(&proxied.shared);
    let caller = Arc::new(Caller {
        workload: None,
        destination: address,
        client: None,
        process: None,
        token: None,
        observed: false,
    });
    let served = tokio::spawn(async move { drop(http_service::two(ours, &caller, &room, &shared).await) });
    let mut client = client(theirs).await;
    let asked = tokio::spawn(client.send_request(post(&call("add"))));
    let mut server = scripted.asked().await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000000\r\n\r\n";
    server.write_all(head.as_bytes()).await.unwrap();
    let unread = asked.await.unwrap().unwrap();
    let given = tokio::time::timeout(Duration::from_secs(20), async {
        while server.write_all(&[b' '; 16 * 1024]).await.is_ok() {}
    });
    given.await.expect("the server is held for ever");
    drop((unread, client));
    served.await.unwrap();
    assert_eq!(proxied.finish().await[0]["outcome"], "cancelled");
}
