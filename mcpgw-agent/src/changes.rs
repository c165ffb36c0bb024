//! Notices that the files of a directory changed.

use std::{path::PathBuf, time::Duration};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, interval_at, timeout_at},
};
use tracing::warn;

/// How long a directory must be quiet before it is read: an editor's save is several events.
const QUIET: Duration = Duration::from_millis(100);
/// How long a directory that is never quiet is waited for.
const MAX_DELAY: Duration = Duration::from_secs(2);
/// The backstop for changes that no event told of: a replaced directory, a network file system, an overflow.
const READ_AGAIN_EVERY: Duration = Duration::from_secs(15);

/// Changes of a directory. It is the directory that is watched, never a file: editors and Kubernetes put another
/// file in place of the one that was there.
pub(crate) struct Changes {
    directory: PathBuf,
    watcher: Option<RecommendedWatcher>,
    woken: mpsc::Receiver<()>,
    backstop: Interval,
}

impl Changes {
    /// Begins to watch. What changes from now on is told by [`next`](Self::next).
    pub fn of(directory: PathBuf) -> Self {
        // One waiting event says as much as many.
        let (wake, woken) = mpsc::channel(1);
        let mut changes = Self {
            watcher: watcher(wake, &directory),
            directory,
            woken,
            backstop: interval_at(Instant::now() + READ_AGAIN_EVERY, READ_AGAIN_EVERY),
        };
        changes.watch();
        changes
    }

    /// Waits until something may have changed, and has been quiet for a moment. Then read again.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.backstop.tick() => {}
            Some(()) = self.woken.recv() => self.quiet().await,
        }
        // Watched anew each time: a directory that was replaced is another one under the same path.
        self.watch();
    }

    fn watch(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            // A directory that isn't there is an error of the read that follows, which says so.
            let _ = watcher.watch(&self.directory, RecursiveMode::NonRecursive);
        }
    }

    /// Waits until no event has come for a while.
    async fn quiet(&mut self) {
        let latest = Instant::now() + MAX_DELAY;
        while Instant::now() < latest {
            let until = latest.min(Instant::now() + QUIET);
            if !matches!(timeout_at(until, self.woken.recv()).await, Ok(Some(()))) {
                return;
            }
        }
    }
}

/// `None`, with a warning, where the system has no watches left: the backstop still works.
fn watcher(wake: mpsc::Sender<()>, directory: &std::path::Path) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<Event>| {
        if event.map_or(true, |event| is_change(&event.kind)) {
            // Full: a wake-up is waiting already.
            let _ = wake.try_send(());
        }
    };
    notify::recommended_watcher(on_event)
        .inspect_err(|error| {
            let directory = directory.display();
            warn!("cannot watch files ({error}); {directory} is read every {READ_AGAIN_EVERY:?} instead");
        })
        .ok()
}

/// Whether an event can mean new contents. Our own reading makes events too, which must not wake us.
fn is_change(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn our_own_reading_wakes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), "").unwrap();
        let mut changes = Changes::of(dir.path().to_owned());
        fs::read(dir.path().join("a.yaml")).unwrap();
        fs::read_dir(dir.path()).unwrap().for_each(drop);
        // Events arrive in order: the only one is that of the change.
        fs::write(dir.path().join("b.yaml"), "").unwrap();
        tokio::time::timeout(PATIENCE, changes.woken.recv())
            .await
            .unwrap()
            .unwrap();
        assert!(is_change(&EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(!is_change(&EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!is_change(&EventKind::Access(AccessKind::Close(AccessMode::Read))));
    }
}
