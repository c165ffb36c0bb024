//! The thread that writes the audit log.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use arc_swap::ArcSwapOption;

use super::line::{Event, encode};

/// Lines that may wait to be written; the next ones are counted as lost.
pub const QUEUE: usize = 8_192;
/// How many of them may be refusals: whoever floods the node with bad requests does not push out the lines of
/// tool calls, others' or its own.
pub const REFUSALS: usize = QUEUE / 2;
/// How long a shutdown waits for the lines that are queued.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the audit log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditSink {
    /// Standard output.
    Stdout,
    /// A file, appended to; made with mode 0600.
    File(PathBuf),
}

/// Why the audit log cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file.
    #[error("cannot open the audit log {}: {source}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The writer's thread.
    #[error("cannot start the thread of the audit log: {0}")]
    Thread(#[source] io::Error),
}

/// Queue and thread of the audit log.
pub(super) struct Writer {
    /// Emptied at shutdown: the thread ends when it has written what is queued.
    queue: ArcSwapOption<SyncSender<Queued>>,
    refusals: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
    ended: Mutex<Receiver<()>>,
}

/// A line that waits.
struct Queued {
    event: Box<Event>,
    /// Gives a refusal's place back.
    place: Option<Place>,
}

/// One of the places that refusals may take in the queue.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(Arc::clone(taken));
        (taken.fetch_add(1, Ordering::Relaxed) < REFUSALS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Writer {
    pub(super) fn start(node: &str, sink: &AuditSink) -> Result<Self, AuditError> {
        let sink: Box<dyn Write + Send> = match sink {
            AuditSink::Stdout => Box::new(io::stdout()),
            AuditSink::File(path) => Box::new(
                OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(|source| AuditError::Open {
                        path: path.clone(),
                        source,
                    })?,
            ),
        };
        Self::over(node.to_owned(), sink)
    }

    fn over(node: String, sink: Box<dyn Write + Send>) -> Result<Self, AuditError> {
        let (queue, lines) = sync_channel(QUEUE);
        let (done, ended) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                write_all(&node, &lines, sink, &counter);
                // Nobody has to wait for it.
                let _ = done.send(());
            })
            .map_err(AuditError::Thread)?;
        Ok(Self {
            queue: ArcSwapOption::from_pointee(queue),
            refusals: Arc::default(),
            lost,
            ended: Mutex::new(ended),
        })
    }

    /// Queues a line, if there is room.
    pub(super) fn write(&self, event: Box<Event>) {
        self.enqueue(Queued { event, place: None });
    }

    /// Queues the line of a refusal, if refusals have not taken their share of the room.
    pub(super) fn write_refusal(&self, event: Box<Event>) {
        match Place::take(&self.refusals) {
            Some(place) => self.enqueue(Queued {
                event,
                place: Some(place),
            }),
            None => drop(self.lost.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn enqueue(&self, line: Queued) {
        let queued = self
            .queue
            .load()
            .as_ref()
            .is_some_and(|queue| queue.try_send(line).is_ok());
        if !queued {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    pub(super) fn shutdown(&self) -> bool {
        self.queue.store(None);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(
            ended.recv_timeout(FLUSH_TIMEOUT),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        )
    }
}

/// Writes each line whole, by one write where the sink takes it, so that a crash cuts none in two.
fn write_all(node: &str, lines: &Receiver<Queued>, mut sink: Box<dyn Write + Send>, lost: &AtomicU64) {
    let mut line = Vec::new();
    let mut failing = false;
    for Queued { event, place } in lines {
        drop(place);
        line.clear();
        let written = encode(node, &event, &mut line)
            .map_err(io::Error::from)
            .and_then(|()| sink.write_all(&line))
            .and_then(|()| sink.flush());
        if let Err(error) = &written {
            lost.fetch_add(1, Ordering::Relaxed);
            if !failing {
                tracing::error!(%error, "cannot write to the audit log; lines are being lost");
            }
        }
        failing = written.is_err();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Sender, channel},
        time::SystemTime,
    };

    use super::*;
    use crate::{
        identity::WorkloadIdentity,
        resources::ObjectName,
        telemetry::{Path, Refusal, Who},
    };

    fn event() -> Box<Event> {
        let workload = ObjectName {
            namespace: "agents".into(),
            name: "a".into(),
        };
        let who = Who::Workload(Arc::new(WorkloadIdentity {
            workload,
            service_account: "ci".into(),
        }));
        Box::new(Event::Refused(Refusal {
            time: SystemTime::UNIX_EPOCH,
            path: Path::Redirected,
            reason: "tls",
            status: None,
            who,
        }))
    }

    /// Says when a write begins, then blocks until it is released.
    struct Gate {
        begun: Sender<()>,
        released: Receiver<()>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.begun.send(()).unwrap();
            let _ = self.released.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_is_counted_and_what_was_queued_is_written_at_shutdown() {
        let (begun, began) = channel();
        let (release, released) = channel();
        let writer = Writer::over("n".to_owned(), Box::new(Gate { begun, released })).unwrap();
        writer.write(event());
        began.recv().unwrap();
        for _ in 0..QUEUE + 3 {
            writer.write(event());
        }
        assert_eq!(writer.lost().load(Ordering::Relaxed), 3);
        drop(release);
        assert!(writer.shutdown());
        assert_eq!(began.iter().count(), QUEUE);
        writer.write(event());
        assert_eq!(writer.lost().load(Ordering::Relaxed), 4);
    }

    #[test]
    fn a_flood_of_refusals_leaves_room_for_calls() {
        let (begun, began) = channel();
        let (release, released) = channel();
        let writer = Writer::over("n".to_owned(), Box::new(Gate { begun, released })).unwrap();
        writer.write(event());
        began.recv().unwrap();
        for _ in 0..REFUSALS + 5 {
            writer.write_refusal(event());
        }
        assert_eq!(writer.lost().load(Ordering::Relaxed), 5);
        for _ in 0..QUEUE - REFUSALS {
            writer.write(event());
        }
        assert_eq!(writer.lost().load(Ordering::Relaxed), 5, "every call has its line");
        drop(release);
        assert!(writer.shutdown());
        assert_eq!(writer.refusals.load(Ordering::Relaxed), 0, "the places are free again");
    }

    #[test]
    fn lines_of_a_failing_sink_are_counted() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let writer = Writer::over("n".to_owned(), Box::new(Full)).unwrap();
        writer.write(event());
        assert!(writer.shutdown());
        assert_eq!(writer.lost().load(Ordering::Relaxed), 1);
    }
}
