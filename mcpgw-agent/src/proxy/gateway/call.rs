//! One request at the gateway, with all that is known of it.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::request::Parts;
use serde_json::value::RawValue;

use super::{
    super::{
        Shared, authenticate,
        call::{barred, undecided, unknown},
        refused::Refused,
    },
    Gateway,
    arrived::{Arrived, whose},
    personal,
    session::Session,
    view::View,
};
use crate::{
    discovery::Principal,
    identity::Caller,
    mcp::{
        Envelope,
        governed::{Governed, Kind},
        seal::Owner,
        version::Era,
    },
    policy::Plan,
    shares::Payer,
    telemetry::{CallStart, Carried, Client, Keeping, Path},
    upstream::Behalf,
};

/// One request, with all that is known of it.
pub(super) struct Call<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) gateway: &'a Gateway,
    pub(super) caller: &'a Arc<Caller>,
    pub(super) owner: Owner,
    pub(super) payer: Payer,
    pub(super) plan: Arc<Plan>,
    pub(super) view: Arc<View>,
    pub(super) catalog: Option<&'a str>,
    pub(super) head: &'a Parts,
    pub(super) body: &'a Bytes,
    pub(super) era: Era,
    pub(super) received: Instant,
    /// When its body was complete.
    pub(super) read: Instant,
    /// The client's own session; without one it shares that of its owner.
    pub(super) session: Option<Arc<Session>>,
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
            behalf: behalf(&plan, caller, head),
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

impl Call<'_> {
    /// The session that servers are asked in.
    pub(super) fn session(&self) -> Result<Arc<Session>, Refused> {
        let session = match &self.session {
            Some(session) => Arc::clone(session),
            None => self.gateway.shared_session((self.owner, self.payer))?,
        };
        if let Some(behalf) = self.behalf() {
            session.voice.lend(behalf);
        }
        Ok(session)
    }

    /// The refusal of what nobody is known to have, which is recorded: where it could be a server's that wants to know
    /// more of its callers, that is what they are told.
    pub(super) fn unknown(&self, asked: Governed<'_>, id: &RawValue, envelope: &Envelope<'_>) -> Refused {
        let start = self.start(asked.method, id, envelope);
        if let Some((server, lacks)) = self.view.lacks(asked.kind, asked.name) {
            let path = self.catalog.map_or("/mcp".into(), |catalog| format!("/mcp/{catalog}"));
            let refused = authenticate::lacking(&self.plan, &path, lacks);
            return barred(&self.shared.telemetry, asked, server, refused, start);
        }
        // It may be there, so that the client is not to take it for gone.
        let could_have = self.view.could_have().filter(|_| asked.kind == Kind::Resource);
        if let Some(server) = could_have {
            return undecided(&self.shared.telemetry, asked, server, start);
        }
        unknown(&self.shared.telemetry, asked, self.era, self.view.denial_status, start)
    }

    /// What the record of a request begins with, where no one server is concerned.
    pub(super) fn start<'e>(&'e self, method: &'e str, id: &'e RawValue, envelope: &'e Envelope<'_>) -> CallStart<'e> {
        let carried = Carried {
            headers: &self.head.headers,
            version: self.head.version,
            meta: &envelope.params.meta,
        };
        let caller = Arc::clone(self.caller);
        CallStart {
            request_id: Some(id),
            catalog: self.catalog,
            read: self.read,
            request_bytes: self.body.len() as u64,
            client: Client::of(envelope),
            ..CallStart::new(
                caller,
                Path::Gateway,
                method,
                self.received,
                carried,
                Keeping::by(&self.plan.settings.audit),
            )
        }
    }

    /// On whose behalf servers are asked, where there is one that wants to know.
    pub(super) fn behalf(&self) -> Option<Behalf> {
        behalf(&self.plan, self.caller, self.head)
    }

    /// Whose request it is.
    pub(super) fn principal(&self) -> Principal {
        Principal {
            owner: self.owner,
            behalf: self.behalf(),
        }
    }
}

/// On whose behalf servers are asked for a caller whose request has this head, where there is one that wants to know.
fn behalf(plan: &Plan, caller: &Caller, head: &Parts) -> Option<Behalf> {
    let wanted = plan.exchanges_tokens && caller.token.is_some();
    wanted.then(|| authenticate::behalf(&head.headers)).flatten()
}
