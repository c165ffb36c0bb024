//! A stream of a caller that dialled its server, decided again as the request that opened it.

use std::sync::Arc;

use http::{HeaderMap, request::Parts};

use super::{Dialled, judge};
use crate::{
    identity::Caller,
    mcp::{
        governed::{Governed, Kind},
        seal::Owner,
    },
    policy::Plan,
    proxy::{
        Shared,
        lease::{Lease, Terms},
    },
    resources::ObjectName,
    telemetry::Path,
    upstream::Endpoint,
};

/// A request that opened a stream.
struct Standing {
    shared: Arc<Shared>,
    /// As the connection has it, without what its token said.
    unproven: Arc<Caller>,
    owner: Owner,
    head: Parts,
    server: ObjectName,
    /// Where the stream comes from.
    endpoint: Endpoint,
    /// The resources that its client wanted to hear of.
    uris: Vec<String>,
    /// Whether what is on it is looked at: else it cannot be filtered.
    is_read: bool,
}

impl Dialled<'_> {
    /// The time of a stream from this endpoint, on which the client hears of these resources.
    pub(super) fn lease(&self, endpoint: &Endpoint, uris: Vec<String>, is_read: bool) -> Lease {
        let standing = Standing {
            shared: Arc::clone(self.shared),
            unproven: Caller::unproven(self.caller),
            owner: self.caller.session_owner(),
            head: self.head.clone(),
            server: self.server.name().clone(),
            endpoint: endpoint.clone(),
            uris,
            is_read,
        };
        Lease::new(self.shared, Path::Redirected, self.plan, self.caller, standing)
    }
}

impl Terms for Standing {
    async fn again(&mut self, plan: &Arc<Plan>) -> Result<Arc<Caller>, &'static str> {
        let mut caller = Arc::clone(&self.unproven);
        let found = judge(&self.shared, &mut caller, plan, &self.head).await;
        let server = found.map_err(|refused| refused.reason)?.server;
        if *server.name() != self.server || self.endpoint.is_gone() {
            return Err("upstream_gone");
        }
        if caller.session_owner() != self.owner {
            return Err("another_principal");
        }
        if server.cuts_lists() && !self.is_read {
            return Err("unfiltered");
        }
        let hears = |uri: &String| plan.allows(server, &caller, subscription(uri));
        match self.uris.iter().all(hears) {
            true => Ok(caller),
            false => Err("subscription"),
        }
    }

    fn headers(&self) -> Option<&HeaderMap> {
        Some(&self.head.headers)
    }
}

/// What is decided about who wants to hear of a resource.
pub(super) fn subscription(uri: &str) -> Governed<'_> {
    Governed {
        method: "resources/subscribe",
        kind: Kind::Resource,
        name: uri,
    }
}
