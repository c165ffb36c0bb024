//! Waiting for a condition instead of for a time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Between two looks at a condition that cannot be waited for in the kernel.
const POLL: Duration = Duration::from_millis(5);

/// Asks `look` until it yields something. Fails after `limit`, naming `what` was waited for.
pub fn eventually<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain for {what}");
        }
        thread::sleep(POLL);
    }
}

/// [`eventually`] for a plain condition.
pub fn until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    eventually(limit, what, || holds().then_some(()))
}
