//! Asks an authorization server for a token: for the agent itself (RFC 6749, 4.4), or in exchange for a caller's
//! (RFC 8693).

use std::{fmt::Write, io, path::PathBuf, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use serde::Deserialize;

use super::{Behalf, file, secret};
use crate::{
    resources::TokenEndpoint,
    upstream::limits::{CREDENTIAL_TIMEOUT, DEFAULT_TOKEN_LIFE, MAX_TOKEN_ANSWER, MAX_TOKEN_LIFE},
    web::{self, Web, WebError},
};

/// A token, and how long it is good.
pub(super) struct Issued {
    pub(super) token: String,
    pub(super) lives: Duration,
}

/// Why an authorization server gave no token. Says nothing of a token or a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndpointError {
    /// The secret cannot be read.
    #[error("cannot use the client's secret in {path}: {source}")]
    Secret { path: PathBuf, source: io::Error },
    /// It cannot be asked.
    #[error(transparent)]
    Web(#[from] WebError),
    /// It refuses.
    #[error("it refuses: HTTP {status}, {error}")]
    Refused { status: StatusCode, error: String },
    /// Its answer is none.
    #[error("its answer is none: {0}")]
    Answer(&'static str),
    /// The token has characters that no header may have.
    #[error("its token cannot be sent")]
    Token,
    /// The token had ended when it came.
    #[error("its token had ended when it came")]
    Ended,
}

/// Asks for a token: for the agent itself, or in exchange for a caller's.
pub(super) async fn ask(endpoint: &TokenEndpoint, behalf: &Behalf) -> Result<Issued, EndpointError> {
    let read = endpoint.client_secret.clone();
    let authorities = endpoint.authorities.clone();
    // Both are files; the system's authorities are many.
    let made = tokio::task::spawn_blocking(move || {
        let secret = file::read(&read).map_err(|source| EndpointError::Secret { path: read, source })?;
        let web = Web::new(authorities.as_deref(), CREDENTIAL_TIMEOUT, MAX_TOKEN_ANSWER)?;
        Ok::<_, EndpointError>((secret, web))
    });
    let (secret, web) = made.await.map_err(|_| EndpointError::Answer("interrupted"))??;
    let (status, body) = web.send(request(endpoint, &secret, behalf)?).await?;
    match status {
        StatusCode::OK => issued(&body),
        status => Err(refused(status, &body)),
    }
}

fn request(
    endpoint: &TokenEndpoint,
    client_secret: &str,
    behalf: &Behalf,
) -> Result<Request<Full<Bytes>>, EndpointError> {
    let mut form = Form::default();
    match behalf {
        Behalf::Agent => form.add("grant_type", "client_credentials"),
        Behalf::Caller(token) => {
            form.add("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
            form.add("subject_token", token);
            form.add("subject_token_type", "urn:ietf:params:oauth:token-type:access_token");
            form.add("requested_token_type", "urn:ietf:params:oauth:token-type:access_token");
        }
    }
    if !endpoint.scopes.is_empty() {
        form.add("scope", &endpoint.scopes.join(" "));
    }
    if let Some(audience) = &endpoint.audience {
        form.add("audience", audience);
    }
    // RFC 6749, 2.3.1: each is encoded as in a form before they are put together.
    let client = format!("{}:{}", encoded(&endpoint.client_id), encoded(client_secret));
    let authorization = format!("Basic {}", BASE64_STANDARD.encode(client));
    let mut request = Request::new(Full::new(Bytes::from(form.0)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = web::parsed(&endpoint.url)?;
    let headers = request.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(
        header::AUTHORIZATION,
        secret(&authorization).ok_or(EndpointError::Token)?,
    );
    Ok(request)
}

fn issued(body: &[u8]) -> Result<Issued, EndpointError> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: String,
        token_type: String,
        expires_in: Option<f64>,
    }
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| EndpointError::Answer("it has no access_token and token_type"))?;
    // `N_A`: RFC 8693, of an exchanged token that is no bearer's.
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        return Err(EndpointError::Answer("its token is no bearer token"));
    }
    if answer.access_token.is_empty() {
        return Err(EndpointError::Answer("its token is empty"));
    }
    let lives = match answer.expires_in {
        None => DEFAULT_TOKEN_LIFE,
        Some(seconds) if seconds > 0.0 && seconds.is_finite() => Duration::try_from_secs_f64(seconds)
            .unwrap_or(MAX_TOKEN_LIFE)
            .min(MAX_TOKEN_LIFE),
        Some(_) => return Err(EndpointError::Ended),
    };
    Ok(Issued {
        token: answer.access_token,
        lives,
    })
}

/// RFC 6749, 5.2: of what it says, the word for the error only, as far as it is one.
fn refused(status: StatusCode, body: &[u8]) -> EndpointError {
    #[derive(Deserialize)]
    struct Answer {
        error: String,
    }
    let said = serde_json::from_slice::<Answer>(body).map(|answer| answer.error);
    let is_word =
        |word: &String| word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    EndpointError::Refused {
        status,
        error: said
            .ok()
            .filter(is_word)
            .unwrap_or_else(|| "without a reason".to_owned()),
    }
}

/// `application/x-www-form-urlencoded`.
#[derive(Default)]
struct Form(String);

impl Form {
    fn add(&mut self, name: &str, value: &str) {
        let separator = if self.0.is_empty() { "" } else { "&" };
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{separator}{name}={}", encoded(value));
    }
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => encoded.push(byte.into()),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}
