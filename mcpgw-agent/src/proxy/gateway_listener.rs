//! The gateway's own listeners, in the node's network namespace. Connections of enrolled workloads do not come here:
//! the kernel takes them to the workload's own listener, where they are attested.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{CertificateError, Proxy, Stop, listener::Accept, room::Room};
use crate::{datapath::ServeGuard, identity::Caller, resources::Gateway};

/// Why a listener of the gateway cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Its address.
    #[error("the gateway cannot listen on {address} (spec.gateway.listen of ClusterMCPSettings): {source}")]
    Address {
        /// Where it was to listen.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// Its certificate.
    #[error("the gateway has no certificate (spec.gateway.tls of ClusterMCPSettings): {0}")]
    Certificate(#[from] CertificateError),
}

impl Proxy {
    /// Listens where the gateway is to be, until the guard is dropped.
    ///
    /// # Errors
    ///
    /// When an address is taken, or is none of this node, or the certificate cannot be used: then nothing is opened.
    pub fn listen(&self, gateway: &Gateway) -> Result<ServeGuard, ListenError> {
        self.shared.tls.begin(gateway.tls.as_ref())?;
        let _entered = self.runtime.enter();
        let open = |address: &SocketAddr| {
            let opened = std::net::TcpListener::bind(address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            });
            opened.map_err(|source| ListenError::Address {
                address: *address,
                source,
            })
        };
        let listeners: Arc<[TcpListener]> = gateway.listen.iter().map(open).collect::<Result<_, _>>()?;
        let stop = CancellationToken::new();
        let accept = Accept {
            listeners: Arc::clone(&listeners),
            workload: None,
            origin: |stream: &TcpStream| {
                let destination = stream.local_addr().map_err(|_| "no_address")?;
                Ok(Caller {
                    workload: None,
                    destination,
                    client: stream.peer_addr().ok(),
                    process: None,
                    token: None,
                    observed: false,
                })
            },
            room: Room::of_gateway(self.tasks.clone()),
            shared: Arc::clone(&self.shared),
            tasks: self.tasks.clone(),
            stop: stop.clone(),
        };
        self.tasks.spawn_on(accept.run(), &self.runtime);
        Ok(ServeGuard::new(Stop {
            listeners,
            _connections: stop.drop_guard(),
        }))
    }
}
