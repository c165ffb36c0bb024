//! Memory for what servers send, where it must be gathered before it can be looked at, or waits for a client that reads
//! slowly: one bound for all of it, and one for what one workload had sent to it. Beyond them large answers fail, and
//! small ones do not notice.

use std::sync::LazyLock;

use bytes::Bytes;
use tokio::sync::mpsc::Sender;

use crate::shares::{Payer, Share, Shares};

/// All that is held at a time, in bytes.
pub const MAX_HELD: usize = 256 * 1024 * 1024;
/// … of what one workload asked for: as much as it may send.
pub const MAX_HELD_PER_WORKLOAD: usize = 64 * 1024 * 1024;
/// What of each answer, and of each queue of events, does not count: its connection's buffers are no smaller.
pub const FREE: usize = 64 * 1024;

/// What is held together.
#[derive(Debug)]
pub struct Room(Shares);

static ALL: LazyLock<Room> = LazyLock::new(|| Room::new(MAX_HELD, MAX_HELD_PER_WORKLOAD));

impl Room {
    /// For so many bytes, and so many of each workload.
    pub fn new(most: usize, most_of_workload: usize) -> Self {
        Self(Shares::new(most, most_of_workload))
    }

    /// How many of them are taken.
    pub fn held(&self) -> usize {
        self.0.taken()
    }
}

/// One answer's share. It goes back when this is dropped.
#[derive(Debug)]
pub struct Held {
    room: &'static Room,
    payer: Payer,
    /// Absent while there is nothing that counts, as is usual.
    share: Option<Share>,
}

impl Held {
    /// Nothing yet, of what this payer asked for.
    pub fn new(payer: Payer) -> Self {
        Self::of(&ALL, payer)
    }

    /// Nothing yet, of this room.
    pub fn of(room: &'static Room, payer: Payer) -> Self {
        Self {
            room,
            payer,
            share: None,
        }
    }

    /// Makes the share one for so many bytes in all; `false`, and it stays what it was, where there is no room.
    #[must_use]
    pub fn hold(&mut self, bytes: usize) -> bool {
        match (bytes.saturating_sub(FREE), &mut self.share) {
            (0, share) => {
                *share = None;
                true
            }
            (counted, Some(share)) => share.resize(counted),
            (counted, none) => {
                let mut share = self.room.0.none(self.payer);
                let fits = share.resize(counted);
                *none = fits.then_some(share);
                fits
            }
        }
    }

    /// The same bytes, which count until nobody has them any more; `None` where there is no room.
    pub fn counted(bytes: Bytes, payer: Payer) -> Option<Bytes> {
        let mut held = Self::new(payer);
        held.hold(bytes.len()).then(|| held.keep(bytes))
    }

    /// The same bytes, on their way into a queue of so many `places`: they count until nobody has them any more. `None`
    /// where there is no room. What does not count is for all that waits there together, not for each.
    pub fn queued(bytes: Bytes, payer: Payer, queue: &Sender<Bytes>, places: usize) -> Option<Bytes> {
        let free = match queue.capacity() >= places {
            true => FREE,
            false => FREE / places,
        };
        let mut held = Self::new(payer);
        // As much more as is not free.
        let fits = bytes.len() <= free || held.hold(bytes.len() + FREE - free);
        fits.then(|| held.keep(bytes))
    }

    /// These bytes, which have this share until nobody has them any more.
    pub fn keep(&mut self, bytes: Bytes) -> Bytes {
        match self.share.take() {
            None => bytes,
            Some(share) => Bytes::from_owner(Kept { bytes, _share: share }),
        }
    }
}

struct Kept {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::seal::Owner;

    fn workload(name: &str) -> Payer {
        Payer::Workload(Owner::of(name))
    }

    #[test]
    fn large_answers_share_one_room_and_give_it_back_and_small_ones_do_not_count() {
        static ROOM: LazyLock<Room> = LazyLock::new(|| Room::new(10 * FREE, 10 * FREE));
        let mut large = Held::of(&ROOM, workload("a"));
        assert!(large.hold(FREE) && ROOM.held() == 0);
        assert!(large.hold(9 * FREE) && ROOM.held() == 8 * FREE);
        let mut other = Held::of(&ROOM, workload("b"));
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

    #[test]
    fn what_one_workload_has_held_leaves_room_for_others() {
        static ROOM: LazyLock<Room> = LazyLock::new(|| Room::new(10 * FREE, 4 * FREE));
        let mut greedy: Vec<Held> = (0..4).map(|_| Held::of(&ROOM, workload("a"))).collect();
        assert!(greedy.iter_mut().all(|held| held.hold(2 * FREE)));
        let mut more = Held::of(&ROOM, workload("a"));
        assert!(!more.hold(2 * FREE) && more.hold(FREE), "small ones do not notice");
        let mut modest = Held::of(&ROOM, workload("b"));
        assert!(modest.hold(5 * FREE));
        greedy.pop();
        assert!(more.hold(2 * FREE));
    }
}
