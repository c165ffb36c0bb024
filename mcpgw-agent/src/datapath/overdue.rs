//! Work that may take longer than anybody can wait for it: what is done in a workload's network namespace. It has a
//! thread of its own and a time; what is late goes on by itself, and no more of it is begun meanwhile.

use std::{
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    thread,
    time::Duration,
};

/// Those whose work is late: each has one thread at most that nobody waits for.
pub struct Overdue<K: 'static>(Mutex<Vec<K>>);

impl<K: Copy + Eq + Send> Overdue<K> {
    /// Nobody's is.
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn late(&self) -> MutexGuard<'_, Vec<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the work on a thread of its own, and waits for it for so long.
    ///
    /// # Errors
    ///
    /// `TimedOut` when it takes longer, or when earlier work for the same `key` is still going on.
    pub fn run<T: Send + 'static>(
        &'static self,
        key: K,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let timed_out = || io::Error::new(io::ErrorKind::TimedOut, format!("not done within {limit:?}"));
        if self.late().contains(&key) {
            return Err(timed_out());
        }
        let (done, result) = sync_channel(1);
        thread::Builder::new().spawn(move || {
            // Also when it panics. `done` is dropped before: who finds it empty writes down a key that is taken away yet.
            let _ended = Ended(self, key);
            let done = done;
            // Where nobody waits any more, what it has opened is closed.
            let _ = done.send(work());
        })?;
        match result.recv_timeout(limit) {
            Ok(result) => Ok(result),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the thread panicked")),
            Err(RecvTimeoutError::Timeout) => {
                let mut late = self.late();
                // It may have come to its end since, and then nothing would take the key away again.
                match result.try_recv() {
                    Ok(result) => Ok(result),
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => Err(io::Error::other("the thread panicked")),
                    Err(std::sync::mpsc::TryRecvError::Empty) => {
                        late.push(key);
                        Err(timed_out())
                    }
                }
            }
        }
    }
}

struct Ended<K: Copy + Eq + Send + 'static>(&'static Overdue<K>, K);

impl<K: Copy + Eq + Send> Drop for Ended<K> {
    fn drop(&mut self) {
        self.0.late().retain(|late| *late != self.1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_is_late_holds_up_nobody_and_is_not_begun_again_until_it_has_ended() {
        static LATE: Overdue<u8> = Overdue::new();
        let short = Duration::from_millis(20);
        let (release, released) = channel::<()>();
        let stuck = LATE.run(1, short, move || released.recv());
        assert_eq!(stuck.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let again = LATE.run(1, Duration::MAX, || panic!("begun"));
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(LATE.run(2, Duration::MAX, || 7).unwrap(), 7, "others go on");
        drop(release);
        while !LATE.late().is_empty() {
            thread::yield_now();
        }
        assert_eq!(LATE.run(1, Duration::MAX, || 8).unwrap(), 8);
    }

    #[test]
    fn a_panic_is_an_error_and_no_end_of_it_all() {
        static LATE: Overdue<u8> = Overdue::new();
        let panicked = LATE.run(1, Duration::MAX, || -> u8 { panic!("on purpose") });
        assert_eq!(panicked.unwrap_err().kind(), io::ErrorKind::Other);
        assert_eq!(LATE.run(1, Duration::MAX, || 9).unwrap(), 9);
    }
}
