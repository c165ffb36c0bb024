//! A call about which somebody outside is asked: if its client leaves meanwhile, that is recorded too.

use std::time::SystemTime;

use super::{Shared, call::Asked};
use crate::telemetry::{Refusal, Who};

/// The word for a client that did not wait for the decision.
const LEFT: &str = "client_left";

/// A call that is not decided yet. Nothing has reached the server.
#[must_use = "dropping it records that the client has left"]
pub(super) struct Undecided<'a> {
    waiting: Option<(&'a Shared, &'a Asked<'a>)>,
}

impl<'a> Undecided<'a> {
    pub(super) fn new(shared: &'a Shared, call: &'a Asked<'a>) -> Self {
        Self {
            waiting: Some((shared, call)),
        }
    }

    /// There is an answer: what comes of the call is recorded elsewhere.
    pub(super) fn decided(mut self) {
        self.waiting = None;
    }
}

impl Drop for Undecided<'_> {
    fn drop(&mut self) {
        let Some((shared, call)) = self.waiting.take() else {
            return;
        };
        shared.telemetry.refused(Refusal {
            time: SystemTime::now(),
            reason: LEFT,
            decision_id: None,
            status: None,
            path: call.path,
            who: Who::Caller(call.caller.clone()),
        });
    }
}
