//! Where no name may lead: whoever answers for it in DNS must not choose which of the node's own doors is knocked at,
//! and whose dials are taken or refused in the kernel.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, SocketAddr},
};

use nix::ifaddrs::getifaddrs;

use crate::resources::{leads_to, not_allowed};

/// Where Kubernetes tells its pods that its API server is.
const API_SERVER: &str = "KUBERNETES_SERVICE_HOST";

/// Addresses that stay what they are while the agent runs.
#[derive(Debug, Default)]
pub(super) struct Reserved(Vec<(IpAddr, &'static str)>);

impl Reserved {
    /// Those of this machine's name servers and, in Kubernetes, of its API server.
    pub(super) fn of_system(name_servers: impl Iterator<Item = IpAddr>) -> Self {
        let api_server = std::env::var(API_SERVER).ok().and_then(|text| text.parse().ok());
        Self::of(name_servers, api_server)
    }

    fn of(name_servers: impl Iterator<Item = IpAddr>, api_server: Option<IpAddr>) -> Self {
        let name_servers = name_servers.map(|ip| (ip.to_canonical(), "an address of the cluster's or the node's DNS"));
        let api_server = api_server.map(|ip| (ip.to_canonical(), "the address of the Kubernetes API server"));
        Self(name_servers.chain(api_server).collect())
    }

    /// These, and the addresses that the node has now, the gateway's among them. Call it in the node's network
    /// namespace.
    pub(super) fn now(&self) -> io::Result<Now<'_>> {
        let own = getifaddrs()?.filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        });
        Ok(Now {
            fixed: self,
            own: own.collect(),
        })
    }
}

/// All of them, at one time.
pub(super) struct Now<'a> {
    fixed: &'a Reserved,
    own: HashSet<IpAddr>,
}

impl Now<'_> {
    /// What an address is to which no name may lead; `None` for every other.
    pub(super) fn what(&self, ip: IpAddr) -> Option<&'static str> {
        let ip = leads_to(ip);
        let fixed = || {
            self.fixed
                .0
                .iter()
                .find(|(known, _)| *known == ip)
                .map(|(_, what)| *what)
        };
        let own = || self.own.contains(&ip).then_some("an address of the node itself");
        not_allowed(ip).or_else(fixed).or_else(own)
    }

    /// Of these, those that names may lead to.
    pub(super) fn allowed(&self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let allowed = addresses.iter().filter(|address| self.what(address.ip()).is_none());
        allowed.copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_to_the_nodes_own_addresses_nor_to_those_of_dns_and_the_api_server() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let reserved = Reserved::of(
            [ip("10.96.0.10"), ip("fd00::a")].into_iter(),
            Some(ip("::ffff:10.96.0.1")),
        );
        let mut now = reserved.now().unwrap();
        assert!(now.own.contains(&ip("127.0.0.1")), "{:?}", now.own);
        now.own.insert(ip("10.0.0.7"));
        for (refused, what) in [
            ("10.96.0.10", "DNS"),
            ("fd00::a", "DNS"),
            ("10.96.0.1", "API server"),
            ("::ffff:10.96.0.1", "API server"),
            ("10.0.0.7", "node itself"),
            ("64:ff9b::a00:7", "node itself"),
            ("127.0.0.2", "loopback"),
        ] {
            let found = now.what(ip(refused));
            assert!(found.is_some_and(|found| found.contains(what)), "{refused}: {found:?}");
        }
        assert_eq!(now.what(ip("10.0.0.8")), None);
        let [bad, good] = [SocketAddr::new(ip("10.0.0.7"), 1), SocketAddr::new(ip("10.0.0.8"), 1)];
        assert_eq!(now.allowed(&[bad, good]), [good]);
    }
}
