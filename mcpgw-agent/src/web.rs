//! What the agent itself asks of services beside the MCP servers: issuers' keys, tokens for servers. Always off the
//! call path or with a deadline; over TLS, or over plain HTTP on loopback.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::time::timeout;

use crate::resources::check_url;

/// A file with authorities, in bytes.
const MAX_AUTHORITIES_BYTES: u64 = 4 * 1024 * 1024;

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    /// The URL may not be asked.
    #[error("{url} {reason}")]
    Url { url: String, reason: &'static str },
    /// The authorities cannot be read.
    #[error("cannot read the authorities {path}: {source}")]
    Authorities { path: PathBuf, source: io::Error },
    /// The file has none.
    #[error("there is no certificate in {path}")]
    NoAuthorities { path: PathBuf },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No answer.
    #[error("{host} cannot be asked: {reason}")]
    Unreachable { host: String, reason: String },
    /// None in time.
    #[error("{host} did not answer within {} s", .limit.as_secs())]
    Timeout { host: String, limit: Duration },
    /// Another answer than 200.
    #[error("{host} answered HTTP {status}")]
    Status { host: String, status: StatusCode },
    /// Too long an answer, or one that broke off.
    #[error("the answer of {host} is longer than {max} bytes, or broke off")]
    Body { host: String, max: usize },
}

/// Asks over HTTPS.
pub(crate) struct Web {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    limit: Duration,
    max: usize,
}

impl Web {
    /// A client that trusts the authorities of a file, or the system's; an answer has `limit` to be complete, and
    /// may be `max` bytes long.
    pub(crate) fn new(authorities: Option<&Path>, limit: Duration, max: usize) -> Result<Self, WebError> {
        let roots = match authorities {
            Some(path) => read_authorities(path)?,
            None => system_authorities(),
        };
        let config = tls(roots)?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(limit));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self {
            // Most are asked once in minutes, and no connection is kept for that; who is asked more often knows us by its
            // TLS session.
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(connector),
            limit,
            max,
        })
    }

    /// The document at `url`. Redirects are not followed: the address that was configured is the one that is trusted.
    /// What is to be shown there goes with it.
    pub(crate) async fn get(&self, url: &str, credential: Option<&HeaderValue>) -> Result<Bytes, WebError> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = parsed(url)?;
        let accept = HeaderValue::from_static("application/json, application/jwk-set+json");
        request.headers_mut().insert(header::ACCEPT, accept);
        if let Some(credential) = credential {
            request.headers_mut().insert(header::AUTHORIZATION, credential.clone());
        }
        let host = host(request.uri());
        match self.send(request).await? {
            (StatusCode::OK, body) => Ok(body),
            (status, _) => Err(WebError::Status { host, status }),
        }
    }

    /// Sends a request whose URL was checked, and reads the whole answer.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), WebError> {
        let host = host(request.uri());
        let (limit, max) = (self.limit, self.max);
        let asked = timeout(limit, async {
            let response = self.client.request(request).await;
            let response: Response<_> = response.map_err(|error| WebError::Unreachable {
                host: host.clone(),
                reason: innermost(&error),
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), max).collect().await;
            let body = body.map_err(|_| WebError::Body {
                host: host.clone(),
                max,
            })?;
            Ok((status, body.to_bytes()))
        });
        asked.await.unwrap_or(Err(WebError::Timeout {
            host: host.clone(),
            limit,
        }))
    }
}

/// How TLS is spoken to a service that shows a certificate of these authorities.
pub(crate) fn tls(authorities: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    Ok(
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(authorities)
            .with_no_client_auth(),
    )
}

/// The URI of a URL that may be asked.
pub(crate) fn parsed(url: &str) -> Result<Uri, WebError> {
    check_url(url).map_err(|reason| WebError::Url {
        url: url.chars().take(200).collect(),
        reason,
    })
}

fn host(uri: &Uri) -> String {
    uri.authority().map(ToString::to_string).unwrap_or_default()
}

pub(crate) fn read_authorities(path: &Path) -> Result<RootCertStore, WebError> {
    let failed = |source| WebError::Authorities {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > MAX_AUTHORITIES_BYTES {
        return Err(failed(io::Error::other("not a regular file of a sensible size")));
    }
    let text = fs::read(path).map_err(failed)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| failed(io::Error::other(error.to_string())))?;
        roots.add(certificate)?;
    }
    match roots.is_empty() {
        true => Err(WebError::NoAuthorities { path: path.to_owned() }),
        false => Ok(roots),
    }
}

/// The system's authorities, as far as they can be read: without any, no certificate is trusted.
pub(crate) fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// What is wrong at the bottom of it.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
