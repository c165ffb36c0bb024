//! What is known of an endpoint by what became of calls: whether it is to be left alone.
//!
//! That an endpoint cannot be reached is no caller's doing: it is left alone by all. What a server answers may well be:
//! who sends it what it dies of, or what it takes too long for, is not to take it away from others. So whoever gets
//! poor answers there learns that alone, and leaves it alone alone.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::limits::{EJECTION, MAX_POOR_ANSWERS, MAX_POORLY_ANSWERED, POOR_MEMORY};
use crate::shares::Payer;

/// What became of the latest calls to an endpoint.
pub(super) struct Health {
    made: Instant,
    /// How often in a row it could not be reached.
    failures: AtomicU32,
    /// Until when it is left alone, in milliseconds since `made`.
    until: AtomicU64,
    /// Whether anybody is in the table: of all calls nearly none has to look into it.
    is_poor: AtomicBool,
    poor: Mutex<HashMap<Payer, Poor>>,
}

/// What became of the latest calls of one payer, where they were answered poorly.
#[derive(Clone, Copy, Default)]
struct Poor {
    /// How many of them, in a row.
    answers: u32,
    /// How often that was often enough to leave it alone.
    failures: u32,
    until: u64,
    last: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            made: Instant::now(),
            failures: AtomicU32::new(0),
            until: AtomicU64::new(0),
            is_poor: AtomicBool::new(false),
            poor: Mutex::default(),
        }
    }
}

impl Health {
    /// For how long all leave it alone, in milliseconds; 0 if they do not.
    pub(super) fn ejected_for_all(&self) -> u64 {
        self.until.load(Relaxed).saturating_sub(self.age())
    }

    /// For how long this payer leaves it alone, in milliseconds; 0 if it does not.
    pub(super) fn ejected_for(&self, payer: Payer) -> u64 {
        let all = self.ejected_for_all();
        if !self.is_poor.load(Relaxed) {
            return all;
        }
        let until = self.poor().get(&payer).map_or(0, |poor| poor.until);
        all.max(until.saturating_sub(self.age()))
    }

    /// How many payers leave it alone that others do not.
    pub(super) fn avoided_by(&self) -> usize {
        if !self.is_poor.load(Relaxed) {
            return 0;
        }
        let now = self.age();
        self.poor().values().filter(|poor| poor.until > now).count()
    }

    /// A call of this payer is about to go there. Where it was of no use before, this call tries, and others that it
    /// was of no use to stay away until it is known what became of it. Those of all payers for a moment only: a call may
    /// be given up, and then nobody ever hears. Those of a payer that was answered poorly as long as after the last time:
    /// its trial may take the server long.
    pub(super) fn picked(&self, payer: Payer) {
        if self.failures.load(Relaxed) > 0 {
            self.until.fetch_max(self.age() + pause(1), Relaxed);
        }
        if self.is_poor.load(Relaxed) {
            let now = self.age();
            if let Some(poor) = self.poor().get_mut(&payer).filter(|poor| poor.failures > 0) {
                poor.until = now + pause(poor.failures);
            }
        }
    }

    /// It could not be reached.
    pub(super) fn failed(&self) {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        self.until.store(self.age() + pause(failures), Relaxed);
    }

    /// Another call could not reach it, and this one waited for that: what happened once counts once. It is left alone for
    /// this one too, whichever of the two says so first.
    pub(super) fn failed_for_another(&self) {
        self.until.fetch_max(self.age() + pause(1), Relaxed);
    }

    /// A call of this payer that was sent there got no answer, or one that says that there is none. It takes several in
    /// a row to leave it alone, or one where it is being tried: a single call may itself be what a server dies of.
    pub(super) fn answered_poorly(&self, payer: Payer) {
        self.was_reached();
        let now = self.age();
        let mut table = self.poor();
        if !table.contains_key(&payer) && table.len() >= MAX_POORLY_ANSWERED {
            let oldest = table.iter().min_by_key(|(_, poor)| poor.last).map(|(payer, _)| *payer);
            oldest.and_then(|oldest| table.remove(&oldest));
        }
        let poor = table.entry(payer).or_default();
        poor.last = now;
        poor.answers = poor.answers.saturating_add(1);
        if poor.answers >= MAX_POOR_ANSWERS {
            poor.failures = poor.failures.saturating_add(1);
            poor.until = now + pause(poor.failures);
        }
        self.is_poor.store(true, Relaxed);
    }

    /// It answered this payer.
    pub(super) fn answered(&self, payer: Payer) {
        self.was_reached();
        // Read first: of all calls nearly none finds anything to change, and a write would be felt by all others.
        if self.is_poor.load(Relaxed) {
            let mut table = self.poor();
            table.remove(&payer);
            self.is_poor.store(!table.is_empty(), Relaxed);
        }
    }

