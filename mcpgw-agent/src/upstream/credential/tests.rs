//! Credentials, on real sockets: the server and the authorization server are played here, byte by byte.

use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    resources::{ObjectName, Server},
    shares::Payer,
    upstream::{Upstream, Upstreams},
    waiting::until,
};

/// Answers every request with the next of its answers, the last one for ever, and keeps what it was asked.
pub(crate) struct Peer {
    pub(crate) address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    /// From which request on it refuses.
    refuses: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    pub(crate) async fn start(answers: Vec<(u16, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (kept, turn) = (Arc::clone(&asked), AtomicUsize::new(0));
        let refuses = Arc::new(AtomicUsize::new(usize::MAX));
        let refused = Arc::clone(&refuses);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = String::new();
                let mut bytes = [0; 8192];
                while !is_whole(&text) {
                    let read = stream.read(&mut bytes).await.unwrap();
                    assert!(read > 0, "{text:?}");
                    text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
                }
                kept.lock().unwrap().push(text);
                let turn = turn.fetch_add(1, Ordering::Relaxed);
                let no = (403, String::new());
                let (status, body) = match turn < refused.load(Ordering::Relaxed) {
                    true => &answers[turn.min(answers.len() - 1)],
                    false => &no,
                };
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self {
            address,
            asked,
            refuses,
            task,
        }
    }

    /// Answers no request behind this many.
    pub(crate) fn refuse_from(&self, turn: usize) {
        self.refuses.store(turn, Ordering::Relaxed);
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn shown(&self) -> Vec<String> {
        let header = |text: &String| {
            let lines = text.lines().filter_map(|line| line.split_once(": "));
            let found: Vec<&str> = lines
                .filter(|(name, _)| *name == "authorization")
                .map(|(_, value)| value)
                .collect();
            found.join(" and ")
        };
        self.asked().iter().map(header).collect()
    }
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

pub(crate) fn token(name: &str, lives: u64) -> (u16, String) {
    (
        200,
        format!(r#"{{"access_token":"{name}","token_type":"Bearer","expires_in":{lives}}}"#),
    )
}

struct Scene {
    server: Peer,
    upstream: Arc<Upstream>,
    _upstreams: Arc<Upstreams>,
}

impl Scene {
    async fn with(credential: Credential) -> Self {
        let server = Peer::start(vec![(200, "ok".to_owned())]).await;
        let name = ObjectName {
            namespace: "tools".into(),
            name: "calc".into(),
        };
        let mut wanted = Server::at(name.clone(), vec![server.address]);
        wanted.credential = Some(Arc::new(credential));
        let upstreams = Upstreams::new(Handle::current());
        upstreams.put_in_force(&[Arc::new(wanted)]);
        let upstream = upstreams.get(&name).unwrap();
        Self {
            server,
            upstream,
            _upstreams: upstreams,
        }
    }

    /// Asks the server, with headers of the caller's own.
    async fn ask(&self, behalf: Option<Behalf>) -> Result<(), String> {
        let mut request = Request::post("/mcp")
            .header("authorization", "Bearer the-callers-own")
            .header("cookie", "the-callers=own")
            .header("connection", "authorization, x-key")
            .body(Full::<Bytes>::default())
            .unwrap();
        if let Some(behalf) = behalf {
            request.extensions_mut().insert(behalf);
        }
        let endpoint = self.upstream.pick(Payer::Agent).unwrap();
        let asked = self.upstream.send(&endpoint, Payer::Agent, request).await;
        asked.map(drop).map_err(|error| {
            format!(
                "{error}: {:?}",
                std::error::Error::source(&error).map(ToString::to_string)
            )
        })
    }
}

fn write(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, path).unwrap();
}

fn endpoint(peer: &Peer, secret: &Path) -> TokenEndpoint {
    TokenEndpoint {
        url: format!("http://{}/token", peer.address).into(),
        client_id: "mcpgw".into(),
        client_secret: secret.to_owned(),
        scopes: vec!["read".into(), "write".into()],
        audience: Some("https://calc.example/mcp".into()),
        authorities: None,
    }
}

#[tokio::test]
async fn a_secret_of_a_file_takes_the_place_of_what_the_caller_showed_and_follows_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    write(&file, " s3cret\n");
    let scene = Scene::with(Credential::Bearer { file: file.clone() }).await;
    scene.ask(None).await.unwrap();
    assert_eq!(scene.server.shown(), ["Bearer s3cret"]);
    assert!(
        !scene.server.asked()[0].contains("callers"),
        "{:?}",
        scene.server.asked()
    );
    write(&file, "other");
    until("the new secret", async || {
        scene.ask(None).await.unwrap();
        scene.server.shown().last().unwrap() == "Bearer other"
    })
    .await;
    std::fs::remove_file(&file).unwrap();
    until("no secret", async || scene.ask(None).await.is_err()).await;
    let error = scene.ask(None).await.unwrap_err();
    assert!(error.starts_with("has a credential that cannot be had now"), "{error}");
    assert!(!error.contains("other"), "{error}");
}

#[tokio::test]
async fn a_secret_goes_into_the_header_that_the_server_wants() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    write(&file, "k");
    let name = HeaderName::from_static("x-key");
    let scene = Scene::with(Credential::Header { name, file }).await;
    scene.ask(None).await.unwrap();
    let asked = &scene.server.asked()[0];
    assert!(
        asked.contains("x-key: k\r\n") && !asked.contains("authorization"),
        "{asked}"
    );
}

#[tokio::test]
async fn a_token_is_had_once_for_all_and_again_before_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    write(&secret, "p:w d");
    let issuer = Peer::start(vec![token("one", 4), token("two", 3600)]).await;
    let scene = Scene::with(Credential::OAuth2(endpoint(&issuer, &secret))).await;
    let all = futures_util::future::join_all((0..20).map(|_| scene.ask(None))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(issuer.asked().len(), 1);
    assert!(scene.server.shown().iter().all(|shown| shown == "Bearer one"));
    let asked = &issuer.asked()[0];
    let form = "grant_type=client_credentials&scope=read+write&audience=https%3A%2F%2Fcalc.example%2Fmcp";
    assert!(asked.ends_with(form), "{asked}");
    assert_eq!(
        issuer.shown(),
        [format!("Basic {}", {
            use base64::{Engine as _, prelude::BASE64_STANDARD};
            BASE64_STANDARD.encode("mcpgw:p%3Aw+d")
        })]
    );
    // A quarter of its life before its end it is had again, while calls go on with it.
    until("the next token", async || {
        scene.ask(None).await.unwrap();
        scene.server.shown().last().unwrap() == "Bearer two"
    })
    .await;
    assert_eq!(issuer.asked().len(), 2);
}

#[tokio::test]
async fn an_authorization_server_that_gives_nothing_is_not_asked_at_every_call() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    write(&secret, "s3cret");
    for (answer, expected) in [
        (
            (400, r#"{"error":"invalid_client","error_description":"s3cret"}"#),
            "HTTP 400 Bad Request, invalid_client",
        ),
        (
            (500, "<html>s3cret</html>"),
            "HTTP 500 Internal Server Error, without a reason",
        ),
        ((200, "{}"), "no access_token"),
        ((200, r#"{"access_token":"a","token_type":"mac"}"#), "no bearer token"),
        (
            (200, r#"{"access_token":"a\nb: c","token_type":"bearer"}"#),
            "its token cannot be sent",
        ),
        (
            (200, r#"{"access_token":"a","token_type":"bearer","expires_in":0}"#),
            "had ended when it came",
        ),
    ] {
        let issuer = Peer::start(vec![(answer.0, answer.1.to_owned())]).await;
        let scene = Scene::with(Credential::OAuth2(endpoint(&issuer, &secret))).await;
        for _ in 0..3 {
            let error = scene.ask(None).await.unwrap_err();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{error}");
        }
        assert_eq!((issuer.asked().len(), scene.server.asked().len()), (1, 0));
    }
}

#[tokio::test]
async fn each_callers_token_is_exchanged_for_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    write(&secret, "s");
    let issuer = Peer::start(vec![
        token("for-alice", 600),
        token("for-bob", 600),
        token("for-us", 600),
    ])
    .await;
    let scene = Scene::with(Credential::TokenExchange(endpoint(&issuer, &secret))).await;
    let caller = |name: &str| Some(Behalf::Caller(name.into()));
    for behalf in [
        caller("alice.t"),
        caller("bob.t"),
        caller("alice.t"),
        Some(Behalf::Agent),
    ] {
        scene.ask(behalf).await.unwrap();
    }
    let expected = [
        "Bearer for-alice",
        "Bearer for-bob",
        "Bearer for-alice",
        "Bearer for-us",
    ];
    assert_eq!(scene.server.shown(), expected);
    let asked = issuer.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked[0].contains("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange"));
    assert!(
        asked[0].contains("subject_token=alice.t&subject_token_type="),
        "{}",
        asked[0]
    );
    assert!(asked[2].contains("grant_type=client_credentials"), "{}", asked[2]);
    // Without a word on whose behalf, nothing is sent, neither with the caller's token nor with ours.
    let error = scene.ask(None).await.unwrap_err();
    assert!(error.contains("needs the token of a caller"), "{error}");
    assert_eq!(scene.server.asked().len(), 4);
}

#[tokio::test]
async fn tokens_that_are_kept_exchanged_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    write(&secret, "s");
    let issuer = Peer::start(vec![token("t", 600)]).await;
    let shown = Shown::new(
        &Credential::TokenExchange(endpoint(&issuer, &secret)),
        &Handle::current(),
    );
    for n in 0..MAX_EXCHANGED_TOKENS + 10 {
        shown.exchanged(&Behalf::Caller(format!("{n}").into())).unwrap();
    }
    let Source::Exchange { tokens, .. } = &shown.source else {
        panic!()
    };
    assert!(tokens.lock().unwrap().len() <= MAX_EXCHANGED_TOKENS);
}
