//! What becomes of direct dials of each address, over all servers that are there.

use std::{collections::HashMap, net::SocketAddr};

use super::{Backend, Capture, HostAddresses, ObjectName, Server};

/// What becomes of direct dials of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// The strictest that a server there asks for.
    pub capture: Capture,
    /// The first server that asks for it.
    pub by: &'a ObjectName,
}

impl Server {
    /// Where it is: its addresses, or those of its host.
    pub fn is_at<'a>(&'a self, hosts: &'a HostAddresses) -> &'a [SocketAddr] {
        match &self.backend {
            Backend::Addresses { addresses, .. } => addresses,
            Backend::Host { name, port, .. } => hosts.get(&(name.clone(), *port)).map_or(&[], Vec::as_slice),
        }
    }
}

/// What becomes of direct dials of each address of these servers.
pub fn captured<'a>(
    servers: impl IntoIterator<Item = &'a Server>,
    hosts: &HostAddresses,
) -> HashMap<SocketAddr, Captured<'a>> {
    let mut captured: HashMap<SocketAddr, Captured> = HashMap::new();
    for server in servers {
        let wanted = Captured {
            capture: server.capture,
            by: &server.name,
        };
        for address in server.is_at(hosts) {
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            let there = captured.entry(address).or_insert(wanted);
            if there.capture < wanted.capture {
                *there = wanted;
            }
        }
    }
    captured
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, capture: Capture, backend: Backend) -> Server {
        let name = ObjectName {
            namespace: "tools".into(),
            name: name.into(),
        };
        Server {
            capture,
            backend,
            ..Server::at(name, vec![])
        }
    }

    #[test]
    fn of_servers_at_one_address_the_strictest_capture_holds() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let addresses = |addresses: &[&str]| Backend::Addresses {
            addresses: addresses.iter().map(|text| at(text)).collect(),
            h2c: false,
        };
        let host = Backend::Host {
            name: "h.example".into(),
            port: 80,
            h2c: false,
        };
        let servers = [
            server("a", Capture::Redirect, addresses(&["10.0.0.1:80", "10.0.0.2:80"])),
            server("b", Capture::Off, addresses(&["10.0.0.3:80"])),
            server("c", Capture::GatewayOnly, host),
        ];
        let hosts = HostAddresses::from([(("h.example".into(), 80), vec![at("10.0.0.2:80"), at("10.0.0.4:80")])]);
        let captured = captured(&servers, &hosts);
        let found = |text: &str| captured.get(&at(text)).map(|found| (found.capture, &*found.by.name));
        assert_eq!(found("10.0.0.1:80"), Some((Capture::Redirect, "a")));
        assert_eq!(found("10.0.0.2:80"), Some((Capture::GatewayOnly, "c")));
        assert_eq!(found("10.0.0.3:80"), Some((Capture::Off, "b")));
        assert_eq!(found("10.0.0.4:80"), Some((Capture::GatewayOnly, "c")));
        assert_eq!(found("10.0.0.2:81"), None);
    }
}
