//! One limit, compiled.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::Quota;

use super::{Limited, key::Spender};
use crate::resources::{self, Asking, KeyPart, Pattern, Scope, Unit};

/// A limit with its name.
#[derive(Debug)]
pub struct Limit {
    /// As [`resources::Policy::limit_title`] has it. What was spent of it is kept under this name when the
    /// configuration changes.
    pub name: Arc<str>,
    pub(super) key: Vec<KeyPart>,
    pub(super) rate: Option<Rate>,
    pub(super) concurrency: Option<NonZeroU32>,
    /// Only recorded, never refused.
    pub dry_run: bool,
    /// What the rate limit service counts of it; `None`: it is this node's alone.
    pub shared: Option<Shared>,
    counts: Vec<Pattern>,
    tools: Vec<Pattern>,
}

/// What the whole cluster may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Whether calls wait for the service.
    pub mode: Asking,
    /// How many calls,
    pub requests: NonZeroU32,
    /// in one of these.
    pub unit: Unit,
}

/// So many calls in so much time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) quota: Quota,
    pub(super) requests: NonZeroU32,
    pub(super) per: Duration,
}

impl Limit {
    /// Compiles the limit of this name; one that says nothing of it asks the rate limit service as `mode` says.
    pub fn compile(name: impl Into<Arc<str>>, wanted: &resources::Limit, dry_run: bool, mode: Asking) -> Self {
        let rate = wanted.rate.map(|rate| Rate {
            // Shorter than a nanosecond is no interval; validation leaves none so short.
            quota: Quota::with_period((rate.per / rate.requests.get()).max(Duration::from_nanos(1)))
                .unwrap_or(Quota::per_second(rate.requests))
                .allow_burst(rate.burst),
            requests: rate.requests,
            per: rate.per,
        });
        let shared = match (wanted.scope, wanted.rate) {
            (Scope::Cluster { unit, mode: own }, Some(rate)) => Some(Shared {
                mode: own.unwrap_or(mode),
                requests: rate.requests,
                unit,
            }),
            _ => None,
        };
        Self {
            shared,
            name: name.into(),
            key: wanted.key.clone(),
            rate,
            concurrency: wanted.concurrency,
            dry_run,
            counts: wanted.counts.clone(),
            tools: wanted.tools.clone(),
        }
    }

    /// Whether a caller's token says whose budget it is.
    pub fn reads_token(&self) -> bool {
        self.key.iter().any(|part| matches!(part, KeyPart::Claim(_)))
    }

    /// Whether it counts this call.
    pub fn counts(&self, spender: &Spender<'_>) -> bool {
        let tool = || {
            spender
                .tool
                .is_some_and(|tool| self.tools.iter().any(|glob| glob.matches(tool)))
        };
        self.counts.iter().any(|glob| glob.matches(spender.method)) && (self.tools.is_empty() || tool())
    }

    /// How much longer it takes until all is forgiven, for each call; in nanoseconds.
    pub(super) fn cost(&self) -> u64 {
        let each = self.rate.map_or(Duration::ZERO, |rate| rate.quota.replenish_interval());
        u64::try_from(each.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The refusal of a call that would be allowed in so long; `by_service`: the rate limit service says so.
    pub fn refusal(&self, wait: Duration, by_service: bool) -> Limited {
        Limited {
            limit: Arc::clone(&self.name),
            wait,
            policy: self.policy(),
            by_service,
        }
    }

    /// What it allows, as an item of the header field `RateLimit-Policy`.
    pub fn policy(&self) -> String {
        match &self.rate {
            Some(rate) => format!("\"{}\";q={};w={}", self.name, rate.requests, rate.per.as_secs().max(1)),
            None => format!(
                "\"{}\";q={};qu=\"concurrent-requests\"",
                self.name,
                self.concurrency.map_or(0, NonZeroU32::get)
            ),
        }
    }
}
