//! What the connections of one workload share.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use hyper::rt::Executor;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::{
    body::BodyBudget,
    limits::{MAX_STREAMS_PER_WORKLOAD, WRITE_TIMEOUT},
};

/// Room for the calls of one workload; clones share it.
#[derive(Clone)]
pub(super) struct Room {
    /// For the bodies of its requests.
    pub(super) bodies: BodyBudget,
    /// For its calls over HTTP/2: those over HTTP/1.1 are bounded by their connections.
    pub(super) streams: Arc<Semaphore>,
    /// What the copies of its observed connections hold, in bytes.
    pub(super) tapped: Arc<AtomicUsize>,
    /// How long its clients may leave a chunk of an answer over HTTP/2 lying.
    pub(super) patience: Duration,
    /// Everything that runs for it.
    pub(super) tasks: Tasks,
}

impl Room {
    /// All of it.
    pub(super) fn new(tasks: TaskTracker) -> Self {
        Self {
            bodies: BodyBudget::new(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS_PER_WORKLOAD)),
            tapped: Arc::default(),
            patience: WRITE_TIMEOUT,
            tasks: Tasks(tasks),
        }
    }
}

/// Runs the calls of a connection of HTTP/2, each as a task of the proxy.
#[derive(Clone)]
pub(super) struct Tasks(TaskTracker);

impl<F: Future<Output: Send + 'static> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
