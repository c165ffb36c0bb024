//! What the agent shows to a server in place of what the caller showed: a secret from a file, or a token of an
//! authorization server. None of it is ever logged or told to a caller.
//!
//! ```text
//! mod       which of them, put into a request
//! file      a secret from a file that is read again when it changes
//! renewed   a token that is had again before it ends, once for all who need it
//! endpoint  asks an authorization server
//! ```

mod endpoint;
mod file;
mod renewed;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::runtime::Handle;

use super::limits::MAX_EXCHANGED_TOKENS;
use crate::resources::{Credential, TokenEndpoint};
use file::SecretFile;
use renewed::Renewed;

/// On whose behalf a request is made; in the extensions of a request. Where a caller's token is exchanged for another,
/// a request that doesn't say is not made.
#[derive(Clone)]
pub enum Behalf {
    /// A caller's, with this token, which was verified. It goes to the authorization server that exchanges it, and
    /// nowhere else.
    Caller(Arc<str>),
    /// The agent's own: it asks what the server offers.
    Agent,
}

/// In the extensions of a request that is only observed: the caller's own credentials go on, and none of ours.
#[derive(Clone, Copy, Debug)]
pub struct OwnCredentials;

impl Behalf {
    fn digest(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        if let Self::Caller(token) = self {
            bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        }
        bytes
    }
}

impl std::fmt::Debug for Behalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Caller(_) => "Caller",
            Self::Agent => "Agent",
        })
    }
}

/// Why there is nothing to show. The texts hold no secret; what the file or the authorization server said is for the
/// log, and no caller's business.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be used.
    #[error("cannot use the secret in {path}: {reason}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What is wrong, without a word of its contents.
        reason: String,
    },
    /// The authorization server gives no token.
    #[error("{0}")]
    Endpoint(Arc<str>),
    /// There is no token of the caller's to exchange.
    #[error("needs the token of a caller, and there is none")]
    NoCaller,
}

/// The credential of one server.
pub(super) struct Shown {
    header: HeaderName,
    source: Source,
}

enum Source {
    File(Arc<SecretFile>),
    Token(Arc<Renewed>),
    Exchange {
        endpoint: TokenEndpoint,
        runtime: Handle,
        tokens: Mutex<HashMap<[u8; 32], Arc<Renewed>>>,
    },
}

impl Shown {
    /// Begins to follow what it is made from, on `runtime`.
    pub(super) fn new(credential: &Credential, runtime: &Handle) -> Self {
        let (header, source) = match credential {
            Credential::Bearer { file } => (
                header::AUTHORIZATION,
                Source::File(SecretFile::follow(file, "Bearer ", runtime)),
            ),
            Credential::Header { name, file } => (name.clone(), Source::File(SecretFile::follow(file, "", runtime))),
            Credential::OAuth2(endpoint) => {
                let renewed = Renewed::new(endpoint.clone(), Behalf::Agent, runtime.clone());
                (header::AUTHORIZATION, Source::Token(renewed))
            }
            Credential::TokenExchange(endpoint) => (
                header::AUTHORIZATION,
                Source::Exchange {
                    endpoint: endpoint.clone(),
                    runtime: runtime.clone(),
                    tokens: Mutex::default(),
                },
            ),
        };
        Self { header, source }
    }

    /// Puts it into a request, in place of what the caller showed by whatever header: the caller's own credentials are
    /// not for a server that has some of ours.
    pub(super) async fn put(&self, headers: &mut HeaderMap, behalf: Option<&Behalf>) -> Result<(), CredentialError> {
        for name in [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE] {
            headers.remove(name);
        }
        let value = match &self.source {
            Source::File(file) => file.value()?,
            Source::Token(token) => token.value().await?,
            Source::Exchange { .. } => {
                let renewed = self.exchanged(behalf.ok_or(CredentialError::NoCaller)?);
                renewed.ok_or(CredentialError::NoCaller)?.value().await?
            }
        };
        headers.insert(self.header.clone(), value);
        Ok(())
    }

    /// The token that a caller's is exchanged for. Of too many, any is forgotten: it is had again.
    fn exchanged(&self, behalf: &Behalf) -> Option<Arc<Renewed>> {
        let Source::Exchange {
            endpoint,
            runtime,
            tokens,
        } = &self.source
        else {
            return None;
        };
        let mut tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = behalf.digest();
        if let Some(known) = tokens.get(&digest) {
            return Some(Arc::clone(known));
        }
        if tokens.len() >= MAX_EXCHANGED_TOKENS {
            tokens.retain(|_, renewed| renewed.is_good());
        }
        while tokens.len() >= MAX_EXCHANGED_TOKENS {
            let any = tokens.keys().next().copied()?;
            tokens.remove(&any);
        }
        let renewed = Renewed::new(endpoint.clone(), behalf.clone(), runtime.clone());
        tokens.insert(digest, Arc::clone(&renewed));
        Some(renewed)
    }
}

/// A header's value that no log shows.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
