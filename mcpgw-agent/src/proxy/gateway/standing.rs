//! A stream at the gateway, decided again as the request that opened it.

use std::sync::Arc;

use http::{HeaderMap, request::Parts};

use super::{
    Call,
    entry::{Place, admit},
    hearing::{Hearing, Promise},
};
use crate::{
    identity::Caller,
    mcp::seal::Owner,
    policy::Plan,
    proxy::{
        Shared,
        lease::{Lease, Terms},
        route,
    },
    telemetry::Path,
};

/// A request that opened a stream.
struct Standing {
    shared: Arc<Shared>,
    /// As the connection has it, without what its token said.
    unproven: Arc<Caller>,
    owner: Owner,
    head: Parts,
    catalog: Option<Box<str>>,
    hearing: Arc<Hearing>,
    /// The resources that its client was promised to hear of.
    promised: Vec<Promise>,
}

impl Call<'_> {
    /// The time of the stream that this request opens, on which its client was promised to hear of these resources.
    pub(super) fn lease(&self, hearing: &Arc<Hearing>, promised: Vec<Promise>) -> Lease {
        let standing = Standing {
            shared: Arc::clone(self.shared),
            unproven: Caller::unproven(self.caller),
            owner: self.owner,
            head: self.head.clone(),
            catalog: self.catalog.map(Box::from),
            hearing: Arc::clone(hearing),
            promised,
        };
        Lease::new(self.shared, Path::Gateway, &self.plan, self.caller, standing)
    }
}

impl Terms for Standing {
    async fn again(&mut self, plan: &Arc<Plan>) -> Result<Arc<Caller>, &'static str> {
        let mut caller = Arc::clone(&self.unproven);
        let path = route::normal(self.head.uri.path()).ok_or("path")?;
        let admitted = admit(&self.shared, &mut caller, plan, &self.head, &path).await;
        let is_there = match admitted.map_err(|refused| refused.reason)? {
            Some(Place::Mcp(None)) => self.catalog.is_none(),
            Some(Place::Mcp(Some(name))) => self.catalog.as_deref() == Some(name) && plan.catalog(name).is_some(),
            _ => false,
        };
        if !is_there {
            return Err("no_catalog");
        }
        if caller.session_owner() != self.owner {
            return Err("another_principal");
        }
        // A promise that can no longer be kept is taken back whole: its client asks again, and hears what is left.
        for promise in &self.promised {
            // There may be many, and each is decided.
            tokio::task::coop::consume_budget().await;
            if !self.hearing.may_go_on(promise) {
                return Err("subscription");
            }
        }
        Ok(caller)
    }

    fn headers(&self) -> Option<&HeaderMap> {
        Some(&self.head.headers)
    }
}
