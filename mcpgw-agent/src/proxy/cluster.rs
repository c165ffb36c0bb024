//! What the whole cluster shares: asked of the rate limit service, where this node lets a call pass.

use std::sync::Arc;

use super::{Shared, call::Asked, limit::Spending, outside::Undecided};
use crate::{
    engines::{EngineError, Question},
    policy::{
        Plan,
        limits::{Descriptor, Limit, Limited, Spender, Taken},
    },
    resources::{Asking, OnFailure},
    shares::Payer,
};

/// What the rate limit service is asked about a call.
#[derive(Default)]
pub(super) struct Questions {
    /// With the limits that they are about.
    in_line: Vec<(Question, Arc<str>, String)>,
    beside: Vec<Question>,
}

impl Questions {
    /// Asks about the limits that the whole cluster shares. A call waits for none that cannot refuse it.
    pub(super) fn add(&mut self, limits: &[&Limit], taken: &Taken, spender: &Spender<'_>, may_wait: bool) {
        for (index, limit) in limits.iter().enumerate() {
            let (Some(descriptor), Some(budget)) = (Descriptor::of(limit, spender), taken.budget(index)) else {
                continue;
            };
            let question = Question { descriptor, budget };
            match question.descriptor.quota.mode {
                Asking::InLine if may_wait => self.in_line.push((question, Arc::clone(&limit.name), limit.policy())),
                Asking::InLine | Asking::Background => self.beside.push(question),
            }
        }
    }

    pub(super) fn any(self) -> Option<Self> {
        (!self.in_line.is_empty() || !self.beside.is_empty()).then_some(self)
    }

    /// What the rate limit service says of a call that this node would let pass; and why it says nothing, where that
    /// lets it pass.
    pub(super) async fn ask(
        self,
        shared: &Shared,
        plan: &Plan,
        call: &Asked<'_>,
        spending: Spending,
    ) -> (Spending, Option<EngineError>) {
        let Self { in_line, beside } = self;
        let wanted = plan.settings.rate_limit_service.as_ref();
        let service = shared.engines.rate_limits(wanted);
        let asked: Vec<Question> = in_line.iter().map(|(question, ..)| question.clone()).collect();
        let answer = match &service {
            _ if in_line.is_empty() => Ok(None),
            Some(service) => {
                let undecided = Undecided::new(shared, call);
                let answer = service.wait(Payer::of(call.caller), &asked).await;
                undecided.decided();
                answer
            }
            None => Err(EngineError::Missing),
        };
        let mut unheard = None;
        let refused = match answer {
            Ok(None) => None,
            Ok(Some((index, wait))) => in_line.get(index).map(|(_, limit, policy)| {
                Spending::Refused(Limited {
                    limit: Arc::clone(limit),
                    wait,
                    policy: policy.clone(),
                    by_service: true,
                })
            }),
            Err(error) => match (wanted.map(|wanted| wanted.engine.on_failure), in_line.first()) {
                (None | Some(OnFailure::Closed), Some((_, limit, _))) => {
                    Some(Spending::Unanswered(Arc::clone(limit), error))
                }
                _ => {
                    unheard = Some(error);
                    None
                }
            },
        };
        let spending = match (refused, spending) {
            (Some(refused), Spending::Spent(taken) | Spending::Tried(taken, _)) => {
                taken.give_back();
                refused
            }
            (Some(refused), _) => refused,
            (None, spending) => {
                if let (Some(service), false) = (service, beside.is_empty()) {
                    service.beside(Payer::of(call.caller), beside);
                }
                spending
            }
        };
        (spending, unheard)
    }
}
