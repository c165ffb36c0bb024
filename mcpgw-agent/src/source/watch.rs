//! Notices that the files of a directory changed, and reads them again.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};
use tracing::{error, info, warn};

use super::{
    SourceStatus,
    file::{self, Reading},
};
use crate::resources::Desired;

/// How long a directory must be quiet before it is read: an editor's save is several events.
const QUIET: Duration = Duration::from_millis(100);
/// How long a directory that is never quiet is waited for.
const MAX_DELAY: Duration = Duration::from_secs(2);
/// The backstop for changes that no event told of: a replaced directory, a network file system, an overflow.
const READ_AGAIN_EVERY: Duration = Duration::from_secs(15);

pub(super) fn spawn(
    directory: PathBuf,
    initial: Desired,
) -> (watch::Receiver<Arc<Desired>>, watch::Receiver<SourceStatus>) {
    let status = SourceStatus {
        generation: initial.generation,
        last_good_at: now(),
        ..Default::default()
    };
    let (desired, desired_rx) = watch::channel(Arc::new(initial));
    let (status, status_rx) = watch::channel(status);
    tokio::spawn(
        Loop {
            directory,
            desired,
            status,
        }
        .run(),
    );
    (desired_rx, status_rx)
}

struct Loop {
    directory: PathBuf,
    desired: watch::Sender<Arc<Desired>>,
    status: watch::Sender<SourceStatus>,
}

impl Loop {
    async fn run(self) {
        // One waiting event says as much as many.
        let (wake, mut woken) = mpsc::channel(1);
        let mut watcher = watcher(wake);
        let mut backstop = tokio::time::interval(READ_AGAIN_EVERY);
        loop {
            // Watched anew each time: a directory that was replaced is another one under the same path.
            watch_directory(&mut watcher, &self.directory);
            self.read().await;
            tokio::select! {
                () = self.desired.closed() => return,
                _ = backstop.tick() => {}
                Some(()) = woken.recv() => quiet(&mut woken).await,
            }
        }
    }

    async fn read(&self) {
        let directory = self.directory.clone();
        // Only a panic inside could make this fail, and reading has its errors in its result.
        if let Ok(reading) = tokio::task::spawn_blocking(move || file::read(&directory)).await {
            self.publish(reading);
        }
    }

    fn publish(&self, Reading { files, result }: Reading) {
        let before = self.status.borrow().clone();
        let mut status = before.clone();
        status.files = files;
        status.errors = match result {
            Ok(desired) => {
                status.generation = self.accept(desired);
                status.last_good_at = now();
                Vec::new()
            }
            Err(errors) => errors.lines(),
        };
        if status.errors != before.errors {
            if status.errors.is_empty() {
                info!("the configuration is good again");
            }
            for line in &status.errors {
                error!(
                    "configuration refused, generation {} stays in force: {line}",
                    status.generation
                );
            }
        }
        self.status.send_replace(status);
    }

    /// Publishes `desired` if it differs from what is in force; returns the generation that is then in force.
    fn accept(&self, mut desired: Desired) -> u64 {
        let current = self.desired.borrow().clone();
        desired.generation = current.generation;
        if desired != *current {
            desired.generation += 1;
            info!(generation = desired.generation, "configuration changed");
            self.desired.send_replace(Arc::new(desired));
            return current.generation + 1;
        }
        current.generation
    }
}

/// `None`, with a warning, where the system has no watches left: the backstop still works.
fn watcher(wake: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<Event>| {
        if event.map_or(true, |event| is_change(&event.kind)) {
            // Full: a wake-up is waiting already.
            let _ = wake.try_send(());
        }
    };
    notify::recommended_watcher(on_event)
        .inspect_err(|error| {
            warn!("cannot watch files ({error}); the configuration is read every {READ_AGAIN_EVERY:?} instead");
        })
        .ok()
}

fn watch_directory(watcher: &mut Option<RecommendedWatcher>, directory: &Path) {
    if let Some(watcher) = watcher {
        // A directory that isn't there is an error of the read that follows, which says so.
        let _ = watcher.watch(directory, RecursiveMode::NonRecursive);
    }
}

/// Whether an event can mean new contents. Our own reading makes events too, which must not wake us.
fn is_change(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

/// Waits until no event has come for a while.
async fn quiet(woken: &mut mpsc::Receiver<()>) {
    let latest = Instant::now() + MAX_DELAY;
    while Instant::now() < latest {
        let until = latest.min(Instant::now() + QUIET);
        if !matches!(timeout_at(until, woken.recv()).await, Ok(Some(()))) {
            return;
        }
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
