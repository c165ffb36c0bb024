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

use crate::resources::{ExtAuthz, RateLimitService, Settings};

/// The services that the settings name.
#[derive(Debug)]
pub struct Engines {
    runtime: Handle,
    rate_limits: ArcSwapOption<RateLimits>,
    /// The one before, for requests that go by the plan before. So is the second of the next two.
    rate_limits_before: ArcSwapOption<RateLimits>,
    policy: ArcSwapOption<PolicyEngine>,
    policy_before: ArcSwapOption<PolicyEngine>,
}

impl Engines {
    /// None yet. Everything runs on `runtime`, whose threads must be in the node's network namespace.
    pub fn new(runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            rate_limits: ArcSwapOption::empty(),
            rate_limits_before: ArcSwapOption::empty(),
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
            self.rate_limits_before.store(running);
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

    /// What counts for the whole cluster as these settings want it, which may be those of the plan before; `None` where
    /// they want nothing of it, or it is gone.
    pub fn rate_limits(&self, wanted: Option<&Arc<RateLimitService>>) -> Option<Arc<RateLimits>> {
        let wanted = wanted?;
        let of = |service: &ArcSwapOption<RateLimits>| service.load_full().filter(|service| service.wanted() == wanted);
        of(&self.rate_limits).or_else(|| of(&self.rate_limits_before))
    }

    /// The policy engine that these settings want, which may be those of the plan before: as it is now, or was until
    /// the last change.
    pub fn policy(&self, wanted: &Arc<ExtAuthz>) -> Result<Arc<PolicyEngine>, EngineError> {
        let of = |engine: &ArcSwapOption<PolicyEngine>| engine.load_full().filter(|engine| engine.wanted() == wanted);
        of(&self.policy)
            .or_else(|| of(&self.policy_before))
            .ok_or(EngineError::Replaced)
    }

    /// How each of them does.
    pub fn status(&self) -> Vec<EngineStatus> {
        let (service, engine) = (self.rate_limits.load(), self.policy.load());
        let service = service.iter().map(|service| service.status());
        service.chain(engine.iter().map(|engine| engine.status())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::resources::{Asking, Engine, OnFailure};

    fn engine(port: u16) -> Engine {
        Engine {
            host: "127.0.0.1".into(),
            port,
            tls: None,
            timeout: Duration::from_secs(1),
            on_failure: OnFailure::Closed,
        }
    }

    fn settings(port: u16) -> Settings {
        Settings {
            rate_limit_service: Some(Arc::new(RateLimitService {
                engine: engine(port),
                domain: "mcpgw".into(),
                mode: Asking::InLine,
            })),
            ext_authz: Some(Arc::new(ExtAuthz {
                engine: engine(port),
                include_arguments: false,
            })),
            ..Settings::default()
        }
    }

    #[tokio::test]
    async fn requests_that_go_by_the_plan_before_ask_the_services_of_that_plan_and_no_older_ones() {
        let engines = Engines::new(Handle::current());
        let [first, second, third] = [1, 2, 3].map(settings);
        let there = |settings: &Settings| {
            let service = engines.rate_limits(settings.rate_limit_service.as_ref());
            let engine = engines.policy(settings.ext_authz.as_ref().unwrap());
            assert_eq!(service.is_some(), engine.is_ok());
            service.is_some_and(|service| Some(service.wanted()) == settings.rate_limit_service.as_ref())
        };
        engines.put_in_force(&first);
        engines.put_in_force(&second);
        assert!(there(&first) && there(&second) && !there(&third));
        engines.put_in_force(&Settings::default());
        assert!(!there(&first) && there(&second));
        assert!(engines.rate_limits(None).is_none());
    }
}
