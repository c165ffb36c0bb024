//! Wakes the loop when a workload's cgroup appears or goes, or a process enters it: between two ticks a pod
//! could already have dialled.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Watches directories of the cgroup hierarchy.
pub struct CgroupWatch {
    watcher: Option<RecommendedWatcher>,
    watched: HashSet<PathBuf>,
    changes: mpsc::Receiver<()>,
}

impl CgroupWatch {
    /// Watches nothing yet. Without inotify the ticks of the loop must do; that is said once.
    pub fn new() -> Self {
        let (sender, changes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reads are events too.
            let relevant = event.map_or(true, |event| {
                matches!(
                    event.kind,
                    EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(_)
                )
            });
            if relevant {
                // A full channel means that the loop is already going to look.
                let _ = sender.try_send(());
            }
        })
        .inspect_err(|error| tracing::warn!(%error, "no inotify: changes of cgroups are seen at the next tick"))
        .ok();
        Self {
            watcher,
            watched: HashSet::new(),
            changes,
        }
    }

    /// Watches these cgroups, or, of those that do not exist yet, the nearest directory that does.
    pub fn follow(&mut self, cgroups: impl Iterator<Item = PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted: HashSet<PathBuf> = cgroups
            .filter_map(|path| path.ancestors().find(|p| p.is_dir()).map(Path::to_owned))
            .collect();
        self.watched.retain(|path| {
            let keep = wanted.contains(path);
            if !keep {
                // Fails when the directory, and its watch, are gone.
                let _ = watcher.unwatch(path);
            }
            keep
        });
        for path in wanted {
            if !self.watched.contains(&path) && watcher.watch(&path, RecursiveMode::NonRecursive).is_ok() {
                self.watched.insert(path);
            }
        }
    }

    /// Returns when something has changed.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
