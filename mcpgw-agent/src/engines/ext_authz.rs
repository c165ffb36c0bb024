//! Policy engines: Envoy's authorization protocol, `envoy.service.auth.v3.Authorization`.
//!
//! An engine is asked about each request that the rules allow, and allows or denies it. What else an answer can say, such
//! as headers to add or a body for the client, is not done: a denial looks as if it were that of a rule.

use std::sync::Arc;

use envoy_types::pb::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, authorization_client::AuthorizationClient, check_response::HttpResponse,
};
use tokio::{runtime::Handle, time::timeout};
use tonic::{Code, transport::Channel};

use super::{
    EngineError, EngineStatus,
    channel::channel,
    health::Health,
    limits::{MAX_ANSWER_BYTES, MAX_WAITING, MAX_WAITING_PER_WORKLOAD},
};
use crate::{
    resources::ExtAuthz,
    shares::{Payer, Shares},
};

const NAME: &str = "extAuthz";

/// An engine that decides about what the rules allow.
#[derive(Debug)]
pub struct PolicyEngine {
    wanted: Arc<ExtAuthz>,
    client: Result<AuthorizationClient<Channel>, EngineError>,
    waiting: Shares,
    health: Health,
}

impl PolicyEngine {
    pub(super) fn new(wanted: Arc<ExtAuthz>, runtime: &Handle) -> Self {
        let client = channel(&wanted.engine, runtime);
        Self {
            client: client.map(|channel| AuthorizationClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)),
            wanted,
            waiting: Shares::new(MAX_WAITING, MAX_WAITING_PER_WORKLOAD),
            health: Health::default(),
        }
    }

    /// What the settings say of it.
    pub fn wanted(&self) -> &Arc<ExtAuthz> {
        &self.wanted
    }

    pub(super) fn status(&self) -> EngineStatus {
        self.health.status(NAME, &self.wanted.engine)
    }

    /// Whether a request of this payer may go on.
    ///
    /// # Errors
    /// There is no answer to go by.
    pub async fn allows(&self, payer: Payer, request: CheckRequest) -> Result<bool, EngineError> {
        let allowed = match self.waiting.take(payer) {
            Ok(_place) => self.ask(request).await,
            Err(_) => Err(EngineError::Busy),
        };
        match &allowed {
            Ok(allowed) => self.health.answered(NAME, *allowed),
            Err(error) => self.health.failed(NAME, &self.wanted.engine, error),
        }
        allowed
    }

    async fn ask(&self, request: CheckRequest) -> Result<bool, EngineError> {
        let limit = self.wanted.engine.timeout;
        let mut client = self.client.clone()?;
        let mut request = tonic::Request::new(request);
        request.set_timeout(limit);
        let answer = timeout(limit, client.check(request))
            .await
            .map_err(|_| EngineError::Timeout(limit))?
            .map_err(|status| EngineError::of_status(&status, limit))?;
        read(answer.get_ref())
    }
}

/// What is said in two ways must be said alike: an answer that also denies does not allow.
fn read(answer: &CheckResponse) -> Result<bool, EngineError> {
    let Some(status) = &answer.status else {
        return Err(EngineError::Answer("it does not say whether the request is allowed"));
    };
    let denies = matches!(
        answer.http_response,
        Some(HttpResponse::DeniedResponse(_) | HttpResponse::ErrorResponse(_))
    );
    Ok(status.code == i32::from(Code::Ok) && !denies)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::{
        envoy::service::auth::v3::{DeniedHttpResponse, OkHttpResponse},
        google::rpc::Status,
    };

    use super::*;

    #[test]
    fn only_an_answer_that_allows_and_denies_nothing_allows() {
        let of = |code: Option<Code>, http_response| {
            read(&CheckResponse {
                status: code.map(|code| Status {
                    code: code.into(),
                    ..Status::default()
                }),
                http_response,
                dynamic_metadata: None,
            })
        };
        let fine = || Some(HttpResponse::OkResponse(OkHttpResponse::default()));
        let denied = || Some(HttpResponse::DeniedResponse(DeniedHttpResponse::default()));
        assert_eq!(of(Some(Code::Ok), None), Ok(true));
        assert_eq!(of(Some(Code::Ok), fine()), Ok(true));
        assert_eq!(of(Some(Code::Ok), denied()), Ok(false));
        for code in [
            Code::PermissionDenied,
            Code::Unauthenticated,
            Code::Internal,
            Code::Unknown,
        ] {
            assert_eq!(of(Some(code), None), Ok(false), "{code:?}");
            assert_eq!(of(Some(code), fine()), Ok(false), "{code:?}");
        }
        assert!(of(None, None).is_err() && of(None, fine()).is_err());
    }
}
