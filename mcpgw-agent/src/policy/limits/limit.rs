//! One limit, compiled.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::Quota;

use super::key::Spender;
use crate::resources::{self, KeyPart, Pattern};

/// A limit with its name.
#[derive(Debug)]
pub struct Limit {
    /// `namespace/policy#limit`, by its own name or its number from 1. What was spent of it is kept under this name
    /// when the configuration changes.
    pub name: Arc<str>,
    pub(super) key: Vec<KeyPart>,
    pub(super) rate: Option<Rate>,
    pub(super) concurrency: Option<NonZeroU32>,
    /// Only recorded, never refused.
    pub dry_run: bool,
    counts: Vec<Pattern>,
    tools: Vec<Pattern>,
}

/// So many calls in so much time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) quota: Quota,
    pub(super) requests: NonZeroU32,
    pub(super) per: Duration,
}

impl Limit {
    /// Compiles limit number `index` (from 0) of a policy.
    pub fn compile(policy: &str, index: usize, wanted: &resources::Limit, dry_run: bool) -> Self {
        let name = match &wanted.name {
            Some(name) => format!("{policy}#{name}"),
            None => format!("{policy}#{}", index + 1),
        };
        let rate = wanted.rate.map(|rate| Rate {
            // Shorter than a nanosecond is no interval; validation leaves none so short.
            quota: Quota::with_period((rate.per / rate.requests.get()).max(Duration::from_nanos(1)))
                .unwrap_or(Quota::per_second(rate.requests))
                .allow_burst(rate.burst),
            requests: rate.requests,
            per: rate.per,
        });
        Self {
            name: name.into(),
            key: wanted.key.clone(),
            rate,
            concurrency: wanted.concurrency,
            dry_run,
            counts: wanted.counts.clone(),
            tools: wanted.tools.clone(),
        }
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

    /// What it allows, as an item of the header field `RateLimit-Policy`.
    pub(super) fn policy(&self) -> String {
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
