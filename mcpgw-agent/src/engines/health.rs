//! How a service does.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

use super::EngineError;
use crate::resources::Engine;

/// A service that is asked about calls, as it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// The field of the settings that names it: `rateLimitService`.
    pub name: String,
    /// Where it is, as `host:port`.
    pub address: String,
    /// What becomes of calls that it does not answer about: `Closed` or `Open`.
    pub failure_mode: String,
    /// Why the last question was not answered; `None` if it was, or if nothing was asked yet.
    pub error: Option<String>,
    /// What it was asked so far.
    pub counts: Counts,
}

/// Questions by what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// The call may go on.
    pub allowed: u64,
    /// It may not.
    pub refused: u64,
    /// There was no answer, or none to go by.
    pub failed: u64,
    /// Not asked: too many were on their way.
    pub not_asked: u64,
}

/// What is kept of that.
#[derive(Debug, Default)]
pub(super) struct Health {
    error: Mutex<Option<EngineError>>,
    allowed: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    not_asked: AtomicU64,
}

impl Health {
    /// Notes an answer.
    pub(super) fn answered(&self, name: &'static str, allowed: bool) {
        let counter = if allowed { &self.allowed } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        if self.note(None).is_some() {
            tracing::info!(engine = name, "answers again");
        }
    }

    /// Notes that there is none.
    pub(super) fn failed(&self, name: &'static str, engine: &Engine, error: &EngineError) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if self.note(Some(error.clone())).is_none() {
            let address = engine.address();
            let mode = engine.on_failure.as_str();
            tracing::warn!(engine = name, address, failure_mode = mode, %error, "does not answer");
        }
    }

    /// Notes a question that was not asked.
    pub(super) fn not_asked(&self) {
        self.not_asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns what was noted before.
    fn note(&self, error: Option<EngineError>) -> Option<EngineError> {
        let mut noted = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *noted, error)
    }

    pub(super) fn status(&self, name: &'static str, engine: &Engine) -> EngineStatus {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EngineStatus {
            name: name.to_owned(),
            address: engine.address(),
            failure_mode: engine.on_failure.as_str().to_owned(),
            error: error.map(|error| error.to_string()),
            counts: Counts {
                allowed: count(&self.allowed),
                refused: count(&self.refused),
                failed: count(&self.failed),
                not_asked: count(&self.not_asked),
            },
        }
    }
}
