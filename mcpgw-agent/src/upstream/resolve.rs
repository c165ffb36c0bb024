//! Where servers with names are: asked of DNS in the background, never while a call waits.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    system_conf::read_system_conf,
};
use tokio::time::sleep;

use super::{
    Host, Upstreams,
    limits::{DNS_MAX_TTL, DNS_MIN_TTL, DNS_RETRY, MAX_ADDRESSES_PER_HOST},
    reserved::Reserved,
};

/// What is known of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Where it is, in the order of the addresses; where DNS cannot be asked, where it was.
    pub addresses: Vec<SocketAddr>,
    /// Why that is not what DNS says now, or not all of it. Begins with the word for it: `DNS` or
    /// `AddressNotAllowed`.
    pub error: Option<String>,
}

/// Who is asked for names, and where none may lead.
#[derive(Clone)]
pub(super) struct Names {
    pub(super) resolver: TokioResolver,
    pub(super) reserved: Arc<Reserved>,
}

/// The resolver of this system: `/etc/resolv.conf`, `/etc/hosts`.
pub(super) fn of_system() -> Result<Names, NetError> {
    let (config, options) = read_system_conf()?;
    let reserved = Reserved::of_system(config.name_servers().iter().map(|server| server.ip));
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    configure(builder.options_mut());
    Ok(Names {
        resolver: builder.build()?,
        reserved: Arc::new(reserved),
    })
}

pub(super) fn configure(options: &mut ResolverOpts) {
    // A node without a way to IPv6 would lose every other call to a host that has both.
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    // What was found is kept here, and nowhere else.
    options.cache_size = 0;
}

/// Keeps what is known of a host current, until the servers have gone.
pub(super) async fn follow(upstreams: Weak<Upstreams>, host: Host, names: Names) {
    let mut last = Resolution::default();
    loop {
        let (resolution, pause) = ask(&host, &names, &last).await;
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
async fn ask((name, port): &Host, names: &Names, last: &Resolution) -> (Resolution, Duration) {
    let kept = |addresses: Vec<SocketAddr>, error| {
        (
            Resolution {
                addresses,
                error: Some(error),
            },
            DNS_RETRY,
        )
    };
    let answer = names.resolver.lookup_ip(&**name).await;
    // The node may have got addresses since.
    let reserved = match names.reserved.now() {
        Ok(reserved) => reserved,
        Err(error) => {
            let error = format!("DNS: {name} may lead to the node itself, whose addresses cannot be listed: {error}");
            return kept(Vec::new(), error);
        }
    };
    let found = match answer {
        Ok(found) => found,
        Err(error) => return kept(reserved.allowed(&last.addresses), format!("DNS: {error}")),
    };
    let mut resolution = Resolution::default();
    for ip in found.iter() {
        match reserved.what(ip) {
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
