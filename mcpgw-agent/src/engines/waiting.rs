//! Calls that wait for one service: so many, and of each workload no more than its share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::{MAX_WAITING, MAX_WAITING_PER_WORKLOAD};
use crate::{
    mcp::seal::Owner,
    shares::{Share, Shares},
};

/// The calls that wait.
#[derive(Debug)]
pub(super) struct Waiting {
    room: Arc<Semaphore>,
    shares: Shares,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(MAX_WAITING)),
            shares: Shares::default(),
        }
    }
}

impl Waiting {
    /// One more call of this workload waits, until this is dropped; `None` where there is no room for it.
    pub(super) fn begin(&self, workload: Owner) -> Option<(Share, OwnedSemaphorePermit)> {
        let share = self.shares.take(workload, MAX_WAITING_PER_WORKLOAD)?;
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        Some((share, room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_one_workload_leave_room_for_those_of_others_and_all_have_an_end() {
        let waiting = Waiting::default();
        let mine: Vec<_> = std::iter::from_fn(|| waiting.begin(Owner::of("a"))).collect();
        assert_eq!(mine.len(), MAX_WAITING_PER_WORKLOAD);
        let other = |number: usize| waiting.begin(Owner::of(&number.to_string()));
        let others: Vec<_> = (0..).map_while(other).collect();
        assert_eq!(mine.len() + others.len(), MAX_WAITING);
        drop(mine);
        assert!(waiting.begin(Owner::of("a")).is_some());
    }
}