    /// Forgets who was answered poorly and has not been for long: it may be gone.
    pub(super) fn sweep(&self) {
        if !self.is_poor.load(Relaxed) {
            return;
        }
        let now = self.age();
        let mut table = self.poor();
        table.retain(|_, poor| poor.until > now || now.saturating_sub(poor.last) < millis(POOR_MEMORY));
        self.is_poor.store(!table.is_empty(), Relaxed);
    }

    fn was_reached(&self) {
        if self.failures.load(Relaxed) > 0 {
            self.failures.store(0, Relaxed);
            self.until.store(0, Relaxed);
        }
    }

    fn age(&self) -> u64 {
        millis(self.made.elapsed())
    }

    fn poor(&self) -> MutexGuard<'_, HashMap<Payer, Poor>> {
        self.poor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how long it is left alone after so many failures, in milliseconds.
fn pause(failures: u32) -> u64 {
    let (first, last) = EJECTION;
    let doublings = failures.saturating_sub(1).min(16);
    millis((first * 2_u32.pow(doublings)).min(last))
}

/// Half of all milliseconds at most, so that two of them can be added.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::seal::Owner;

    fn workload(number: usize) -> Payer {
        Payer::Workload(Owner::of(&number.to_string()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_is_given_up_keeps_others_away_for_a_moment() {
        let health = Health::default();
        for _ in 0..5 {
            health.failed();
        }
        health.picked(workload(1));
        assert!(
            health.ejected_for_all() > millis(EJECTION.0),
            "who tries too early shortens nothing"
        );
        tokio::time::advance(Duration::from_millis(health.ejected_for_all())).await;
        assert_eq!(health.ejected_for(workload(2)), 0);
        health.picked(workload(1));
        assert!((1..=millis(EJECTION.0)).contains(&health.ejected_for(workload(2))));
    }

    #[test]
    fn who_gets_poor_answers_keeps_nobody_else_away() {
        let health = Health::default();
        for _ in 0..10 * MAX_POOR_ANSWERS {
            health.answered_poorly(workload(1));
        }
        assert!(health.ejected_for(workload(1)) > 0);
        assert_eq!((health.ejected_for(workload(2)), health.avoided_by()), (0, 1));
        // That others are answered well is nothing to the one that is not, and what it tries takes nothing from them.
        health.answered(workload(2));
        health.picked(workload(1));
        assert!(health.ejected_for(workload(1)) > 0 && health.ejected_for(workload(2)) == 0);
        health.answered(workload(1));
        assert_eq!((health.ejected_for(workload(1)), health.avoided_by()), (0, 0));
    }

    #[test]
    fn what_cannot_be_reached_all_leave_alone_until_it_answers_somebody_however_poorly() {
        let health = Health::default();
        health.failed();
        assert!(health.ejected_for(workload(1)) > 0 && health.ejected_for(Payer::Agent) > 0);
        // Whoever tries it first cannot keep the others from it.
        health.answered_poorly(workload(1));
        assert_eq!((health.ejected_for(workload(1)), health.ejected_for_all()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_answered_poorly_and_comes_no_more_is_forgotten_and_who_comes_is_not() {
        let health = Health::default();
        let poorly = |number| (0..MAX_POOR_ANSWERS).for_each(|_| health.answered_poorly(workload(number)));
        poorly(1);
        tokio::time::advance(POOR_MEMORY / 2).await;
        poorly(2);
        health.sweep();
        assert_eq!(health.poor().len(), 2);
        tokio::time::advance(POOR_MEMORY / 2).await;
        health.sweep();
        assert!(!health.poor().contains_key(&workload(1)) && health.poor().contains_key(&workload(2)));
        assert!(health.is_poor.load(Relaxed));
        // It tries, and it is not known yet what becomes of that.
        health.answered_poorly(workload(2));
        tokio::time::advance(POOR_MEMORY - Duration::from_millis(1)).await;
        health.picked(workload(2));
        tokio::time::advance(Duration::from_millis(1)).await;
        health.sweep();
        assert!(health.ejected_for(workload(2)) > 0);
        tokio::time::advance(POOR_MEMORY).await;
        health.sweep();
        assert!(health.poor().is_empty() && !health.is_poor.load(Relaxed));
    }

    #[test]
    fn of_too_many_the_one_is_forgotten_that_was_answered_poorly_longest_ago() {
        let health = Health::default();
        for number in 0..MAX_POORLY_ANSWERED {
            health.answered_poorly(workload(number));
            health
                .poor()
                .entry(workload(number))
                .and_modify(|poor| poor.last = number as u64);
        }
        health.answered_poorly(workload(MAX_POORLY_ANSWERED));
        let poor = health.poor();
        assert_eq!(poor.len(), MAX_POORLY_ANSWERED);
        assert!(!poor.contains_key(&workload(0)) && poor.contains_key(&workload(1)));
    }
}
