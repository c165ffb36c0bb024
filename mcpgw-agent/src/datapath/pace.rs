//! How often the loop goes round: at once after a change, but a workload that changes something all the time (it may
//! make and remove cgroups of its own) does not keep the node busy.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Rounds that may follow each other at once: as many as a pod takes to come up.
const BURST: u32 = 10;
/// A round's share of time, on average.
const ROUND: Duration = Duration::from_millis(50);

/// Keeps rounds apart.
pub struct Pace {
    /// When all rounds so far have had their share.
    due: Instant,
}

impl Pace {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self { due: Instant::now() }
    }

    /// Returns when the next round may begin.
    pub async fn turn(&mut self) {
        self.due = self.due.max(Instant::now()) + ROUND;
        if let Some(begin) = self.due.checked_sub(ROUND * BURST) {
            sleep_until(begin).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_rounds_follow_each_other_at_once_and_more_have_time_between_them() {
        let (mut pace, begun) = (Pace::new(), Instant::now());
        for _ in 0..BURST {
            pace.turn().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            pace.turn().await;
        }
        assert!(begun.elapsed() >= ROUND * 99, "{:?}", begun.elapsed());
        tokio::time::sleep(ROUND * BURST).await;
        let rested = Instant::now();
        for _ in 0..BURST {
            pace.turn().await;
        }
        assert_eq!(rested.elapsed(), Duration::ZERO, "who rests may hurry again");
    }
}
