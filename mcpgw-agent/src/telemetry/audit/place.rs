//! Where lines are written on this node: where the agent was told to when it was started, until settings name another
//! place.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    AuditError,
    sink::{Rotated, Rotation, Sink, Stdout},
};
use crate::resources::AuditSink;

/// Where lines are to be written.
pub(super) struct Wanted(Mutex<Place>);

struct Place {
    sink: AuditSink,
    /// Why they are not written there.
    problem: Option<String>,
}

impl Wanted {
    pub(super) fn new(sink: AuditSink) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Place { sink, problem: None })))
    }

    /// From the next line on.
    pub(super) fn set(&self, sink: AuditSink) {
        let mut place = self.place();
        if place.sink != sink {
            *place = Place { sink, problem: None };
        }
    }

    /// Why lines are not written where they are to be; they are where they were before.
    pub(super) fn problem(&self) -> Option<String> {
        self.place().problem.clone()
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes where lines are wanted. As long as a new place cannot be opened they go to the one before, and none is lost.
pub(super) struct Followed {
    wanted: Arc<Wanted>,
    sink: Box<dyn Sink>,
    /// Where that writes.
    at: AuditSink,
    rotation: Arc<Rotation>,
}

impl Followed {
    /// Begins with this sink, which writes where lines are wanted now.
    pub(super) fn new(wanted: Arc<Wanted>, sink: Box<dyn Sink>, rotation: Arc<Rotation>) -> Self {
        let at = wanted.place().sink.clone();
        Self {
            wanted,
            sink,
            at,
            rotation,
        }
    }

    /// Goes where lines are wanted now.
    fn follow(&mut self) {
        let rotation = Arc::clone(&self.rotation);
        self.follow_by(|sink| open(sink, &rotation));
    }

    /// … which is opened so. That may take long, and nobody waits for it but this: settings change meanwhile, and how the
    /// log does can be asked.
    pub(super) fn follow_by(&mut self, open: impl FnOnce(&AuditSink) -> Result<Box<dyn Sink>, AuditError>) {
        let wanted = self.wanted.place().sink.clone();
        if wanted == self.at {
            return;
        }
        let opened = open(&wanted);
        let mut place = self.wanted.place();
        // What is wanted by now is found with the next lines.
        if place.sink != wanted {
            return;
        }
        match opened {
            Ok(sink) => {
                place.problem = None;
                self.sink = sink;
                self.at = wanted;
                tracing::info!(sink = ?self.at, "the audit log goes on in another place");
            }
            Err(error) => {
                let problem = format!("{error}; lines go where they went before");
                if place.problem.as_ref() != Some(&problem) {
                    tracing::error!("{problem}");
                    place.problem = Some(problem);
                }
            }
        }
    }
}

impl Sink for Followed {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.follow();
        self.sink.write(lines)
    }
}

/// Opens a place.
pub(super) fn open(sink: &AuditSink, rotation: &Arc<Rotation>) -> Result<Box<dyn Sink>, AuditError> {
    match sink {
        AuditSink::Stdout => Ok(Box::new(Stdout)),
        AuditSink::File(path) => match Rotated::open(path.clone(), Arc::clone(rotation)) {
            Ok(file) => Ok(Box::new(file)),
            Err(source) => Err(AuditError::Open {
                path: path.clone(),
                source,
            }),
        },
    }
}
