//! TLS that ends here: at the gateway's addresses, and on the way to servers that name a certificate for that.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::resources::Certificate;

/// What is agreed on with clients, best first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
const HTTP2: &[u8] = b"h2";
/// A file with a certificate or a key, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A certificate and its key, read anew when one of the files has changed. What cannot be used leaves the last good
/// ones in force.
#[derive(Debug)]
pub struct Tls {
    files: Certificate,
    built: Mutex<Built>,
}

#[derive(Debug)]
struct Built {
    changed: Changed,
    /// `None` while there was no good one yet.
    config: Option<Arc<ServerConfig>>,
    /// Why the files as they stand now cannot be used.
    error: Option<String>,
}

/// When the two files were changed.
type Changed = [Option<SystemTime>; 2];

/// The certificates of servers whose clients' TLS ends here.
#[derive(Debug, Default)]
pub(super) struct Certificates(Mutex<HashMap<Certificate, Arc<Tls>>>);

impl Certificates {
    /// The certificate in these files, as it was last good.
    pub(super) fn of(&self, files: &Certificate) -> Result<Arc<Tls>, CertificateError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tls) = known.get(files) {
            return Ok(Arc::clone(tls));
        }
        let tls = Tls::open(files)?;
        known.insert(files.clone(), Arc::clone(&tls));
        Ok(tls)
    }

    /// Forgets those that are no server's any more.
    pub(super) fn retain(&self, is_used: impl Fn(&Certificate) -> bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|files, _| is_used(files));
    }
}

/// Whether HTTP/2 was agreed on.
pub(super) fn is_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file holds no such thing.
    #[error("there is no {what} in {}", path.display())]
    Missing {
        /// A certificate, or a key.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// They do not go together, or are of no use.
    #[error("cannot be used with this key: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Tls {
    /// With the certificate and key in these files.
    ///
    /// # Errors
    ///
    /// When they cannot be used as they are.
    pub fn open(files: &Certificate) -> Result<Arc<Self>, CertificateError> {
        let changed = changed(files);
        Ok(Arc::new(Self {
            built: Mutex::new(Built {
                changed,
                config: Some(Arc::new(build(files)?)),
                error: None,
            }),
            files: files.clone(),
        }))
    }

    /// With the certificate and key in these files; until they can be used with those of `before`, if any.
    pub(super) fn follow(files: &Certificate, before: Option<&Self>) -> Arc<Self> {
        let changed = changed(files);
        let (config, error) = match build(files) {
            Ok(config) => (Some(Arc::new(config)), None),
            Err(error) => {
                tracing::warn!(%error, "a certificate cannot be used");
                (before.and_then(Self::config), Some(error.to_string()))
            }
        };
        Arc::new(Self {
            built: Mutex::new(Built { changed, config, error }),
            files: files.clone(),
        })
    }

    /// Whether it is in these files.
    pub(super) fn is_of(&self, files: &Certificate) -> bool {
        self.files == *files
    }

    /// Shakes hands with a client.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.config();
        let config = config.ok_or_else(|| io::Error::other("there is no certificate that can be used"))?;
        TlsAcceptor::from(config).accept(stream).await
    }

    /// Why the files as they stand now cannot be used; `None` if they are in force.
    pub fn error(&self) -> Option<String> {
        self.config();
        self.built.lock().unwrap_or_else(PoisonError::into_inner).error.clone()
    }

    fn config(&self) -> Option<Arc<ServerConfig>> {
        let changed = changed(&self.files);
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if built.changed != changed {
            built.changed = changed;
            match build(&self.files) {
                Ok(config) => {
                    tracing::info!(file = %self.files.certificate.display(), "a certificate has changed");
                    built.config = Some(Arc::new(config));
                    built.error = None;
                }
                Err(error) => {
                    tracing::warn!(%error, "a certificate cannot be used; the last good one stays in force");
                    built.error = Some(error.to_string());
                }
            }
        }
        built.config.clone()
    }
}

fn changed(files: &Certificate) -> Changed {
    [&files.certificate, &files.key].map(|path| path.metadata().and_then(|metadata| metadata.modified()).ok())
}

fn build(files: &Certificate) -> Result<ServerConfig, CertificateError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(&files.certificate)?)
        .filter_map(Result::ok)
        .collect();
    if chain.is_empty() {
        return Err(CertificateError::Missing {
            what: "certificate",
            path: files.certificate.clone(),
        });
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|_| CertificateError::Missing {
        what: "private key",
        path: files.key.clone(),
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    use io::Read as _;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(source) => Err(CertificateError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}
