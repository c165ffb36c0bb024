//! Why there is no answer.

use std::{error::Error, time::Duration};

use tonic::{Code, TimeoutExpired};

use super::limits::{MAX_WAITING, MAX_WORDS};
use crate::web::innermost;

/// Why a service's answer is missing, or cannot be gone by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The settings name none.
    #[error("no such service is configured")]
    Missing,
    /// Settings that came meanwhile want another.
    #[error("the settings name another by now")]
    Replaced,
    /// Too many wait for it.
    #[error("{MAX_WAITING} calls wait for it already")]
    Busy,
    /// Nothing in time.
    #[error("it did not answer within {0:?}")]
    Timeout(Duration),
    /// It could not be asked, or said that it is not there for anybody.
    #[error("{0}")]
    Failed(String),
    /// It said that it cannot answer this.
    #[error("{0}")]
    Declined(String),
    /// It does not do what was asked.
    #[error("its answer cannot be gone by: {0}")]
    Answer(&'static str),
}

impl EngineError {
    /// Whether the caller may have brought it about: by what it asks for (a name that is too long for the service, arguments
    /// that it cannot read), or by asking too often. What passes then would pass whoever wants it to.
    pub fn may_be_the_callers_doing(&self) -> bool {
        matches!(self, Self::Busy | Self::Declined(_))
    }

    /// What a question came to that had this long.
    pub(super) fn of_status(status: &tonic::Status, limit: Duration) -> Self {
        let mut expired = status.code() == Code::DeadlineExceeded;
        let mut source = status.source();
        while let Some(error) = source {
            expired |= error.is::<TimeoutExpired>();
            source = error.source();
        }
        if expired {
            return Self::Timeout(limit);
        }
        let bounded = |words: String| words.chars().take(MAX_WORDS).collect();
        match status.source() {
            Some(source) => Self::Failed(bounded(format!("it cannot be asked: {}", innermost(source)))),
            None => {
                let words = bounded(format!("it answered {:?}: {}", status.code(), status.message()));
                match status.code() {
                    Code::Unavailable => Self::Failed(words),
                    _ => Self::Declined(words),
                }
            }
        }
    }
}
