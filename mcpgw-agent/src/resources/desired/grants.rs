//! What namespaces may have beyond what is their own.

use std::{fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::ObjectName;
use crate::resources::leads_to;

/// Some namespaces, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// Every one (`["*"]`).
    All,
    /// These.
    These(Vec<Arc<str>>),
}

impl Namespaces {
    /// Whether a namespace is one of them.
    pub fn has(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(list) => list.iter().any(|known| **known == *namespace),
        }
    }
}

/// Where servers of some namespaces may be, and where the agent may ask for tokens on their behalf
/// (`externalBackends[]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendGrant {
    /// The servers' namespaces.
    pub namespaces: Namespaces,
    /// Hosts, wherever DNS says that they are.
    pub hosts: Vec<HostPattern>,
    /// Addresses.
    pub addresses: Vec<IpNet>,
}

impl BackendGrant {
    /// Whether it grants a namespace an address. One that leads to an IPv4 address is as good as that.
    pub fn has_address(&self, namespace: &str, ip: IpAddr) -> bool {
        let ip = leads_to(ip);
        self.namespaces.has(namespace) && self.addresses.iter().any(|network| network.contains(&ip))
    }

    /// Whether it grants a namespace a host, whose name is in lower case.
    pub fn has_host(&self, namespace: &str, name: &str) -> bool {
        self.namespaces.has(namespace) && self.hosts.iter().any(|pattern| pattern.matches(name))
    }
}

/// One host or several, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// Every one (`*`).
    Any,
    /// Those below a domain, at any depth (`*.example.com`); as `.example.com`.
    Below(Arc<str>),
    /// The one of this name.
    Is(Arc<str>),
}

impl HostPattern {
    /// Whether a host, whose name is in lower case, is one of them.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Below(domain) => name.strip_suffix(&**domain).is_some_and(|host| !host.is_empty()),
            Self::Is(known) => **known == *name,
        }
    }
}

/// To whom servers of some namespaces may be shown at the gateway (`exposure[]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExposureGrant {
    /// The servers' namespaces.
    pub namespaces: Namespaces,
    /// The callers' namespaces; all: callers that are no workload too.
    pub to: Namespaces,
}

/// What a server asks for that nobody granted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotGranted {
    /// The server.
    pub server: ObjectName,
    /// What that is, and what became of it.
    pub reason: String,
}

impl fmt::Display for NotGranted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NotGranted: {}", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_not_below_itself_and_no_name_is_below_it_by_its_letters_alone() {
        let below = HostPattern::Below(".example.com".into());
        assert!(below.matches("a.example.com") && below.matches("a.b.example.com"));
        for other in [
            "example.com",
            ".example.com",
            "anexample.com",
            "a.example.com.evil",
            "a.example.org",
        ] {
            assert!(!below.matches(other), "{other}");
        }
    }

    #[test]
    fn an_address_is_what_it_leads_to() {
        let grant = |network: &str| BackendGrant {
            namespaces: Namespaces::These(vec!["tools".into()]),
            hosts: vec![],
            addresses: vec![network.parse().unwrap()],
        };
        let has = |network: &str, ip: &str| grant(network).has_address("tools", ip.parse().unwrap());
        assert!(has("10.0.0.0/8", "10.1.2.3") && has("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(has("10.0.0.0/8", "64:ff9b::a01:203") && has("fd00::/8", "fd00::1"));
        assert!(!has("10.0.0.0/8", "11.0.0.1") && !has("::/0", "10.0.0.1") && !has("0.0.0.0/0", "fd00::1"));
        // Who is granted all of IPv6 is not granted IPv4 by its gateways.
        assert!(!has("::/0", "64:ff9b::a01:203") && !has("::/0", "::ffff:10.0.0.1"));
        assert!(!grant("10.0.0.0/8").has_address("other", "10.1.2.3".parse().unwrap()));
    }
}
