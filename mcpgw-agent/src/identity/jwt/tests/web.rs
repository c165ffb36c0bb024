//! Issuers that are asked over HTTP and HTTPS.

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;

/// Answers by path, on loopback.
struct Site {
    address: SocketAddr,
    pages: Arc<Mutex<Vec<(String, String)>>>,
    asked: Arc<AtomicUsize>,
    /// What it wants to be shown, if anything.
    wanted: Arc<Mutex<Option<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Site {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let wanted: Arc<Mutex<Option<String>>> = Arc::default();
        let (served, count, shown) = (Arc::clone(&pages), Arc::clone(&asked), Arc::clone(&wanted));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = |path: &str, request: &str| {
                    let wanted = shown.lock().unwrap().clone();
                    if wanted.is_some_and(|wanted| !request.contains(&format!("\r\nauthorization: {wanted}\r\n"))) {
                        return "HTTP/1.1 403 x\r\ncontent-length: 0\r\n\r\n".to_owned();
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                    let pages = served.lock().unwrap();
                    let page = pages.iter().rev().find(|(known, _)| known == path);
                    page.map_or_else(
                        || "HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n".to_owned(),
                        |(_, answer)| answer.clone(),
                    )
                };
                match &tls {
                    None => serve(stream, answer).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, answer).await;
                        }
                    }
                }
            }
        });
        Self {
            address,
            pages,
            asked,
            wanted,
            task,
        }
    }

    fn says(&self, path: &str, body: &str) {
        let length = body.len();
        self.answers(
            path,
            &format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"),
        );
    }

    fn answers(&self, path: &str, answer: &str) {
        self.pages.lock().unwrap().push((path.to_owned(), answer.to_owned()));
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, answer: impl Fn(&str, &str) -> String) {
    let mut request = [0; 4096];
    let Ok(read) = stream.read(&mut request).await else {
        return;
    };
    let text = String::from_utf8_lossy(&request[..read]).into_owned();
    let Some(path) = text.split(' ').nth(1) else { return };
    let _ = stream.write_all(answer(path, &text).as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn discovered(site: &Site) -> resources::Issuer {
    resources::Issuer {
        keys: KeySource::Discovery,
        ..issuer(&site.url(), PathBuf::new())
    }
}

async fn tried(issuers: &Issuers) -> IssuerStatus {
    for _ in 0..1_000 {
        let status = issuers.status().remove(0);
        if status.reads + status.failed_reads > 0 {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never asked");
}

#[tokio::test]
async fn keys_are_found_by_discovery_and_an_unknown_one_is_asked_for_once_for_all() {
    let site = Site::start(None).await;
    let (old, new) = (Signer::p256("old"), Signer::p256("new"));
    let configuration = json!({"issuer": site.url(), "jwks_uri": format!("{}/keys", site.url())});
    site.says("/.well-known/openid-configuration", &configuration.to_string());
    site.says("/keys", &document(&[old.jwk()]));
    let issuers = in_force(vec![discovered(&site)]);
    let claims = with("iss", site.url().into());
    assert!(issuers.verify(&old.token(&claims)).await.is_ok());
    assert_eq!(site.asked.load(Ordering::Relaxed), 2);

    site.says("/keys", &document(&[new.jwk()]));
    // They all wait for the one time that the issuer is asked again, not too soon after the last.
    let many: Vec<String> = (0..50).map(|n| new.token(&with_subject(&claims, n))).collect();
    let all = futures_util::future::join_all(many.iter().map(|token| issuers.verify(token))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(site.asked.load(Ordering::Relaxed), 4);
    // Whoever sends unknown keys cannot have the issuer asked at will.
    let begun = std::time::Instant::now();
    for n in 0..2 {
        let stranger = Signer::p256("stranger").token(&with_subject(&claims, n));
        assert_eq!(issuers.verify(&stranger).await.err(), Some(Refusal::UnknownKey));
    }
    assert!(begun.elapsed() >= limits::MIN_REFRESH_INTERVAL);
    assert_eq!(site.asked.load(Ordering::Relaxed), 4 + 2 * 2);
}

fn with_subject(claims: &Value, n: usize) -> Value {
    let mut claims = claims.clone();
    claims["sub"] = format!("user-{n}").into();
    claims
}

#[tokio::test]
async fn what_an_issuer_says_is_bounded_and_must_be_its_own() {
    let keys = document(&[Signer::ed25519("k").jwk()]);
    let endless = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{}",
        " ".repeat(limits::MAX_DOCUMENT_BYTES + 1)
    );
    for (case, configuration, answer, expected) in [
        (
            "another issuer",
            Some("https://evil.example"),
            None,
            "is another issuer's",
        ),
        ("no document", None, None, "answered HTTP 404"),
        (
            "keys of an unsafe URL",
            Some("self"),
            Some("http://10.0.0.1/keys"),
            "is http, and not on loopback",
        ),
        ("a redirect", Some("self"), Some("/redirect"), "answered HTTP 302"),
        ("too much", Some("self"), Some("/endless"), "is longer than"),
        (
            "no keys",
            Some("self"),
            Some("/empty"),
            "no key that tokens can be verified with",
        ),
    ] {
        let site = Site::start(None).await;
        site.says("/keys", &keys);
        site.says("/empty", r#"{"keys":[]}"#);
        site.answers(
            "/redirect",
            "HTTP/1.1 302 x\r\nlocation: /keys\r\ncontent-length: 0\r\n\r\n",
        );
        site.answers("/endless", &endless);
        if let Some(name) = configuration {
            let name = if name == "self" { site.url() } else { name.to_owned() };
            let answer = answer.unwrap_or("/keys");
            let uri = if answer.starts_with('/') {
                site.url() + answer
            } else {
                answer.to_owned()
            };
            let document = json!({"issuer": name, "jwks_uri": uri});
            site.says("/.well-known/openid-configuration", &document.to_string());
        }
        let issuers = in_force(vec![discovered(&site)]);
        let status = tried(&issuers).await;
        let error = status.error.unwrap_or_default();
        assert!(error.contains(expected), "{case}: {error}");
        assert_eq!(status.state, "NoKeys", "{case}");
    }
}

#[tokio::test]
async fn an_issuers_certificate_must_come_from_its_authority() {
    let (tls, certificate) = localhost();
    let site = Site::start(Some(tls)).await;
    let signer = Signer::ed25519("k");
    site.says("/keys", &document(&[signer.jwk()]));
    let dir = tempfile::tempdir().unwrap();
    let authority = dir.path().join("ca.pem");
    std::fs::write(&authority, certificate).unwrap();
    let url = format!("https://localhost:{}/keys", site.address.port());
    let one = resources::Issuer {
        keys: KeySource::Url(url.as_str().into()),
        ..issuer(ISSUER, PathBuf::new())
    };
    let untrusted = in_force(vec![one.clone()]);
    let error = tried(&untrusted).await.error.unwrap();
    assert!(error.contains("invalid peer certificate"), "{error}");
    let trusted = in_force(vec![resources::Issuer {
        authorities: Some(authority),
        ..one.clone()
    }]);
    assert!(trusted.verify(&signer.token(&claims())).await.is_ok());
    let missing = in_force(vec![resources::Issuer {
        authorities: Some(dir.path().join("absent.pem")),
        ..one
    }]);
    let error = tried(&missing).await.error.unwrap();
    assert!(error.contains("cannot read the authorities"), "{error}");
}

#[tokio::test]
async fn an_issuer_that_answers_nobody_it_does_not_know_is_shown_the_token_of_a_file_as_it_is_now() {
    let site = Site::start(None).await;
    let signer = Signer::ed25519("k");
    let configuration = json!({"issuer": site.url(), "jwks_uri": format!("{}/keys", site.url())});
    site.says("/.well-known/openid-configuration", &configuration.to_string());
    site.says("/keys", &document(&[signer.jwk()]));
    *site.wanted.lock().unwrap() = Some("Bearer the-pods-own".to_owned());
    let claims = with("iss", site.url().into());
    let anonymous = in_force(vec![discovered(&site)]);
    let error = tried(&anonymous).await.error.unwrap();
    assert!(error.contains("answered HTTP 403"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    for keys in [
        KeySource::Discovery,
        KeySource::Url(format!("{}/keys", site.url()).into()),
    ] {
        let known = || resources::Issuer {
            keys: keys.clone(),
            key_token: Some(file.clone()),
            ..discovered(&site)
        };
        std::fs::write(&file, "the-pods-own\n").unwrap();
        assert!(
            in_force(vec![known()]).verify(&signer.token(&claims)).await.is_ok(),
            "{keys:?}"
        );

        // No word of the token is in what people read.
        std::fs::write(&file, "of-another").unwrap();
        let status = tried(&in_force(vec![known()])).await;
        let error = status.error.unwrap();
        assert!(
            error.contains("answered HTTP 403") && !error.contains("of-another"),
            "{error}"
        );
        for bad in ["", "\n", "two words", "two\nlines", "\u{fc}"] {
            std::fs::write(&file, bad).unwrap();
            let error = tried(&in_force(vec![known()])).await.error.unwrap();
            assert!(error.starts_with("there is no token in "), "{bad:?}: {error}");
        }
        std::fs::remove_file(&file).unwrap();
        let error = tried(&in_force(vec![known()])).await.error.unwrap();
        assert!(error.starts_with("cannot read "), "{error}");
    }
}
