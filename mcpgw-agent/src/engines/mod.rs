//! Services outside that are asked about calls. A call that they have no say in never waits for them.
//!
//! ```text
//! channel     the connection to one
//! rate_limit  counts calls for the whole cluster
//! ext_authz   decides about what the rules allow
//! check       what that is told about a request
//! health      how one does
//! error       why there is no answer
//! limits      every bound, by name
//! ```

mod channel;
mod check;
mod error;
mod ext_authz;
mod health;
pub mod limits;
mod rate_limit;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;

pub use check::{Check, Untold};
pub use error::EngineError;
pub use ext_authz::PolicyEngine;
pub use health::{Counts, EngineStatus};
pub use rate_limit::{Question, RateLimits};

use crate::resources::{ExtAuthz, OnFailure, Settings};

/// The services that the settings name.
#[derive(Debug)]
pub struct Engines {
    runtime: Handle,
    rate_limits: ArcSwapOption<RateLimits>,
    policy: ArcSwapOption<PolicyEngine>,
    /// The one before, for requests that go by the plan before.
    policy_before: ArcSwapOption<PolicyEngine>,
}

impl Engines {
    /// None yet. Everything runs on `runtime`, whose threads must be in the node's network namespace.
    pub fn new(runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            rate_limits: ArcSwapOption::empty(),
            policy: ArcSwapOption::empty(),
            policy_before: ArcSwapOption::empty(),
        })
    }

    /// Puts the services of these settings in force. One that has not changed keeps its connection.
    pub fn put_in_force(&self, settings: &Settings) {
        let wanted = settings.rate_limit_service.as_ref();
        let running = self.rate_limits.load_full();
        if running.as_ref().map(|running| running.wanted()) != wanted {
            let service = wanted.map(|wanted| RateLimits::new(Arc::clone(wanted), &self.runtime));
            self.rate_limits.store(service.map(Arc::new));
        }
        let wanted = settings.ext_authz.as_ref();
        let running = self.policy.load_full();
        if running.as_ref().map(|running| running.wanted()) != wanted {
            let engine = wanted.map(|wanted| PolicyEngine::new(Arc::clone(wanted), &self.runtime));
            self.policy_before.store(running);
            self.policy.store(engine.map(Arc::new));
        }
    }

    /// What counts for the whole cluster.
    pub fn rate_limits(&self) -> Option<Arc<RateLimits>> {
        self.rate_limits.load_full()
    }

    /// The policy engine that these settings want, which may be those of the plan before: as it is now, or was until
    /// the last change.
    pub fn policy(&self, wanted: &Arc<ExtAuthz>) -> Result<Arc<PolicyEngine>, EngineError> {
        let of = |engine: &ArcSwapOption<PolicyEngine>| engine.load_full().filter(|engine| engine.wanted() == wanted);
        of(&self.policy)
            .or_else(|| of(&self.policy_before))
            .ok_or(EngineError::Replaced)
    }

    /// What becomes of a call that the rate limit service does not answer about.
    pub fn on_rate_limit_failure(&self) -> OnFailure {
        let service = self.rate_limits.load();
        service
            .as_ref()
            .map_or(OnFailure::Closed, |service| service.wanted().engine.on_failure)
    }

    /// How each of them does.
    pub fn status(&self) -> Vec<EngineStatus> {
        let (service, engine) = (self.rate_limits.load(), self.policy.load());
        let service = service.iter().map(|service| service.status());
        service.chain(engine.iter().map(|engine| engine.status())).collect()
    }
}
