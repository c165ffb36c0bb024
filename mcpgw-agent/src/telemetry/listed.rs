//! What became of a list: how much of it its caller is shown.

use std::sync::{Mutex, PoisonError};

/// How many elements of a list its caller is shown, and how many it is not; counted where the list is made or cut.
#[derive(Debug, Default)]
pub struct Listed(Mutex<Option<ListCount>>);

/// As [`Listed`] has it in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ListCount {
    pub(super) shown: usize,
    pub(super) hidden: usize,
}

impl Listed {
    /// Adds to both.
    pub fn add(&self, shown: usize, hidden: usize) {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = count.unwrap_or_default();
        *count = Some(ListCount {
            shown: so_far.shown + shown,
            hidden: so_far.hidden + hidden,
        });
    }

    /// `None` where nobody counted.
    pub(super) fn count(&self) -> Option<ListCount> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
