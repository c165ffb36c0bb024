//! Room for so many things, of which no owner can take all.

use std::{
    array,
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::{identity::Caller, mcp::seal::Owner};

/// Parts of the table that are locked by themselves: calls of different owners are not to wait for each other.
const SHARDS: usize = 64;

/// First and longest pause of those that wait for room.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Whose share of what all callers have in common a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payer {
    /// A workload's, whomever it speaks for, or where the kernel attests none, that of a token's subject.
    Workload(Owner),
    /// Nobody's: the agent asks for itself, and that is bounded where it does.
    Agent,
}

impl Payer {
    /// For what this caller asks for.
    pub fn of(caller: &Caller) -> Self {
        Self::Workload(caller.share_owner())
    }

    /// For what this caller sends, also before it is known who it is: callers that neither the kernel nor a token tells
    /// apart each have a share by the address that they come from; of IPv6 by its first 64 bits, of which a host has all
    /// that follow.
    pub fn of_sender(caller: &Caller) -> Self {
        match (&caller.workload, &caller.token, caller.client) {
            // No principal begins with a word and a space.
            (None, None, Some(client)) => Self::Workload(Owner::of(&format!("from {}", network(client.ip())))),
            _ => Self::of(caller),
        }
    }
}

/// What of an address its owner cannot choose.
fn network(address: IpAddr) -> IpAddr {
    const HOST: u128 = u64::MAX as u128;
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !HOST)),
        address => address,
    }
}

/// The room, and how much of it each owner has; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Shares(Arc<Room>);

#[derive(Debug)]
struct Room {
    taken: AtomicUsize,
    most: usize,
    most_of_owner: usize,
    owners: [Mutex<HashMap<Owner, usize>>; SHARDS],
}

impl Shares {
    /// Room for `most` in all, and for `most_of_owner` of each owner.
    pub(crate) fn new(most: usize, most_of_owner: usize) -> Self {
        Self(Arc::new(Room {
            taken: AtomicUsize::new(0),
            most,
            most_of_owner,
            owners: array::from_fn(|_| Mutex::default()),
        }))
    }

    /// One more for this payer, until it is dropped. What is the agent's own counts only among all.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn take(&self, payer: Payer) -> Result<Share, Taken> {
        self.0.take(payer, 1)?;
        let mut share = self.none(payer);
        share.amount = 1;
        Ok(share)
    }

    /// So much for this payer, as soon as there is room. Nobody waits behind another, who may be a payer that has its
    /// share: who waits looks again and again.
    pub(crate) async fn wait(&self, payer: Payer, amount: usize) -> Share {
        let (mut pause, longest) = PAUSE;
        let mut share = self.none(payer);
        while !share.resize(amount) {
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
        share
    }

    /// Nothing yet, for this payer.
    pub(crate) fn none(&self, payer: Payer) -> Share {
        Share {
            room: Arc::clone(&self.0),
            payer,
            amount: 0,
        }
    }

    /// How much is taken, by all together.
    pub(crate) fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// Whether there is room for one more for this payer, now.
    pub(crate) fn has_room(&self, payer: Payer) -> bool {
        let Room { taken, most, .. } = &*self.0;
        let has_share = || match payer {
            Payer::Workload(owner) => {
                let owners = self.0.owners(owner);
                owners.get(&owner).is_none_or(|count| *count < self.0.most_of_owner)
            }
            Payer::Agent => true,
        };
        taken.load(Ordering::Relaxed) < *most && has_share()
    }
}

/// By whom the room is taken that somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Taken {
    /// By all together.
    #[error("all of it is taken")]
    ByAll,
    /// By that one alone: it has its share, however much there is for others.
    #[error("this one has its share of it")]
    ByOwner,
}

impl Room {
    fn take(&self, payer: Payer, amount: usize) -> Result<(), Taken> {
        // First of all its own share, so that one who asks for too much takes nothing from others meanwhile.
        if let Payer::Workload(owner) = payer
            && !self.take_of(owner, amount)
        {
            return Err(Taken::ByOwner);
        }
        let more = |taken: usize| taken.checked_add(amount).filter(|taken| *taken <= self.most);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if taken.is_err() {
            self.give_back_of(payer, amount);
            return Err(Taken::ByAll);
        }
        Ok(())
    }

    fn take_of(&self, owner: Owner, amount: usize) -> bool {
        if amount > self.most_of_owner {
            return false;
        }
        let mut owners = self.owners(owner);
        let taken = owners.entry(owner).or_default();
        // What is there already is something, so that nothing is left behind where there is no room.
        let fits = *taken <= self.most_of_owner - amount;
        if fits {
            *taken += amount;
        }
        fits
    }

    fn give_back(&self, payer: Payer, amount: usize) {
        self.taken.fetch_sub(amount, Ordering::Relaxed);
        self.give_back_of(payer, amount);
    }

    fn give_back_of(&self, payer: Payer, amount: usize) {
        let Payer::Workload(owner) = payer else { return };
        let mut owners = self.owners(owner);
        if let Some(taken) = owners.get_mut(&owner) {
            *taken -= amount;
            if *taken == 0 {
                owners.remove(&owner);
            }
        }
    }

