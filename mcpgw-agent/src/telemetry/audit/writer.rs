//! The thread that writes the audit log.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    AuditError,
    line::{encode, encode_lost},
    queue::{Queued, State},
    sink::Sink,
};

/// How long lines are gathered before they are written together: what a crash can cost at most, and what spares
/// each call a wake-up of this thread.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(50);
/// How long a shutdown waits for the lines that are queued.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of lines that are written at once.
const BATCH: usize = 256 * 1024;

/// The thread, from outside.
pub(super) struct Writer {
    ended: Mutex<Receiver<()>>,
}

impl Writer {
    pub(super) fn start(
        node: String,
        place: &'static str,
        sink: Box<dyn Sink>,
        lines: Receiver<Queued>,
        state: Arc<State>,
    ) -> Result<Self, AuditError> {
        let (done, ended) = sync_channel(1);
        let write = Write {
            node,
            place,
            sink,
            lines,
            state: Arc::clone(&state),
        };
        let thread = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                write.run();
                // Nobody has to wait for it.
                let _ = done.send(());
            })
            .map_err(AuditError::Thread)?;
        state.written_by(thread.thread().clone());
        Ok(Self {
            ended: Mutex::new(ended),
        })
    }

    /// Waits for the end of the thread, whose queue is closed; `false` if it has not come until `deadline`.
    pub(super) fn wait(&self, deadline: Instant) -> bool {
        let limit = deadline.saturating_duration_since(Instant::now());
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(ended.recv_timeout(limit), Err(RecvTimeoutError::Timeout))
    }
}

/// The thread, from inside.
struct Write {
    node: String,
    /// Where lines go, as messages call it.
    place: &'static str,
    sink: Box<dyn Sink>,
    lines: Receiver<Queued>,
    state: Arc<State>,
}

impl Write {
    fn run(mut self) {
        let mut batch = Batch::default();
        while let Ok(first) = self.lines.recv() {
            // Cut short when many lines wait, or no more will come.
            thread::park_timeout(FLUSH_INTERVAL);
            let mut next = Some(first);
            while next.is_some() {
                next = self.gather(next, &mut batch);
                self.write(&batch);
            }
        }
        // What was lost last of all, when nothing came behind it.
        self.gather(None, &mut batch);
        if !batch.bytes.is_empty() {
            self.write(&batch);
        }
    }

    /// Fills a batch, from this line on; the line that had no room in it.
    fn gather(&self, first: Option<Queued>, batch: &mut Batch) -> Option<Queued> {
        *batch = Batch {
            bytes: std::mem::take(&mut batch.bytes),
            ..Batch::default()
        };
        batch.bytes.clear();
        let mut next = first;
        while let Some(queued) = next {
            let Queued::Line(event, places) = queued else {
                next = self.lines.try_recv().ok();
                continue;
            };
            // They are others' from here on.
            drop(places);
            batch.taken += 1;
            let whole = batch.bytes.len();
            match encode(&self.node, &event, &mut batch.bytes) {
                Ok(()) => batch.lines += 1,
                Err(error) => {
                    tracing::error!(%error, "an audit line cannot be written");
                    batch.bytes.truncate(whole);
                    self.state.lose(1);
                }
            }
            next = self.lines.try_recv().ok();
            if batch.bytes.len() >= BATCH {
                break;
            }
        }
        self.say_what_is_lost(batch);
        next
    }

    fn say_what_is_lost(&self, batch: &mut Batch) {
        let lost = self.state.to_say();
        if lost == 0 {
            return;
        }
        let whole = batch.bytes.len();
        match encode_lost(&self.node, lost, &mut batch.bytes) {
            Ok(()) => batch.said = lost,
            Err(error) => {
                tracing::error!(%error, "an audit line cannot be written");
                batch.bytes.truncate(whole);
                self.state.leave_unsaid(lost);
            }
        }
    }

    /// Writes a batch. Where requests wait for room it is tried until it succeeds, or no more requests come.
    fn write(&mut self, batch: &Batch) {
        loop {
            let error = self.sink.write(&batch.bytes).err();
            let is_news = self.state.set_error(error.as_ref().map(ToString::to_string));
            let Some(error) = error else {
                if is_news {
                    tracing::info!(place = self.place, "the audit log can be written to again");
                }
                break;
            };
            let waits = self.state.keeps_lines();
            if is_news {
                let then = if waits {
                    "calls wait for it"
                } else {
                    "lines are being lost"
                };
                tracing::error!(place = self.place, %error, "cannot write to the audit log; {then}");
            }
            if !waits {
                self.state.lose(batch.lines);
                self.state.leave_unsaid(batch.said);
                break;
            }
            thread::park_timeout(FLUSH_INTERVAL);
        }
        self.state.settled(batch.taken);
    }
}

/// Lines that are written together.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// How many lines it has.
    lines: usize,
    /// How many were taken from the queue for it.
    taken: usize,
    /// How many others it says are lost.
    said: u64,
}
