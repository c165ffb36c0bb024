//! How much of what there is room for each caller has: none can take all of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::mcp::seal::Owner;

/// What each owner has; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares(Arc<Mutex<HashMap<Owner, usize>>>);

impl Shares {
    /// One more for this owner, until it is dropped; `None` where it has `most` already.
    pub(crate) fn take(&self, owner: Owner, most: usize) -> Option<Share> {
        let mut taken = self.lock();
        let count = taken.entry(owner).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Share {
            shares: self.clone(),
            owner,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of what an owner has.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Shares,
    owner: Owner,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        if let Some(count) = taken.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_owner_has_more_than_its_share_and_what_it_gives_back_it_can_have_again() {
        let shares = Shares::default();
        let (mine, others) = (Owner::of("a"), Owner::of("b"));
        let mut taken: Vec<Share> = (0..3).map(|_| shares.take(mine, 3).unwrap()).collect();
        assert!(shares.take(mine, 3).is_none());
        assert!(shares.take(others, 3).is_some());
        taken.pop();
        assert!(shares.take(mine, 3).is_some());
        drop(taken);
        assert!(shares.lock().is_empty());
    }
}
