//! What arrives with a request, and what is known of it before it is decided.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::request::Parts;

use super::{
    super::{Shared, refused::Refused},
    Call, personal,
    session::Session,
};
use crate::{
    discovery::Principal,
    identity::Caller,
    mcp::{seal::Owner, version::Era},
    policy::Plan,
    shares::Payer,
};

/// What arrives with a request.
#[derive(Clone, Copy)]
pub(super) struct Arrived<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) caller: &'a Arc<Caller>,
    /// By which all of it is decided.
    pub(super) plan: &'a Arc<Plan>,
    pub(super) catalog: Option<&'a str>,
    pub(super) head: &'a Parts,
    pub(super) received: Instant,
}

impl Arrived<'_> {
    /// The session that it names; `None` if it names none.
    pub(super) fn session(&self) -> Result<Option<Arc<Session>>, Refused> {
        let gateway = &self.shared.gateway;
        gateway.session_of(&self.head.headers, whose(self.caller), self.catalog)
    }
}

/// Whom the sessions of a caller are bound to, and whose share of what all have in common they take.
pub(super) fn whose(caller: &Caller) -> (Owner, Payer) {
    (caller.session_owner(), Payer::of(caller))
}

impl<'a> Call<'a> {
    /// What is known of a request in this era, and of what its caller sees; `lists` where the answer is what servers offer,
    /// as it is now.
    pub(super) async fn new(
        arrived: Arrived<'a>,
        body: &'a Bytes,
        era: Era,
        session: Option<Arc<Session>>,
        lists: bool,
    ) -> Result<Self, Refused> {
        let Arrived {
            shared,
            caller,
            plan,
            catalog,
            head,
            received,
        } = arrived;
        let (owner, payer) = whose(caller);
        let plan = Arc::clone(plan);
        let chosen = match catalog {
            None => None,
            Some(name) => Some(plan.catalog(name).cloned().ok_or_else(Refused::no_catalog)?),
        };
        let snapshot = shared.discovery.snapshot();
        let who = || Principal {
            owner,
            behalf: super::behalf(&plan, caller, head),
        };
        let own = personal::offered(shared, &plan, &snapshot, caller, chosen.as_deref(), who, lists).await;
        // Behind the catalogues: what is approved is never older than what is shown.
        let pins = shared.pins.table();
        let views = &shared.gateway.views;
        let view = views.of(caller, owner, chosen.as_ref(), &plan, &snapshot, &own, &pins);
        Ok(Self {
            shared,
            gateway: &shared.gateway,
            caller,
            owner,
            payer,
            plan,
            view,
            catalog,
            head,
            body,
            era,
            received,
            read: Instant::now(),
            session,
        })
    }
}
