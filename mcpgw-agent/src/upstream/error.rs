//! Why there is no answer.

use std::{error::Error, io, sync::Arc, time::Duration};

use http::StatusCode;

use super::{credential::CredentialError, secure::TlsError};
use crate::shares::Taken;

/// Why a server gave no answer. The texts follow the server's name.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection.
    #[error("cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    /// No secure connection.
    #[error("cannot be spoken to over TLS: {0}")]
    Tls(#[from] TlsError),
    /// No connection in this time.
    #[error("cannot be reached within {} s", .0.as_secs_f64())]
    ConnectTimeout(Duration),
    /// No connection: another call was opening one, for both, and could not.
    #[error("{text}")]
    Awaited {
        /// What the other call was told.
        text: Arc<str>,
        /// … and answered with.
        answer: (StatusCode, &'static str),
    },
    /// The connection ended before an answer.
    #[error("closed the connection before it answered: {}", innermost(.0))]
    Closed(#[source] hyper::Error),
    /// No head of an answer in this time.
    #[error("did not answer within {} s", .0.as_secs_f64())]
    FirstByteTimeout(Duration),
    /// It answered 101 to a request that did not ask for it.
    #[error("switched protocols unasked")]
    Switched,
    /// It opened no event stream, where that is its transport (HTTP+SSE).
    #[error("answered with HTTP {0} in place of an event stream")]
    NoStream(StatusCode),
    /// Its event stream did not say where to post to.
    #[error("did not say on its event stream where messages go")]
    NoEndpoint,
    /// The system has no randomness.
    #[error("cannot be given a session: the system has no randomness")]
    NoRandomness,
    /// The request makes no HTTP request for it.
    #[error("cannot be addressed: {0}")]
    Address(#[from] http::Error),
    /// The address is not the server's, or not any more.
    #[error("is no longer at this address")]
    Gone,
    /// It has no address now.
    #[error("has no address")]
    NoAddress,
    /// There is nothing to show to it. Why, is not for callers.
    #[error("has a credential that cannot be had now")]
    Credential(#[source] CredentialError),
    /// Too many calls of all callers are in flight, or wait for it; or it has too many sessions (HTTP+SSE).
    #[error("has too many calls in flight, or sessions open")]
    Busy,
    /// As many of this caller as one workload may have.
    #[error("has too many calls of this caller in flight, or sessions open")]
    ShareTaken,
}

impl UpstreamError {
    /// The HTTP status for the client, and the word for metrics and the audit log.
    pub fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unreachable(_) | Self::Address(_) | Self::NoAddress => {
                (StatusCode::BAD_GATEWAY, "upstream_unreachable")
            }
            Self::Awaited { answer, .. } => *answer,
            Self::Tls(TlsError::Certificate(_)) => (StatusCode::BAD_GATEWAY, "upstream_certificate"),
            Self::Tls(_) => (StatusCode::BAD_GATEWAY, "upstream_tls"),
            Self::Credential(_) => (StatusCode::BAD_GATEWAY, "upstream_credential"),
            Self::Gone => (StatusCode::BAD_GATEWAY, "not_governed"),
            Self::Closed(_) | Self::Switched | Self::NoStream(_) | Self::NoEndpoint | Self::NoRandomness => {
                (StatusCode::BAD_GATEWAY, "upstream_closed")
            }
            Self::ConnectTimeout(_) | Self::FirstByteTimeout(_) => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"),
            Self::Busy | Self::ShareTaken => (StatusCode::SERVICE_UNAVAILABLE, "upstream_busy"),
        }
    }

    /// Whether it says that the server cannot be reached at this endpoint, so that nothing was sent there: another one
    /// may do.
    pub fn is_of_the_way(&self) -> bool {
        let unreached = matches!(self, Self::Unreachable(_) | Self::ConnectTimeout(_) | Self::Tls(_));
        unreached || self.is_of_another_call()
    }

    /// Whether what failed was done by another call, which counts it.
    pub(super) fn is_of_another_call(&self) -> bool {
        matches!(self, Self::Awaited { .. })
    }

    /// The same, for the calls that waited for the one that it came to.
    pub(super) fn awaited(&self) -> Self {
        Self::Awaited {
            text: self.to_string().into(),
            answer: self.answer(),
        }
    }

    /// Whether it says that the server took a request, and gave no answer.
    pub(super) fn is_of_the_server(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::FirstByteTimeout(_))
    }

    /// The text for the client: what happened, and the innermost cause.
    pub fn explain(&self) -> String {
        self.to_string()
    }
}

impl From<Taken> for UpstreamError {
    fn from(taken: Taken) -> Self {
        match taken {
            Taken::ByAll => Self::Busy,
            Taken::ByOwner => Self::ShareTaken,
        }
    }
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}