    fn owners(&self, owner: Owner) -> MutexGuard<'_, HashMap<Owner, usize>> {
        self.owners[owner.shard(SHARDS)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What somebody has of the room.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<Room>,
    payer: Payer,
    amount: usize,
}

impl Share {
    /// Makes it this large; `false`, and it stays as it was, where there is no room.
    #[must_use]
    pub(crate) fn resize(&mut self, amount: usize) -> bool {
        match amount.checked_sub(self.amount) {
            Some(0) => {}
            Some(more) if self.room.take(self.payer, more).is_ok() => {}
            Some(_) => return false,
            None => self.room.give_back(self.payer, self.amount - amount),
        }
        self.amount = amount;
        true
    }

    /// Makes it this payer's; `false`, and it stays whose it was, where that one has its share. Of all together it
    /// takes no more than before.
    #[must_use]
    pub(crate) fn charge(&mut self, payer: Payer) -> bool {
        let fits = match payer {
            _ if payer == self.payer => return true,
            Payer::Workload(owner) => self.room.take_of(owner, self.amount),
            Payer::Agent => true,
        };
        if fits {
            self.room.give_back_of(self.payer, self.amount);
            self.payer = payer;
        }
        fits
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.room.give_back(self.payer, self.amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(name: &str) -> Payer {
        Payer::Workload(Owner::of(name))
    }

    #[test]
    fn a_share_changes_hands_where_all_together_have_no_room_for_another() {
        let shares = Shares::new(2, 1);
        let mut moved = shares.take(workload("a")).unwrap();
        let other = shares.take(workload("b")).unwrap();
        assert!(!moved.charge(workload("b")), "that one has its share");
        assert!(moved.charge(workload("c")));
        assert_eq!(shares.taken(), 2);
        drop(other);
        assert!(shares.take(workload("a")).is_ok(), "it is no longer this one's");
        assert_eq!(shares.take(workload("c")).unwrap_err(), Taken::ByOwner);
        drop(moved);
        assert!(shares.0.owners.iter().all(|owners| owners.lock().unwrap().is_empty()));
    }

    #[test]
    fn no_owner_has_more_than_its_share_and_what_it_gives_back_it_can_have_again() {
        let shares = Shares::new(100, 3);
        let (mine, others) = (workload("a"), workload("b"));
        let mut taken: Vec<Share> = (0..3).map(|_| shares.take(mine).unwrap()).collect();
        assert_eq!(shares.take(mine).unwrap_err(), Taken::ByOwner);
        assert!(!shares.has_room(mine) && shares.has_room(others));
        assert!(shares.take(others).is_ok());
        taken.pop();
        assert!(shares.has_room(mine));
        assert!(shares.take(mine).is_ok());
        drop(taken);
        assert_eq!(shares.taken(), 0);
        assert!(shares.0.owners.iter().all(|owners| owners.lock().unwrap().is_empty()));
    }

    #[test]
    fn one_owner_leaves_room_for_others_and_all_together_have_an_end() {
        let shares = Shares::new(10, 4);
        let mine: Vec<Share> = std::iter::from_fn(|| shares.take(workload("a")).ok()).collect();
        assert_eq!(mine.len(), 4);
        let other = |number: usize| match number.is_multiple_of(2) {
            true => shares.take(workload(&number.to_string())),
            false => shares.take(Payer::Agent),
        };
        let others: Vec<Share> = (0..).map_while(|number| other(number).ok()).collect();
        assert_eq!(mine.len() + others.len(), 10);
        // Who has its share is told so, also where there is nothing left for anybody.
        assert_eq!(shares.take(workload("a")).unwrap_err(), Taken::ByOwner);
        assert_eq!(shares.take(workload("another")).unwrap_err(), Taken::ByAll);
        assert_eq!(shares.take(Payer::Agent).unwrap_err(), Taken::ByAll);
        drop(mine);
        assert!(shares.take(workload("a")).is_ok());
        drop(others);
        assert!(shares.0.owners.iter().all(|owners| owners.lock().unwrap().is_empty()));
    }

    #[test]
    fn a_host_has_one_network_however_many_addresses_it_takes() {
        let of = |address: &str| network(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn a_share_grows_and_shrinks_and_what_does_not_fit_changes_nothing() {
        let shares = Shares::new(10, 6);
        let mut mine = shares.none(workload("a"));
        assert!(mine.resize(5) && !mine.resize(7) && shares.taken() == 5);
        let mut more = shares.none(workload("a"));
        assert!(!more.resize(2) && more.resize(1) && shares.taken() == 6);
        let mut others = shares.none(workload("b"));
        assert!(!others.resize(5) && others.resize(4), "there is no more in all");
        assert!(mine.resize(1) && more.resize(5) && shares.taken() == 10);
        drop((mine, more, others));
        assert_eq!(shares.taken(), 0);
        assert!(!shares.none(workload("a")).resize(usize::MAX));
        assert!(shares.0.owners.iter().all(|owners| owners.lock().unwrap().is_empty()));
    }
}
