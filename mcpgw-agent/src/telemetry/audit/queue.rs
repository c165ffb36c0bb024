//! The lines that wait to be written, and what becomes of those for which there is no room.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::Thread,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{sync::Notify, time::timeout};

use super::{AuditHealth, line::Event};
use crate::{
    shares::{Payer, Share, Shares},
    telemetry::Outcome,
};

/// Lines that may wait to be written.
pub const QUEUE: usize = 8_192;
/// How many of them may be refusals: whoever floods the node with bad requests does not push out the lines of
/// tool calls, others' or its own.
pub const REFUSALS: usize = QUEUE / 2;
/// How many of them may be of lists, how many of calls that were denied or limited, and how many of clients that begin:
/// nobody waits for a server's answer to those, so that there may be many of them at once. Where none may be lost,
/// requests wait instead.
pub const MINOR: usize = QUEUE / 8;
/// With this many waiting, the writer does not wait for its interval to end.
const WAKE_AT: usize = QUEUE / 4;
/// With fewer waiting, nobody asks whose the lines are.
pub const FREE: usize = WAKE_AT;
/// How many lines of one workload may wait besides: together with those it has half of the queue, and leaves the other
/// half to others.
pub const OWN: usize = QUEUE / 4;
/// … and which part of the room that there is for lines of its kind.
pub const PART: usize = 2;
/// How long a request waits for room in a full log before it is refused.
pub const ROOM_TIMEOUT: Duration = Duration::from_secs(5);

/// What the writer gets.
pub(super) enum Queued {
    /// A line to write, and its places among others, until it is.
    Line(Arc<Event>, Places),
    /// Nothing to write: it is to look where lines go now.
    Look,
}

/// The places that a line takes: among those of its kind, and among those of its workload.
#[derive(Default)]
pub(super) struct Places {
    _kind: Option<Share>,
    _own: Option<Share>,
}

/// The sending side.
pub(super) struct Queue {
    /// Emptied at shutdown: the thread ends when it has written what is queued.
    lines: ArcSwapOption<Sender<Queued>>,
    state: Arc<State>,
}

/// What both sides know.
pub(super) struct State {
    waiting: AtomicUsize,
    refusals: Shares,
    lists: Shares,
    denials: Shares,
    openings: Shares,
    owned: Shares,
    lost: Arc<AtomicU64>,
    /// Of the lines that are lost, those of which no line says so yet.
    unsaid: AtomicU64,
    blocks: AtomicBool,
    closed: AtomicBool,
    room: Notify,
    error: Mutex<Option<String>>,
    writer: OnceLock<Thread>,
}

impl Queue {
    /// Counts the lines that are lost in `lost`.
    pub(super) fn new(lost: Arc<AtomicU64>) -> (Self, Receiver<Queued>, Arc<State>) {
        let (sender, receiver) = channel();
        let state = Arc::new(State {
            waiting: AtomicUsize::new(0),
            refusals: Shares::new(REFUSALS, REFUSALS / PART),
            lists: Shares::new(MINOR, MINOR / PART),
            denials: Shares::new(MINOR, MINOR / PART),
            openings: Shares::new(MINOR, MINOR / PART),
            owned: Shares::new(QUEUE, OWN),
            lost,
            unsaid: AtomicU64::new(0),
            blocks: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            room: Notify::new(),
            error: Mutex::default(),
            writer: OnceLock::new(),
        });
        let queue = Self {
            lines: ArcSwapOption::from_pointee(sender),
            state: Arc::clone(&state),
        };
        (queue, receiver, state)
    }

    /// Queues a line. Where there is no room for it, or its workload has its part of it, it is counted as lost; but
    /// where requests wait for room (`blocks`), those that had begun before it ran out get their lines: no request has
    /// more than a few, and of a batch each message.
    pub(super) fn push(&self, event: Arc<Event>, blocks: bool) {
        let state = &*self.state;
        let ahead = state.waiting.fetch_add(1, Ordering::Relaxed);
        let places = state.places(&event, ahead, blocks);
        let is_full = ahead >= QUEUE && !blocks;
        let sent = match (&*self.lines.load(), places) {
            (Some(lines), Some(places)) if !is_full => lines.send(Queued::Line(event, places)).is_ok(),
            _ => false,
        };
        if !sent {
            state.lose(1);
            state.settled(1);
        } else if ahead + 1 == WAKE_AT {
            state.wake();
        }
    }

