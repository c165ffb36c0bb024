//! A Kubernetes API server, asked about each token (TokenReview, `authentication.k8s.io/v1`): it knows which pods and
//! ServiceAccounts are gone, which keys cannot tell.
//!
//! What a token claims is checked here as for any other; the API server answers for its signature, for its being in
//! force, and for the audiences. What it doesn't say is not believed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{
    claims::Checked,
    limits::{MAX_REVIEW_BYTES, REVIEW_AUTHORITIES_TIME, REVIEW_TIMEOUT},
    source::{self, SourceError},
};
use crate::{
    resources::{Issuer, Review},
    web::{self, Web, WebError},
};

/// Below the API server's URL.
const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// Why a token was not found to be good.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReviewError {
    /// The API server says that it is not.
    #[error("it is not authenticated")]
    Denied,
    /// It is good for nobody of those that it names.
    #[error("it is for none of its audiences")]
    Audience,
    /// The API server cannot be asked.
    #[error(transparent)]
    Web(#[from] WebError),
    /// Our own token cannot be read, or sent.
    #[error(transparent)]
    File(#[from] SourceError),
    /// The API server refuses to be asked: we may not, or it has other trouble.
    #[error("the API server answers {0}")]
    Status(StatusCode),
    /// It answers something else.
    #[error("its answer is no TokenReview")]
    Answer,
    /// It is slow, or too many ask already.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// A token, and what it claims.
pub(super) struct Question {
    token: Box<str>,
    audiences: Vec<Arc<str>>,
    principal: String,
}

impl Question {
    pub(super) fn new(token: &str, checked: &Checked) -> Self {
        Self {
            token: token.into(),
            audiences: checked.audiences.clone(),
            principal: checked.token.principal(),
        }
    }
}

/// Asks an API server, which is known by what was learned of it before: reading the authorities and agreeing on keys
/// costs both sides more than a review.
#[derive(Default)]
pub(super) struct Asker(Mutex<Option<Known>>);

struct Known {
    web: Arc<Web>,
    since: Instant,
}

impl Asker {
    /// Asks about a token. The audiences that it is good for, of those that it claims.
    pub(super) async fn ask(
        &self,
        issuer: &Issuer,
        review: &Review,
        question: &Question,
    ) -> Result<Vec<Arc<str>>, ReviewError> {
        let (authorities, own, known) = (issuer.authorities.clone(), review.token.clone(), self.known());
        let is_new = known.is_none();
        // Our own token is read anew each time, as a kubelet replaces it; off the runtime, because the system's
        // authorities are many.
        let read = tokio::task::spawn_blocking(move || {
            let web = match known {
                Some(web) => web,
                None => Arc::new(Web::new(authorities.as_deref(), REVIEW_TIMEOUT, MAX_REVIEW_BYTES)?),
            };
            Ok::<_, ReviewError>((web, source::bearer(&own)?))
        });
        let (web, credential) = read.await.map_err(|_| ReviewError::Answer)??;
        if is_new {
            let since = Instant::now();
            *self.lock() = Some(Known {
                web: Arc::clone(&web),
                since,
            });
        }
        let answer = ask(&web, credential, review, question).await;
        if let Err(ReviewError::Web(_)) = answer {
            // It may have another certificate now.
            *self.lock() = None;
        }
        answer
    }

    fn known(&self) -> Option<Arc<Web>> {
        let known = self.lock();
        let young = known
            .as_ref()
            .filter(|known| known.since.elapsed() < REVIEW_AUTHORITIES_TIME);
        young.map(|known| Arc::clone(&known.web))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(
    web: &Web,
    credential: HeaderValue,
    review: &Review,
    question: &Question,
) -> Result<Vec<Arc<str>>, ReviewError> {
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": question.token, "audiences": question.audiences},
    });
    let mut request = Request::new(Full::new(Bytes::from(body.to_string())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = web::parsed(&format!("{}{PATH}", review.url))?;
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(CONTENT_TYPE, json.clone());
    request.headers_mut().insert(ACCEPT, json);
    request.headers_mut().insert(AUTHORIZATION, credential);
    match web.send(request).await? {
        (StatusCode::OK | StatusCode::CREATED, body) => answer(&body, question),
        (status, _) => Err(ReviewError::Status(status)),
    }
}

/// As the API has it; what may be left out is not there when it is false or empty.
#[derive(Deserialize)]
struct Answer {
    kind: String,
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    audiences: Vec<String>,
    user: Option<User>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

fn answer(body: &[u8], question: &Question) -> Result<Vec<Arc<str>>, ReviewError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| ReviewError::Answer)?;
    if answer.kind != "TokenReview" {
        return Err(ReviewError::Answer);
    }
    let Status {
        authenticated,
        audiences,
        user,
    } = answer.status;
    // Whom it is about must be whom it claims to be about.
    let is_same = user.is_some_and(|user| user.username == question.principal);
    if !authenticated || !is_same {
        return Err(ReviewError::Denied);
    }
    // Without any it is good for the API server alone, or that doesn't know of audiences.
    let claimed = question.audiences.iter();
    let good: Vec<Arc<str>> = claimed
        .filter(|claimed| audiences.iter().any(|good| **good == ***claimed))
        .cloned()
        .collect();
    match good.is_empty() {
        true => Err(ReviewError::Audience),
        false => Ok(good),
    }
}
