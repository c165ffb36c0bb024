//! TLS towards a server: whose certificate is trusted, and what becomes of others.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Scripted, ask, post, server, with};
use crate::{
    resources::{Server, UpstreamTls},
    upstream::{TlsError, Upstream, UpstreamError},
};

const NAME: &str = "calc.tools.svc";

/// An authority, with its certificate in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, issuer.pem()).unwrap();
        Self {
            issuer,
            file,
            _directory: directory,
        }
    }

    /// Who serves by a certificate for this name, in one of these protocols.
    fn acceptor(&self, params: CertificateParams, protocols: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn for_name(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

fn secured(scripted: &Scripted, authorities: &Path) -> Server {
    Server {
        tls: Some(UpstreamTls {
            server_name: Some(NAME.into()),
            authorities: Some(authorities.to_owned()),
        }),
        ..server(&[scripted.address])
    }
}

async fn accept(scripted: &Scripted, acceptor: &TlsAcceptor) -> std::io::Result<TlsStream<TcpStream>> {
    acceptor.accept(scripted.accept().await).await
}

/// Reads one request and answers it.
async fn serve(stream: &mut TlsStream<TcpStream>) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.ends_with("body") {
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "ended: {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        .await
        .unwrap();
    text
}

/// What a call gets from a server with this certificate.
async fn met(authority: &Authority, trusted: &Path, params: CertificateParams) -> Result<String, UpstreamError> {
    let scripted = Scripted::start().await;
    let (_upstreams, upstream) = with(secured(&scripted, trusted));
    let acceptor = authority.acceptor(params, &["http/1.1"]);
    let server = async {
        if let Ok(mut stream) = accept(&scripted, &acceptor).await {
            serve(&mut stream).await;
        }
    };
    tokio::join!(server, ask(&upstream, post("body"))).1
}

#[tokio::test]
async fn a_server_of_a_trusted_certificate_is_asked_by_its_name_and_its_connection_used_again() {
    let authority = Authority::new();
    let scripted = Scripted::start().await;
    let (_upstreams, upstream) = with(secured(&scripted, &authority.file));
    let acceptor = authority.acceptor(for_name(NAME), &["http/1.1"]);
    let server = async {
        let mut stream = accept(&scripted, &acceptor).await.unwrap();
        let agreed = stream.get_ref().1;
        assert_eq!(agreed.server_name(), Some(NAME));
        assert_eq!(agreed.alpn_protocol(), Some(&b"http/1.1"[..]));
        (serve(&mut stream).await, serve(&mut stream).await)
    };
    let client = async { (ask(&upstream, post("body")).await, ask(&upstream, post("body")).await) };
    let ((first, _), answers) = tokio::join!(server, client);
    assert_eq!(
        (answers.0.unwrap().as_str(), answers.1.unwrap().as_str()),
        ("done", "done")
    );
    assert!(first.starts_with("POST /mcp HTTP/1.1\r\n"), "{first}");
}

#[tokio::test]
async fn http2_is_spoken_where_both_sides_agree_on_it() {
    let authority = Authority::new();
    let scripted = Scripted::start().await;
    let (_upstreams, upstream) = with(secured(&scripted, &authority.file));
    let acceptor = authority.acceptor(for_name(NAME), &["h2", "http/1.1"]);
    let server = async {
        let stream = accept(&scripted, &acceptor).await.unwrap();
        let service = hyper::service::service_fn(async |request: http::Request<hyper::body::Incoming>| {
            Ok::<_, std::convert::Infallible>(http::Response::new(request.into_body()))
        });
        let served = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
        drop(served.await);
    };
    let client = async { (ask(&upstream, post("body")).await, ask(&upstream, post("more")).await) };
    let answers = tokio::select! {
        () = server => panic!("ended"),
        answers = client => answers,
    };
    assert_eq!(
        (answers.0.unwrap(), answers.1.unwrap()),
        ("body".to_owned(), "more".to_owned())
    );
}

#[tokio::test]
async fn a_certificate_of_another_name_authority_or_time_is_refused_before_anything_is_sent() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let is_refused = |result: Result<String, UpstreamError>| {
        let error = result.unwrap_err();
        assert!(
            matches!(error, UpstreamError::Tls(TlsError::Certificate(_))),
            "{error:?}"
        );
        assert_eq!(error.answer().1, "upstream_certificate");
        error.explain()
    };
    let other_name = is_refused(met(&ours, &ours.file, for_name("other.tools.svc")).await);
    assert!(
        other_name.contains("certificate is not trusted") && other_name.contains("name"),
        "{other_name}"
    );
    let other_authority = is_refused(met(&theirs, &ours.file, for_name(NAME)).await);
    assert!(
        other_authority.contains("certificate is not trusted"),
        "{other_authority}"
    );
    let mut old = for_name(NAME);
    old.not_before = rcgen::date_time_ymd(2001, 1, 1);
    old.not_after = rcgen::date_time_ymd(2002, 1, 1);
    is_refused(met(&ours, &ours.file, old).await);
    met(&ours, &ours.file, for_name(NAME)).await.unwrap();
}

#[tokio::test]
async fn authorities_that_change_are_read_anew_and_bad_ones_leave_the_good_in_force() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let scripted = Scripted::start().await;
    let (_upstreams, upstream) = with(secured(&scripted, &ours.file));
    let connect = async |authority: &Authority, upstream: &Upstream| {
        let acceptor = authority.acceptor(for_name(NAME), &[]);
        let server = async {
            if let Ok(mut stream) = accept(&scripted, &acceptor).await {
                serve(&mut stream).await;
            }
        };
        tokio::join!(server, ask(upstream, post("body"))).1.is_ok()
    };
    assert!(connect(&ours, &upstream).await);
    assert!(!connect(&theirs, &upstream).await);
    let put = |text: &str, seconds| {
        std::fs::write(&ours.file, text).unwrap();
        let file = std::fs::File::options().append(true).open(&ours.file).unwrap();
        let later = std::time::SystemTime::now() + Duration::from_secs(seconds);
        file.set_modified(later).unwrap();
    };
    put("no certificate", 10);
    assert!(connect(&ours, &upstream).await);
    put(&theirs.issuer.pem(), 20);
    assert!(connect(&theirs, &upstream).await);
    assert!(!connect(&ours, &upstream).await);
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_or_never_ends_the_handshake_is_an_error_in_time() {
    let authority = Authority::new();
    let scripted = Scripted::start().await;
    let mut wanted = secured(&scripted, &authority.file);
    wanted.timeouts.connect = Duration::from_millis(300);
    let (_upstreams, upstream) = with(wanted);
    let plain = async {
        let mut stream = scripted.accept().await;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (_stream, result) = tokio::join!(plain, ask(&upstream, post("body")));
    let error = result.unwrap_err();
    assert!(matches!(error, UpstreamError::Tls(TlsError::Handshake(_))), "{error:?}");
    let (_silent, result) = tokio::join!(scripted.accept(), ask(&upstream, post("body")));
    assert!(matches!(result, Err(UpstreamError::ConnectTimeout(_))));
    let (_, unreadable) = with(secured(&scripted, Path::new("/nonexistent/ca.pem")));
    let (_stream, result) = tokio::join!(scripted.accept(), ask(&unreadable, post("body")));
    let error = result.unwrap_err();
    assert!(
        matches!(error, UpstreamError::Tls(TlsError::Authorities(_))),
        "{error:?}"
    );
}
