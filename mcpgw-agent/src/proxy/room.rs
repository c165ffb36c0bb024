//! What those share who come to the same listeners, and what one of them may have of it.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use bytes::Bytes;
use http_body::Body;
use hyper::rt::Executor;
use tokio_util::task::TaskTracker;

use super::{
    body::{self, BodyBudget},
    limits::{
        MAX_BODIES_PER_WORKLOAD, MAX_CONNECTIONS_PER_WORKLOAD, MAX_STREAMS_PER_WORKLOAD, PART_AT_GATEWAY,
        WORKLOADS_AT_GATEWAY, WRITE_TIMEOUT,
    },
    refused::Refused,
};
use crate::{
    identity::Caller,
    shares::{Payer, Share, Shares},
};

/// Room for connections and what is asked on them; clones share it.
#[derive(Clone)]
pub(super) struct Room {
    /// How many connections there may be; those that wait for one count against the kernel's quota.
    pub(super) most_connections: usize,
    /// … and how many of each caller, as it is known without a token.
    pub(super) connections: Shares,
    /// … and how many of each caller that a token makes known, whatever addresses they come from: of those whose last
    /// proven request was that caller's.
    pub(super) borne: Shares,
    /// For the bodies of requests.
    pub(super) bodies: BodyBudget,
    /// For calls over HTTP/2: those over HTTP/1.1 are bounded by their connections.
    pub(super) streams: Shares,
    /// What the copies of observed connections hold, in bytes.
    pub(super) tapped: Arc<AtomicUsize>,
    /// How long clients may leave a chunk of an answer over HTTP/2 lying.
    pub(super) patience: Duration,
    /// Everything that runs for it.
    pub(super) tasks: Tasks,
}

impl Room {
    /// That of a workload, at its own listeners.
    pub(super) fn of_workload(tasks: TaskTracker) -> Self {
        Self::new(tasks, 1, 1)
    }

    /// That of all who come to the gateway's own listeners, and of which each has a part.
    pub(super) fn of_gateway(tasks: TaskTracker) -> Self {
        Self::new(tasks, WORKLOADS_AT_GATEWAY, PART_AT_GATEWAY)
    }

    /// The seat of a connection among those of the token that is shown on it: it is nothing until one is.
    pub(super) fn connection(&self, payer: Payer) -> Seat {
        Arc::new(Mutex::new(self.borne.none(payer)))
    }

    /// Room for so many `workloads`, of which one caller has one of so many `parts`.
    fn new(tasks: TaskTracker, workloads: usize, parts: usize) -> Self {
        let shares = |most: usize| Shares::new(most * workloads, most * workloads / parts);
        Self {
            most_connections: MAX_CONNECTIONS_PER_WORKLOAD * workloads,
            connections: shares(MAX_CONNECTIONS_PER_WORKLOAD),
            borne: shares(MAX_CONNECTIONS_PER_WORKLOAD),
            bodies: BodyBudget::new(shares(MAX_BODIES_PER_WORKLOAD)),
            streams: shares(MAX_STREAMS_PER_WORKLOAD),
            tapped: Arc::default(),
            patience: WRITE_TIMEOUT,
            tasks: Tasks(tasks),
        }
    }
}

/// What one request takes of the room, on account of whoever is known by now to have sent it; clones share it.
#[derive(Clone)]
pub(super) struct Turn {
    bodies: BodyBudget,
    /// A seat among the calls over HTTP/2; `None` over HTTP/1.1.
    stream: Option<Seat>,
    /// Its connection's seat among those of a token; `None` where no token makes a caller known.
    connection: Option<Seat>,
    payer: Payer,
}

/// A seat that is somebody's who may turn out to be another.
pub(super) type Seat = Arc<Mutex<Share>>;

impl Turn {
    /// Of a request over HTTP/1.1, which needs no other seat than its connection's.
    pub(super) fn of(room: &Room, payer: Payer) -> Self {
        Self {
            bodies: room.bodies.clone(),
            stream: None,
            connection: None,
            payer,
        }
    }

    /// On a connection with this seat.
    pub(super) fn on(self, connection: &Seat) -> Self {
        Self {
            connection: Some(Arc::clone(connection)),
            ..self
        }
    }

    /// Of a request over HTTP/2, until its last clone is dropped; `None` where this payer has too many in flight.
    pub(super) fn of_stream(room: &Room, payer: Payer) -> Option<Self> {
        let share = room.streams.take(payer).ok()?;
        Some(Self {
            stream: Some(Arc::new(Mutex::new(share))),
            ..Self::of(room, payer)
        })
    }

    /// From here on it is this caller who pays, of whom its token may have told more than its connection.
    ///
    /// # Errors
    ///
    /// It has too many connections, or calls in flight.
    pub(super) fn charge(&mut self, caller: &Caller) -> Result<(), Refused> {
        // Of the others nothing is known that was not known before.
        if caller.workload.is_some() || caller.token.is_none() {
            return Ok(());
        }
        let payer = Payer::of_sender(caller);
        let charged = |seat: &Seat| {
            let mut share = seat.lock().unwrap_or_else(PoisonError::into_inner);
            // That of a connection is nothing until it is known whose it is.
            share.charge(payer) && share.resize(1)
        };
        if !self.connection.as_ref().is_none_or(charged) {
            return Err(Refused::no_connections());
        }
        if !self.stream.as_ref().is_none_or(charged) {
            return Err(Refused::no_streams());
        }
        self.payer = payer;
        Ok(())
    }

    /// Reads the whole body of the request. Its memory counts until the share that comes with it is dropped.
    pub(super) async fn read<B: Body>(&self, body: B) -> Result<(Bytes, body::Share), Refused> {
        self.bodies.read(self.payer, body).await
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
