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
    /// It could not be asked, or said that it cannot answer.
    #[error("{0}")]
    Failed(String),
    /// It does not do what was asked.
    #[error("its answer cannot be gone by: {0}")]
    Answer(&'static str),
}

impl EngineError {
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
        let words = match status.source() {
            Some(source) => format!("it cannot be asked: {}", innermost(source)),
            None => format!("it answered {:?}: {}", status.code(), status.message()),
        };
        Self::Failed(words.chars().take(MAX_WORDS).collect())
    }
}
