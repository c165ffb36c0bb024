//! Accepts connections: of one workload, or at the gateway's own address.

use std::{future::poll_fn, io, sync::Arc, task::Poll, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Shared, connection, limits::ACCEPT_BACKOFF, room::Room};
use crate::{
    identity::{Caller, WorkloadIdentity},
    shares::Payer,
    telemetry::Who,
};

/// All that accepting needs. `origin` tells who is at the other end of a connection, or why nobody knows.
pub(super) struct Accept<F> {
    pub(super) listeners: Arc<[TcpListener]>,
    /// Whose the listeners are; `None`: the gateway's own.
    pub(super) workload: Option<Arc<WorkloadIdentity>>,
    pub(super) origin: F,
    /// What the connections share.
    pub(super) room: Room,
    pub(super) shared: Arc<Shared>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl<F: Fn(&TcpStream) -> Result<Caller, &'static str>> Accept<F> {
    /// Accepts until `stop`, which also ends the connections, or until the proxy drains, which lets them finish.
    pub(super) async fn run(self) {
        let stop = self.stop.clone();
        let (draining, listeners) = (self.shared.draining.clone(), Arc::clone(&self.listeners));
        // Dropping the loop closes the listeners, but for the guard's share, which goes with the guard.
        let accept = stop.run_until_cancelled(self.accept_all());
        if draining.run_until_cancelled(accept).await.is_none() {
            super::refuse_from_now_on(&listeners);
        }
    }

    /// What messages call it.
    fn name(&self) -> String {
        let workload = self.workload.as_ref();
        workload.map_or_else(|| "gateway".to_owned(), |workload| workload.workload.to_string())
    }

    async fn accept_all(self) {
        let permits = Arc::new(Semaphore::new(self.room.most_connections));
        let mut wait = ACCEPT_BACKOFF.0;
        // A permit comes first: what may not be served yet stays with the kernel, whose quota then refuses.
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            let stream = match next(&self.listeners).await {
                Ok(stream) => stream,
                Err(error) if is_of_the_connection(&error) => continue,
                // The listener was shut down: the service ends.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                Err(error) => {
                    tracing::warn!(listener = %self.name(), %error, ?wait, "cannot accept; waiting");
                    tokio::time::sleep(wait).await;
                    wait = grown(wait);
                    continue;
                }
            };
            wait = ACCEPT_BACKOFF.0;
            // Asked at once, while the connection's tuple cannot belong to another.
            match (self.origin)(&stream) {
                Ok(caller) => {
                    let share = self.room.connections.take(Payer::of_sender(&caller));
                    let caller = Arc::new(caller);
                    let Ok(share) = share else {
                        self.shared.refuse("too_many_connections", &caller);
                        continue;
                    };
                    let serve = connection::serve(stream, caller, self.room.clone(), Arc::clone(&self.shared));
                    let stop = self.stop.clone();
                    self.tasks.spawn(async move {
                        stop.run_until_cancelled(serve).await;
                        // Who waits for a permit finds a share, too.
                        drop(share);
                        drop(permit);
                    });
                }
                Err(reason) => {
                    tracing::debug!(listener = %self.name(), reason, "closed: no original destination");
                    if let Some(workload) = &self.workload {
                        let who = Who::Workload(Arc::clone(workload));
                        self.shared.telemetry.original_dst_missing(who, reason);
                    }
                }
            }
        }
    }
}

/// The next connection to any of the listeners.
async fn next(listeners: &[TcpListener]) -> io::Result<TcpStream> {
    poll_fn(|cx| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted.map(|(stream, _)| stream));
            }
        }
        Poll::Pending
    })
    .await
}

/// Whether the error is about the connection that was to be accepted, and the next one may do better.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

fn grown(wait: Duration) -> Duration {
    (wait * 2).min(ACCEPT_BACKOFF.1)
}
