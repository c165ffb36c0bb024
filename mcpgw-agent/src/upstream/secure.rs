//! TLS towards a server.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::connect::Connection;
use crate::{
    resources::UpstreamTls,
    web::{read_authorities, system_authorities, tls},
};

/// What is agreed on with the server, best first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// HTTP/2, as TLS calls it.
pub(super) const HTTP2: &[u8] = b"h2";

/// How one server is spoken to over TLS. The certificate must be of the server's name, and signed by an authority of
/// the file that the server's settings name, or of the system.
#[derive(Debug)]
pub(crate) struct Secure {
    protocols: &'static [&'static [u8]],
    name: Box<str>,
    authorities: Option<PathBuf>,
    config: Mutex<Option<Built>>,
}

/// Made of the authorities as they were at some time.
#[derive(Debug)]
struct Built {
    changed: Option<SystemTime>,
    config: Arc<ClientConfig>,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authorities cannot be read, and never could.
    #[error("the authorities of its certificate cannot be used: {0}")]
    Authorities(String),
    /// No certificate could have its name.
    #[error("its name cannot be in a certificate: {0}")]
    Name(String),
    /// Its certificate is not of its name, not of a known authority, or not of this time.
    #[error("its certificate is not trusted: {0}")]
    Certificate(rustls::Error),
    /// The handshake failed otherwise.
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
}

impl Secure {
    /// For a server of this name or address, unless its settings say another name.
    pub(super) fn new(wanted: &UpstreamTls, host: &str) -> Self {
        Self::speaking(&PROTOCOLS, wanted, host)
    }

    /// As [`Secure::new`], for other protocols, best first, by their names in ALPN.
    pub(crate) fn speaking(protocols: &'static [&'static [u8]], wanted: &UpstreamTls, host: &str) -> Self {
        Self {
            protocols,
            name: wanted.server_name.as_deref().unwrap_or(host).into(),
            authorities: wanted.authorities.clone(),
            config: Mutex::default(),
        }
    }

    /// Makes a connection a secure one.
    pub(super) async fn secure(&self, connection: Connection) -> Result<TlsStream<Connection>, TlsError> {
        let name = ServerName::try_from(self.name.to_string()).map_err(|error| TlsError::Name(error.to_string()))?;
        let connector = TlsConnector::from(self.config()?);
        connector
            .connect(name, connection)
            .await
            .map_err(|error| match certificate(&error) {
                Some(certificate) => TlsError::Certificate(certificate),
                None => TlsError::Handshake(error),
            })
    }

    /// The configuration, made anew when the file of the authorities has changed. One that cannot be read any more
    /// leaves the last good ones in force.
    fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let changed = self.authorities.as_deref().and_then(changed);
        let mut built = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(built) = built.as_ref().filter(|built| built.changed == changed) {
            return Ok(Arc::clone(&built.config));
        }
        match (self.build(), built.as_ref()) {
            (Ok(config), _) => {
                let config = Arc::new(config);
                *built = Some(Built {
                    changed,
                    config: Arc::clone(&config),
                });
                Ok(config)
            }
            (Err(error), Some(good)) => {
                tracing::warn!(server = &*self.name, %error, "the last good authorities of a server stay in force");
                Ok(Arc::clone(&good.config))
            }
            (Err(error), None) => Err(TlsError::Authorities(error)),
        }
    }

    fn build(&self) -> Result<ClientConfig, String> {
        let roots = match &self.authorities {
            Some(path) => read_authorities(path).map_err(|error| error.to_string())?,
            None => system_authorities(),
        };
        let mut config = tls(roots).map_err(|error| error.to_string())?;
        config.alpn_protocols = self.protocols.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

/// What is wrong with the certificate, where that is what is wrong.
fn certificate(error: &io::Error) -> Option<rustls::Error> {
    let error: &rustls::Error = error.get_ref()?.downcast_ref()?;
    matches!(error, rustls::Error::InvalidCertificate(_)).then(|| error.clone())
}
