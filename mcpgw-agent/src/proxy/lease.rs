//! How long a stream may stay open: no longer than its caller may have it.
//!
//! What a request gets is decided when it comes, by the plan of that moment and the token that it showed. A stream
//! outlives both, so that it is decided anew under each plan, as the same request of the same caller, and ends with the
//! token; where an API server is asked about tokens, also when that no longer knows it. Nothing is polled: timers, and a
//! wait for the next plan.

use std::{
    future::pending,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::sleep;

use super::{Shared, authenticate, limits::LONGEST_WAIT};
use crate::{
    identity::Caller,
    mcp::sse,
    policy::Plan,
    shares::Share,
    telemetry::{Path, Refusal, Who},
};

/// Why a stream ended whose token did.
const TOKEN_EXPIRED: &str = "token_expired";

/// The request that opened a stream, to be decided again.
pub(super) trait Terms: Send + Sync + 'static {
    /// Decides it by another plan: who its caller is by that; else why it would be refused, in the words of the audit
    /// log.
    fn again(&mut self, plan: &Arc<Plan>) -> impl Future<Output = Result<Arc<Caller>, &'static str>> + Send;

    /// Its headers, with what its caller showed; `None` where there are none to be seen.
    fn headers(&self) -> Option<&HeaderMap>;
}

/// The time that a stream has.
pub(super) struct Lease {
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    last_words: Option<Bytes>,
    /// Of what is kept for the stream.
    _share: Option<Share>,
}

impl Lease {
    /// For a stream of this caller that `plan` allows. Its end is audited.
    pub(super) fn new(
        shared: &Arc<Shared>,
        path: Path,
        plan: &Arc<Plan>,
        caller: &Arc<Caller>,
        terms: impl Terms,
    ) -> Self {
        let (shared, plan, caller) = (Arc::clone(shared), Arc::clone(plan), Arc::clone(caller));
        let over = async move {
            let reason = tokio::select! {
                () = expired(&caller) => TOKEN_EXPIRED,
                reason = refused(&shared, plan, Arc::clone(&caller), terms) => reason,
            };
            shared.telemetry.stream_ended(Refusal {
                time: SystemTime::now(),
                reason,
                status: None,
                path,
                who: Who::Caller(caller),
                decision_id: None,
            });
        };
        Self {
            over: Box::pin(over),
            last_words: None,
            _share: None,
        }
    }

    /// Has this share for as long as the stream.
    pub(super) fn holding(mut self, share: Share) -> Self {
        self._share = Some(share);
        self
    }

    /// Says this message last.
    pub(super) fn saying(mut self, message: &[u8]) -> Self {
        self.last_words = Some(sse::event(message, None, None));
        self
    }

    /// Waits for the end of the stream; then what is to be said last. Not to be asked again after that.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        ready!(self.over.as_mut().poll(cx));
        Poll::Ready(self.last_words.take())
    }
}

/// Waits until the caller's token is no longer good; for ever, where it has none.
pub(super) async fn expired(caller: &Caller) {
    let Some(token) = &caller.token else {
        return pending().await;
    };
    let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(token.ends));
    // A token beyond the end of time does not end.
    let Some(end) = end else { return pending().await };
    // The clock on the wall can be set, which no timer knows.
    while let Ok(left) = end.duration_since(SystemTime::now()) {
        sleep(left.min(LONGEST_WAIT)).await;
    }
}

/// Waits for a plan by which the stream would be refused, or until its caller's token is no longer believed.
async fn refused(
    shared: &Shared,
    decided_by: Arc<Plan>,
    mut caller: Arc<Caller>,
    mut terms: impl Terms,
) -> &'static str {
    let mut changes = shared.plan.changes();
    let mut last = decided_by;
    loop {
        // Also the first time: another plan may have come into force since the request was decided.
        let plan = shared.plan.load_full();
        if !Arc::ptr_eq(&plan, &last) {
            match terms.again(&plan).await {
                Ok(proven) => caller = proven,
                Err(reason) => return reason,
            }
        }
        let disproved = async {
            match terms.headers() {
                Some(headers) => authenticate::disproved(shared, &plan, &caller, headers).await,
                None => pending().await,
            }
        };
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return pending().await;
                }
            }
            refusal = disproved => return refusal.reason(),
        }
        last = plan;
    }
}
