//! The resources that streams and sessions are subscribed to: clients name them, and they are kept for as long as those
//! last. One room for all of them, of which no workload has all.

use super::limits::{MAX_SUBSCRIBED_BYTES, MAX_SUBSCRIBED_BYTES_PER_WORKLOAD};
use crate::shares::{Share, Shares};

/// What a subscription counts beside its URI, in bytes: for its places in what it is kept in.
const OVERHEAD: usize = 128;

/// The room.
pub(super) fn room() -> Shares {
    Shares::new(MAX_SUBSCRIBED_BYTES, MAX_SUBSCRIBED_BYTES_PER_WORKLOAD)
}

/// What these URIs take of it, however often they are kept.
pub(super) fn cost(uris: impl Iterator<Item = impl AsRef<str>>) -> usize {
    uris.map(|uri| uri.as_ref().len() + OVERHEAD).sum()
}

/// What something is subscribed to.
#[derive(Debug)]
pub(super) struct Subscribed {
    uris: Vec<Box<str>>,
    most: usize,
    share: Share,
}

/// Why nothing more can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    /// As many as there may be are.
    #[error("at most {0} resources can be subscribed to")]
    Most(usize),
    /// The workload has no room for another, or nobody has.
    #[error("too many resources are subscribed to; try again later")]
    NoRoom,
}

impl Subscribed {
    /// To nothing yet, and to no more than `most`.
    pub(super) fn new(most: usize, share: Share) -> Self {
        Self {
            uris: Vec::new(),
            most,
            share,
        }
    }

    /// Adds a resource, as the last one; one that is there already moves there.
    pub(super) fn add(&mut self, uri: &str) -> Result<(), Full> {
        let others = || self.uris.iter().filter(|known| ***known != *uri);
        if others().count() >= self.most {
            return Err(Full::Most(self.most));
        }
        let cost = cost(others().map(|uri| &**uri).chain([uri]));
        if !self.share.resize(cost) {
            return Err(Full::NoRoom);
        }
        self.uris.retain(|known| **known != *uri);
        self.uris.push(uri.into());
        Ok(())
    }

    /// Takes a resource away.
    pub(super) fn remove(&mut self, uri: &str) {
        self.uris.retain(|known| **known != *uri);
        // It is no more than it was.
        let _ = self.share.resize(cost(self.uris.iter()));
    }

    /// All of them.
    pub(super) fn uris(&self) -> &[Box<str>] {
        &self.uris
    }

    /// Whether this is one of them.
    pub(super) fn contains(&self, uri: &str) -> bool {
        self.uris.iter().any(|known| **known == *uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::Payer;

    #[test]
    fn what_is_subscribed_to_has_its_share_of_the_room_until_it_is_taken_away() {
        let room = Shares::new(3 * OVERHEAD, 3 * OVERHEAD);
        let mut one = Subscribed::new(2, room.none(Payer::Agent));
        let mut other = Subscribed::new(2, room.none(Payer::Agent));
        assert_eq!(one.add("a"), Ok(()));
        assert_eq!(one.add("a"), Ok(()), "it is there already");
        assert_eq!(other.add("bc"), Ok(()));
        assert_eq!(room.taken(), 2 * OVERHEAD + 3);
        assert_eq!(other.add("d"), Err(Full::NoRoom));
        assert!(other.contains("bc") && !other.contains("d"));
        one.remove("a");
        assert_eq!(other.add("d"), Ok(()));
        assert_eq!(other.add("e"), Err(Full::Most(2)));
        assert_eq!(other.uris(), ["bc".into(), "d".into()]);
        drop((one, other));
        assert_eq!(room.taken(), 0);
    }
}
