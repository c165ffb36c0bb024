//! Why there is no answer.

use std::time::Duration;

use super::limits::{MAX_WAITING, MAX_WORDS};
use crate::web::innermost;

/// Why a service's answer is missing, or cannot be gone by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The settings name none.
    #[error("no such service is configured")]
    Missing,
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
    pub(super) fn of_status(status: &tonic::Status) -> Self {
        let words = match std::error::Error::source(status) {
            Some(source) => format!("it cannot be asked: {}", innermost(source)),
            None => format!("it answered {:?}: {}", status.code(), status.message()),
        };
        Self::Failed(words.chars().take(MAX_WORDS).collect())
    }
}
