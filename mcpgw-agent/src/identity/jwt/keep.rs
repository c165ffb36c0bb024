//! Tokens that are shown once and count for long: those of open streams.
//!
//! What an issuer said of a token is good for a while only. It is asked again before that is over, so that a change of
//! the configuration, by which all streams are decided anew at once, finds their tokens known; and so that a stream ends
//! soon after its pod does. When exactly, the token's digest says: streams that began together don't ask together.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::sleep;

use super::{
    Authenticator, Issuers, Proof, Refusal, Verified,
    cache::Digest,
    limits::{MIN_REVIEW_PAUSE, REVIEW_AGAIN},
    now,
};
use crate::{
    resources::{Issuer, KeySource},
    shares::Payer,
};

/// By when of the time for which an answer is good it is asked for again: the first and the last part, of eight.
const RENEWED: (u32, u32) = (4, 7);

impl Issuers {
    /// Keeps what is known of a token current; for ever, where no issuer has to be asked, or says anything else of it.
    pub(super) async fn kept(&self, token: &str, believed: &[Arc<Issuer>], payer: Payer) -> Refusal {
        let digest = Digest::of(token);
        let mut held = None;
        loop {
            // Whoever else shows it may have asked.
            let known = match self.cache.get(&digest, believed, now()) {
                Some(Err(refusal)) if !refusal.is_outage() => return refusal,
                known => known.and_then(Result::ok),
            };
            let newest = known.or(held.take());
            match newest.as_deref().map(|verified| verified.renewal(&digest)) {
                Some(None) => return pending().await,
                Some(Some(wait)) if !wait.is_zero() => {
                    sleep(wait).await;
                    held = newest;
                    continue;
                }
                _ => {}
            }
            match Authenticator::verify(self, token, believed, payer).await {
                // Held here, too: others may push it out of the cache, and nothing is asked more often for that.
                Ok(verified) => {
                    held = Some(verified);
                    sleep(MIN_REVIEW_PAUSE).await;
                }
                // No stream ends because an API server starts anew: it ends with its token, or with the next plan.
                Err(refusal) if refusal.is_outage() => sleep(REVIEW_AGAIN).await,
                Err(refusal) => return refusal,
            }
        }
    }
}

impl Verified {
    /// How long until its issuer is to be asked about it again; `None` where nobody is.
    fn renewal(&self, digest: &Digest) -> Option<Duration> {
        let (Proof::Review { until }, KeySource::Review(review)) = (&self.proof, &self.issuer.issuer.keys) else {
            return None;
        };
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(*until);
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        Some(left.saturating_sub(early(review.max_age, digest)))
    }
}

/// How long before its end an answer that is good for so long is asked for again.
fn early(good_for: Duration, digest: &Digest) -> Duration {
    let (first, last) = RENEWED;
    let eighth = good_for / 8;
    eighth * (8 - last) + (eighth * (last - first)).mul_f64(digest.part())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_about_different_tokens_are_asked_for_at_different_times_all_of_them_before_the_end() {
        let good_for = Duration::from_secs(80);
        let mut at: Vec<Duration> = (0..1000)
            .map(|number| early(good_for, &Digest::of(&format!("token {number}"))))
            .collect();
        at.sort();
        assert!(at[0] >= Duration::from_secs(10) && at[999] <= Duration::from_secs(40));
        // In each second of the thirty about as many: never a quarter of them.
        for pair in at.windows(250) {
            assert!(pair[249] - pair[0] > Duration::from_secs(1), "{pair:?}");
        }
        assert_eq!(early(good_for, &Digest::of("a")), early(good_for, &Digest::of("a")));
    }
}
