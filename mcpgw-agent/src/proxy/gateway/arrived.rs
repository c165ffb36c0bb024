//! What arrives with a request, and what is known of it before it is decided.

use std::{sync::Arc, time::Instant};

use http::request::Parts;

use super::{
    super::{Shared, refused::Refused},
    session::Session,
};
use crate::{identity::Caller, mcp::seal::Owner, policy::Plan, shares::Payer};

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
