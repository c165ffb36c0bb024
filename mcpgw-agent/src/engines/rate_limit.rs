//! Limits of the whole cluster: Envoy's rate limit protocol, `envoy.service.ratelimit.v3.RateLimitService`.
//!
//! What is asked is described at [`Descriptor`]; each descriptor brings its quota, so that the service needs no
//! configuration but the domain. A service that answers without the quota that it was told does not count by it: that is
//! no answer.

use std::{sync::Arc, time::Duration};

use envoy_types::pb::envoy::{
    extensions::common::ratelimit::v3::{
        RateLimitDescriptor,
        rate_limit_descriptor::{Entry, RateLimitOverride},
    },
    service::ratelimit::v3::{
        RateLimitRequest, RateLimitResponse,
        rate_limit_response::{Code, DescriptorStatus},
        rate_limit_service_client::RateLimitServiceClient,
    },
    r#type::v3::RateLimitUnit,
};
use tokio::{runtime::Handle, time::timeout};
use tonic::transport::Channel;

use super::{
    EngineError, EngineStatus,
    channel::channel,
    health::Health,
    limits::{
        MAX_ANSWER_BYTES, MAX_BESIDE, MAX_BESIDE_PER_WORKLOAD, MAX_WAITING, MAX_WAITING_PER_WORKLOAD, RETRY_AFTER,
    },
};
use crate::{
    policy::limits::{Budget, Descriptor},
    resources::{RateLimitService, Unit},
    shares::{Payer, Shares},
};

const NAME: &str = "rateLimitService";

/// A budget that is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which, in the service's words.
    pub descriptor: Descriptor,
    /// Which, on this node.
    pub budget: Budget,
}

/// A service that counts for the whole cluster.
#[derive(Debug)]
pub struct RateLimits {
    wanted: Arc<RateLimitService>,
    runtime: Handle,
    client: Result<RateLimitServiceClient<Channel>, EngineError>,
    waiting: Shares,
    beside: Shares,
    health: Health,
}

impl RateLimits {
    pub(super) fn new(wanted: Arc<RateLimitService>, runtime: &Handle) -> Self {
        let client = channel(&wanted.engine, runtime);
        Self {
            client: client
                .map(|channel| RateLimitServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)),
            wanted,
            runtime: runtime.clone(),
            waiting: Shares::new(MAX_WAITING, MAX_WAITING_PER_WORKLOAD),
            beside: Shares::new(MAX_BESIDE, MAX_BESIDE_PER_WORKLOAD),
            health: Health::default(),
        }
    }

    pub(super) fn wanted(&self) -> &Arc<RateLimitService> {
        &self.wanted
    }

    pub(super) fn status(&self) -> EngineStatus {
        self.health.status(NAME, &self.wanted.engine)
    }

    /// Counts a call of this payer in each of these budgets, and waits for the answer: the budget that is spent, by its
    /// index, and for how long; `None` if none is. A spent one is closed on this node for that time.
    ///
    /// The service counts the call in every budget, also where one of them is spent.
    ///
    /// # Errors
    /// There is no answer to go by.
    pub async fn wait(&self, payer: Payer, questions: &[Question]) -> Result<Option<(usize, Duration)>, EngineError> {
        let spent = match self.waiting.take(payer) {
            Ok(_place) => self.ask(questions).await,
            Err(_) => Err(EngineError::Busy),
        };
        self.note(&spent);
        let spent = spent?;
        close(questions, &spent);
        let longest = spent
            .iter()
            .enumerate()
            .filter_map(|(index, wait)| Some((index, (*wait)?)));
        Ok(longest.max_by_key(|(_, wait)| *wait))
    }

    /// Counts a call of this payer in each of these budgets without waiting. Those that turn out to be spent are closed
    /// on this node.
    pub fn beside(self: &Arc<Self>, payer: Payer, questions: Vec<Question>) {
        let Ok(place) = self.beside.take(payer) else {
            self.health.not_asked();
            return;
        };
        let service = Arc::clone(self);
        self.runtime.spawn(async move {
            let _place = place;
            let spent = service.ask(&questions).await;
            service.note(&spent);
            close(&questions, &spent.unwrap_or_default());
        });
    }

    fn note(&self, spent: &Result<Vec<Option<Duration>>, EngineError>) {
        match spent {
            Ok(spent) => self.health.answered(NAME, spent.iter().all(Option::is_none)),
            Err(error) => self.health.failed(NAME, &self.wanted.engine, error),
        }
    }

    /// For each budget, how long it is spent for.
    async fn ask(&self, questions: &[Question]) -> Result<Vec<Option<Duration>>, EngineError> {
        let descriptors = questions.iter().map(|question| message(&question.descriptor)).collect();
        let request = RateLimitRequest {
            domain: self.wanted.domain.to_string(),
            descriptors,
            hits_addend: 1,
        };
        let limit = self.wanted.engine.timeout;
        let mut client = self.client.clone()?;
        let mut request = tonic::Request::new(request);
        request.set_timeout(limit);
        let answer = timeout(limit, client.should_rate_limit(request))
            .await
            .map_err(|_| EngineError::Timeout(limit))?
            .map_err(|status| EngineError::of_status(&status, limit))?;
        read(&answer.into_inner(), questions)
    }
}

