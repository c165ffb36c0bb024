//! How tests wait for what happens beside them.

use std::time::Duration;

/// Far more than anything takes that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until this is so, and panics where that takes too long.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waited).await;
    waited.unwrap_or_else(|_| panic!("not in time: {what}"));
}
