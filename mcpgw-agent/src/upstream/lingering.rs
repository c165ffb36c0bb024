//! By what addresses callers may know a host: a client keeps for a time what DNS told it, and must not get round us by
//! dialling where the host was a moment ago.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use tokio::time::Instant;

use super::limits::{HOST_GRACE, MAX_LINGERING_PER_HOST};

/// When DNS last gave each address for a host.
#[derive(Debug, Default)]
pub(super) struct Lingering(HashMap<SocketAddr, Instant>);

impl Lingering {
    /// Takes over what DNS says `now`. An address goes [`HOST_GRACE`] after it was last given, or sooner where others
    /// that were given later are [`MAX_LINGERING_PER_HOST`].
    pub(super) fn given(&mut self, addresses: &[SocketAddr], now: Instant) {
        self.0.extend(addresses.iter().map(|address| (*address, now)));
        self.0.retain(|_, given| now.duration_since(*given) < HOST_GRACE);
        while self.0.len() > MAX_LINGERING_PER_HOST {
            let oldest = self.0.iter().min_by_key(|(address, given)| (**given, **address));
            let Some(oldest) = oldest.map(|(address, _)| *address) else {
                return;
            };
            self.0.remove(&oldest);
        }
    }

    /// Lets those go that are not allowed any more.
    pub(super) fn keep(&mut self, is_allowed: impl Fn(IpAddr) -> bool) {
        self.0.retain(|address, _| is_allowed(address.ip()));
    }

    /// All of them, ordered.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut all: Vec<_> = self.0.keys().copied().collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    #[test]
    fn an_address_lingers_for_the_grace_and_no_longer() {
        let start = Instant::now();
        let mut known = Lingering::default();
        known.given(&[at(1), at(2)], start);
        known.given(&[at(2), at(3)], start + HOST_GRACE / 2);
        assert_eq!(known.addresses(), [at(1), at(2), at(3)]);
        known.given(&[at(3)], start + HOST_GRACE - Duration::from_secs(1));
        assert_eq!(known.addresses(), [at(1), at(2), at(3)]);
        known.given(&[at(3)], start + HOST_GRACE);
        assert_eq!(known.addresses(), [at(2), at(3)]);
        known.keep(|ip| ip != at(2).ip());
        assert_eq!(known.addresses(), [at(3)]);
        known.given(&[], start + HOST_GRACE * 3);
        assert_eq!(known.addresses(), []);
    }

    #[test]
    fn the_oldest_go_where_a_name_changes_all_the_time() {
        let start = Instant::now();
        let mut known = Lingering::default();
        for round in 0..=200 {
            known.given(&[at(round)], start + Duration::from_secs(round.into()));
        }
        let left = known.addresses();
        assert_eq!(left.len(), MAX_LINGERING_PER_HOST);
        assert_eq!(left.last(), Some(&at(200)));
        assert!(!left.contains(&at(0)));
    }
}
