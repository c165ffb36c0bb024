//! Memory for what servers send, where it must be gathered before it can be looked at, or waits for a client that reads
//! slowly: one bound for all of it, whoever's it is. Beyond it large answers fail, and small ones do not notice.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;

/// All that is held at a time, in bytes.
pub const MAX_HELD: usize = 256 * 1024 * 1024;
/// What of each answer or event does not count: its connection's buffers are no smaller.
pub const FREE: usize = 64 * 1024;

/// What is held together.
#[derive(Debug)]
pub struct Room {
    held: AtomicUsize,
    most: usize,
}

static ALL: Room = Room::new(MAX_HELD);

impl Room {
    /// For so many bytes.
    pub const fn new(most: usize) -> Self {
        Self {
            held: AtomicUsize::new(0),
            most,
        }
    }

    /// How many of them are taken.
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.held.fetch_add(bytes, Relaxed);
        let fits = before.saturating_add(bytes) <= self.most;
        if !fits {
            self.held.fetch_sub(bytes, Relaxed);
        }
        fits
    }
}

/// One answer's share. It goes back when this is dropped.
#[derive(Debug)]
pub struct Held {
    room: &'static Room,
    bytes: usize,
}

impl Default for Held {
    fn default() -> Self {
        Self::of(&ALL)
    }
}

impl Held {
    /// Nothing yet, of this room.
    pub fn of(room: &'static Room) -> Self {
        Self { room, bytes: 0 }
    }

    /// Makes the share one for so many bytes in all; `false`, and it stays what it was, where there is no room.
    #[must_use]
    pub fn hold(&mut self, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(FREE);
        match wanted.checked_sub(self.bytes) {
            None => drop(self.room.held.fetch_sub(self.bytes - wanted, Relaxed)),
            Some(0) => {}
            Some(more) if self.room.take(more) => {}
            Some(_) => return false,
        }
        self.bytes = wanted;
        true
    }

    /// The same bytes, which count until nobody has them any more; `None` where there is no room.
    pub fn counted(bytes: Bytes) -> Option<Bytes> {
        let mut held = Self::default();
        held.hold(bytes.len()).then(|| held.keep(bytes))
    }

    /// These bytes, which have this share until nobody has them any more.
    pub fn keep(self, bytes: Bytes) -> Bytes {
        match self.bytes {
            0 => bytes,
            _ => Bytes::from_owner(Kept { bytes, _held: self }),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.room.held.fetch_sub(self.bytes, Relaxed);
        }
    }
}

struct Kept {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_answers_share_one_room_and_give_it_back_and_small_ones_do_not_count() {
        static ROOM: Room = Room::new(10 * FREE);
        let mut large = Held::of(&ROOM);
        assert!(large.hold(FREE) && ROOM.held() == 0);
        assert!(large.hold(9 * FREE) && ROOM.held() == 8 * FREE);
        let mut other = Held::of(&ROOM);
        assert!(other.hold(FREE), "a small one");
        assert!(!other.hold(4 * FREE) && ROOM.held() == 8 * FREE);
        assert!(other.hold(3 * FREE) && ROOM.held() == 10 * FREE);
        assert!(
            large.hold(2 * FREE) && ROOM.held() == 3 * FREE,
            "what it was is not what it is"
        );
        drop(other);
        let bytes = large.keep(Bytes::from_static(b"abc"));
        let slice = bytes.slice(1..);
        drop(bytes);
        assert_eq!((&*slice, ROOM.held()), (&b"bc"[..], FREE));
        drop(slice);
        assert_eq!(ROOM.held(), 0);
    }
}