    /// Lets the writer look where lines go now, also where none comes.
    pub(super) fn look(&self) {
        if let Some(lines) = &*self.lines.load() {
            // A writer that has ended writes nowhere.
            let _ = lines.send(Queued::Look);
        }
    }

    /// Waits until a request of this payer's may begin; `false` if there was no room for [`ROOM_TIMEOUT`]. At once,
    /// unless the log is full, or the payer's part of it, and requests are to wait for it.
    pub(super) async fn room(&self, payer: impl Fn() -> Payer) -> bool {
        let has_room = || {
            let waiting = self.state.waiting.load(Ordering::Relaxed);
            let has_part = || waiting < FREE || self.state.owned.has_room(payer());
            !self.state.blocks.load(Ordering::Relaxed) || waiting < QUEUE && has_part()
        };
        if has_room() {
            return true;
        }
        let wait = async {
            loop {
                let notified = self.state.room.notified();
                if has_room() {
                    return;
                }
                notified.await;
            }
        };
        timeout(ROOM_TIMEOUT, wait).await.is_ok()
    }

    pub(super) fn set_blocks(&self, blocks: bool) {
        self.state.blocks.store(blocks, Ordering::Relaxed);
        self.state.room.notify_waiters();
    }

    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.state.lost)
    }

    pub(super) fn health(&self) -> AuditHealth {
        AuditHealth {
            waiting: self.state.waiting.load(Ordering::Relaxed),
            lost: self.state.lost.load(Ordering::Relaxed),
            error: self.state.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// No more lines; those that wait are written.
    pub(super) fn close(&self) {
        self.state.closed.store(true, Ordering::Relaxed);
        self.lines.store(None);
        self.state.wake();
    }
}

impl State {
    /// Whose `park` a full queue or its end interrupts.
    pub(super) fn written_by(&self, writer: Thread) {
        let _ = self.writer.set(writer);
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// The places of a line that so many are ahead of; `None` where there are none left for it.
    fn places(&self, event: &Event, ahead: usize, blocks: bool) -> Option<Places> {
        let kind = match event {
            Event::Refused(_) | Event::StreamEnded(_) => Some(&self.refusals),
            // Where none may be lost, requests wait instead.
            _ if blocks => None,
            Event::ToolCall(call) if call.listed.is_some() || call.beyond.is_some() => Some(&self.lists),
            Event::ToolCall(call) if call.client.is_some() => Some(&self.openings),
            Event::ToolCall(call) if matches!(call.outcome, Outcome::Denied | Outcome::Limited) => Some(&self.denials),
            _ => None,
        };
        if kind.is_none() && ahead < FREE {
            return Some(Places::default());
        }
        let payer = event.payer();
        let kind = kind.map(|kind| kind.take(payer)).transpose().ok()?;
        let own = (ahead >= FREE).then(|| self.owned.take(payer)).transpose();
        if own.is_err() && !blocks {
            return None;
        }
        Some(Places {
            _kind: kind,
            _own: own.ok().flatten(),
        })
    }

    /// That many lines are written or lost: there is room for others.
    pub(super) fn settled(&self, lines: usize) {
        self.waiting.fetch_sub(lines, Ordering::Relaxed);
        if self.blocks.load(Ordering::Relaxed) {
            self.room.notify_waiters();
        }
    }

    pub(super) fn lose(&self, lines: usize) {
        self.lost.fetch_add(lines as u64, Ordering::Relaxed);
        self.leave_unsaid(lines as u64);
    }

    /// How many lines are lost of which no line says so yet; to be said by whoever asks.
    pub(super) fn to_say(&self) -> u64 {
        self.unsaid.swap(0, Ordering::Relaxed)
    }

    /// The line that should have said so is lost itself.
    pub(super) fn leave_unsaid(&self, lines: u64) {
        self.unsaid.fetch_add(lines, Ordering::Relaxed);
    }

    /// Whether lines that cannot be written now are kept and tried again.
    pub(super) fn keeps_lines(&self) -> bool {
        self.blocks.load(Ordering::Relaxed) && !self.closed.load(Ordering::Relaxed)
    }

    /// Notes why the last write failed, or that it did not; `true` if that is news.
    pub(super) fn set_error(&self, error: Option<String>) -> bool {
        let mut last = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = last.is_some() != error.is_some();
        *last = error;
        is_news
    }
}
