//! Reads the files of a directory again whenever they change.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;
use tracing::{error, info};

use super::{
    SourceStatus,
    file::{self, Reading},
};
use crate::{changes::Changes, resources::Desired};

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
        let mut changes = Changes::of(self.directory.clone());
        loop {
            self.read().await;
            tokio::select! {
                () = self.desired.closed() => return,
                () = changes.next() => {}
            }
        }
    }

    async fn read(&self) {
        let (directory, in_force) = (self.directory.clone(), self.desired.borrow().clone());
        let read = move || file::read(&directory, Some(&in_force));
        // Only a panic inside could make this fail, and reading has its errors in its result.
        if let Ok(reading) = tokio::task::spawn_blocking(read).await {
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

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