fn close(questions: &[Question], spent: &[Option<Duration>]) {
    for (question, wait) in questions.iter().zip(spent) {
        if let Some(wait) = wait {
            question.budget.close(*wait);
        }
    }
}

fn message(descriptor: &Descriptor) -> RateLimitDescriptor {
    let entry = |(key, value): &(String, String)| Entry {
        key: key.clone(),
        value: value.clone(),
    };
    RateLimitDescriptor {
        entries: descriptor.entries.iter().map(entry).collect(),
        limit: Some(RateLimitOverride {
            requests_per_unit: descriptor.quota.requests.get(),
            unit: unit(descriptor.quota.unit).into(),
        }),
        ..RateLimitDescriptor::default()
    }
}

fn unit(unit: Unit) -> RateLimitUnit {
    match unit {
        Unit::Second => RateLimitUnit::Second,
        Unit::Minute => RateLimitUnit::Minute,
        Unit::Hour => RateLimitUnit::Hour,
        Unit::Day => RateLimitUnit::Day,
    }
}

/// How long each budget is spent for. Whether one is spent is for the service to say as a whole: it may be told to count
/// only.
fn read(answer: &RateLimitResponse, questions: &[Question]) -> Result<Vec<Option<Duration>>, EngineError> {
    if answer.statuses.len() != questions.len() {
        return Err(EngineError::Answer("it does not say how each budget stands"));
    }
    for (status, question) in answer.statuses.iter().zip(questions) {
        if !goes_by(status, &question.descriptor) {
            let reason = "it does not count by the quota that it was told; is our domain in its configuration?";
            return Err(EngineError::Answer(reason));
        }
    }
    let spent = |(status, question): (&DescriptorStatus, &Question)| {
        (status.code() == Code::OverLimit).then(|| until_reset(status, question.descriptor.quota.unit))
    };
    match answer.overall_code() {
        Code::Ok => Ok(vec![None; questions.len()]),
        Code::OverLimit => {
            let spent: Vec<_> = answer.statuses.iter().zip(questions).map(spent).collect();
            match spent.iter().any(Option::is_some) {
                true => Ok(spent),
                false => Err(EngineError::Answer("it does not say which budget is spent")),
            }
        }
        Code::Unknown => Err(EngineError::Answer("it does not say whether a budget is spent")),
    }
}

/// Whether the limit that the service counted by is the one that it was told.
fn goes_by(status: &DescriptorStatus, descriptor: &Descriptor) -> bool {
    status.current_limit.as_ref().is_some_and(|limit| {
        // The numbers of the units are the same in both messages.
        limit.requests_per_unit == descriptor.quota.requests.get()
            && limit.unit == i32::from(unit(descriptor.quota.unit))
    })
}

/// No longer than its window: nobody is locked out by a strange answer.
fn until_reset(status: &DescriptorStatus, unit: Unit) -> Duration {
    let told = status.duration_until_reset.as_ref();
    let told = told.map_or(RETRY_AFTER, |time| {
        let seconds = u64::try_from(time.seconds).unwrap_or_default();
        Duration::new(seconds, u32::try_from(time.nanos).unwrap_or_default().min(999_999_999))
    });
    // The service has counted in whole seconds.
    told.clamp(RETRY_AFTER, unit.window())
}

#[cfg(test)]
#[path = "rate_limit_tests.rs"]
mod tests;
