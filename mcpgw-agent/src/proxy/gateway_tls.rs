//! The gateway's certificate, as the settings in force name it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::{CertificateError, Tls};
use crate::resources::Certificate;

/// What TLS is spoken with at the gateway's addresses; empty: plain HTTP. Connections that are open stay as they are.
#[derive(Debug, Default)]
pub(super) struct GatewayTls(ArcSwapOption<Tls>);

impl GatewayTls {
    /// What a new connection gets.
    pub fn get(&self) -> Option<Arc<Tls>> {
        self.0.load_full()
    }

    /// Begins with these files.
    ///
    /// # Errors
    ///
    /// When they cannot be used as they are.
    pub fn begin(&self, files: Option<&Certificate>) -> Result<(), CertificateError> {
        self.0.store(files.map(Tls::open).transpose()?);
        Ok(())
    }

    /// Goes on with these files. Where they cannot be used, the last good certificate stays in force until they can;
    /// where there was none, nobody is served: who asks for TLS does not get plain HTTP.
    pub fn put_in_force(&self, files: Option<&Certificate>) {
        let running = self.get();
        match (&running, files) {
            (None, None) => {}
            (Some(running), Some(files)) if running.is_of(files) => {}
            (_, Some(files)) => {
                tracing::info!(file = %files.certificate.display(), "the gateway has another certificate");
                self.0.store(Some(Tls::follow(files, running.as_deref())));
            }
            (Some(_), None) => {
                tracing::warn!("the gateway has no certificate any more: it speaks plain HTTP");
                self.0.store(None);
            }
        }
    }
}
