//! Where servers with names are: asked of DNS in the background, never while a call waits.

use std::{
    net::SocketAddr,
    sync::Weak,
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolverOpts},
    net::NetError,
};
use tokio::time::sleep;

use super::{
    Host, Upstreams,
    limits::{DNS_MAX_TTL, DNS_MIN_TTL, DNS_RETRY, MAX_ADDRESSES_PER_HOST},
};
use crate::resources::not_allowed;

/// What is known of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Where it is, in the order of the addresses; where DNS cannot be asked, where it was.
    pub addresses: Vec<SocketAddr>,
    /// Why that is not what DNS says now, or not all of it. Begins with the word for it: `DNS` or
    /// `AddressNotAllowed`.
    pub error: Option<String>,
}

/// The resolver of this system: `/etc/resolv.conf`, `/etc/hosts`.
pub(super) fn of_system() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    configure(builder.options_mut());
    builder.build()
}

pub(super) fn configure(options: &mut ResolverOpts) {
    // A node without a way to IPv6 would lose every other call to a host that has both.
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    // What was found is kept here, and nowhere else.
    options.cache_size = 0;
}

/// Keeps what is known of a host current, until the servers have gone.
pub(super) async fn follow(upstreams: Weak<Upstreams>, host: Host, resolver: TokioResolver) {
    let mut last = Resolution::default();
    loop {
        let (resolution, pause) = ask(&host, &resolver, &last).await;
        let Some(upstreams) = upstreams.upgrade() else { return };
        if resolution != last {
            match &resolution.error {
                Some(error) => tracing::warn!(host = %host.0, error, "a server cannot be found as it should"),
                None => tracing::info!(host = %host.0, addresses = ?resolution.addresses, "a server is found"),
            }
        }
        // Also where nothing has changed: addresses that it had before grow old.
        upstreams.found(&host, &resolution);
        drop(upstreams);
        last = resolution;
        sleep(pause).await;
    }
}

/// What DNS says now, and when to ask again.
async fn ask((name, port): &Host, resolver: &TokioResolver, last: &Resolution) -> (Resolution, Duration) {
    let found = match resolver.lookup_ip(&**name).await {
        Ok(found) => found,
        Err(error) => {
            let kept = Resolution {
                addresses: last.addresses.clone(),
                error: Some(format!("DNS: {error}")),
            };
            return (kept, DNS_RETRY);
        }
    };
    let mut resolution = Resolution::default();
    for ip in found.iter() {
        match not_allowed(ip) {
            // Whoever answers for the name must not choose which of our own doors is knocked at.
            Some(what) => resolution.error = Some(format!("AddressNotAllowed: {name} is {ip}, {what}")),
            None => resolution.addresses.push(SocketAddr::new(ip.to_canonical(), *port)),
        }
    }
    resolution.addresses.sort_unstable();
    resolution.addresses.dedup();
    resolution.addresses.truncate(MAX_ADDRESSES_PER_HOST);
    let left = found.valid_until().saturating_duration_since(Instant::now());
    (resolution, left.clamp(DNS_MIN_TTL, DNS_MAX_TTL))
}
