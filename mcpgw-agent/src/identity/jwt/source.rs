//! Where an issuer's keys are read from.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;

use super::{
    keys::{KeySet, KeySetError},
    limits::{FETCH_TIMEOUT, MAX_DOCUMENT_BYTES},
};
use crate::{
    resources::{Issuer, KeySource},
    web::{Web, WebError},
};

/// Why an issuer's keys cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// It cannot be asked.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    /// The file has no token that could be shown.
    #[error("there is no token in {path}")]
    Token { path: PathBuf },
    /// What it says of itself is not what it should.
    #[error("the issuer's openid-configuration is none: {0}")]
    Discovery(serde_json::Error),
    /// It says that it is another.
    #[error("the issuer's openid-configuration is another issuer's")]
    OtherIssuer,
    /// Its document is none.
    #[error(transparent)]
    Keys(#[from] KeySetError),
}

/// Reads an issuer's keys as they are now; one that is asked about each token has none.
pub(super) async fn read(issuer: &Issuer) -> Result<KeySet, SourceError> {
    let document = match &issuer.keys {
        KeySource::Review(_) => return Ok(KeySet::default()),
        KeySource::File(path) => read_file(path)?,
        KeySource::Url(url) => {
            let token = token(issuer)?;
            web(issuer).await?.get(url, token.as_ref()).await?
        }
        // Who is shown the token also says where the keys are: it learns nothing by our showing it there.
        KeySource::Discovery => {
            let token = token(issuer)?;
            let web = web(issuer).await?;
            let found = discover(&web, &issuer.issuer, token.as_ref()).await?;
            web.get(&found, token.as_ref()).await?
        }
    };
    Ok(KeySet::parse(&document)?)
}

/// What is shown where the keys are asked for.
fn token(issuer: &Issuer) -> Result<Option<HeaderValue>, SourceError> {
    issuer.key_token.as_deref().map(bearer).transpose()
}

/// The token of a file, as a header has it: a projected token is renewed in its file, so it is read each time.
pub(super) fn bearer(path: &Path) -> Result<HeaderValue, SourceError> {
    let read = read_file(path)?;
    let token = str::from_utf8(&read).unwrap_or_default().trim();
    let whole = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| whole);
    let mut value = value.ok_or_else(|| SourceError::Token { path: path.to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The authorities are read anew each time, as everything is that is in a file; off the runtime, because the system's
/// are many.
async fn web(issuer: &Issuer) -> Result<Web, SourceError> {
    let authorities = issuer.authorities.clone();
    let made = tokio::task::spawn_blocking(move || Web::new(authorities.as_deref(), FETCH_TIMEOUT, MAX_DOCUMENT_BYTES));
    match made.await {
        Ok(made) => Ok(made?),
        Err(_) => Err(SourceError::File {
            path: PathBuf::new(),
            source: io::Error::other("interrupted"),
        }),
    }
}

/// Where an issuer says that its keys are (OpenID Connect Discovery 1.0).
async fn discover(web: &Web, issuer: &str, token: Option<&HeaderValue>) -> Result<String, SourceError> {
    #[derive(Deserialize)]
    struct Configuration {
        issuer: String,
        jwks_uri: String,
    }
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let document = web.get(&url, token).await?;
    let said: Configuration = serde_json::from_slice(&document).map_err(SourceError::Discovery)?;
    match said.issuer == issuer {
        true => Ok(said.jwks_uri),
        false => Err(SourceError::OtherIssuer),
    }
}

/// The file is small, and local or in memory.
fn read_file(path: &Path) -> Result<Bytes, SourceError> {
    let failed = |source| SourceError::File {
        path: path.to_owned(),
        source,
    };
    // Asked before it is opened: opening a FIFO would wait for a writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("not a regular file")));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_DOCUMENT_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match bytes.len() > MAX_DOCUMENT_BYTES {
        true => Err(failed(io::Error::other("too large"))),
        false => Ok(bytes.into()),
    }
}
