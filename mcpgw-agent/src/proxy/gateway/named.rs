//! The session that a request names, or that it shares with others where it names none.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::{
    super::refused::Refused,
    Gateway,
    link::Facts,
    session::{Key, Session},
};
use crate::{
    mcp::{headers::MCP_SESSION_ID, seal::Owner},
    proxy::now,
    shares::Payer,
};

impl Gateway {
    /// The session that a request names; `None` if it names none. The client of a session that is over, or was
    /// never there, gets the 404 that makes it begin anew.
    pub(super) fn session_of(
        &self,
        headers: &HeaderMap,
        (owner, payer): (Owner, Payer),
        catalog: Option<&str>,
    ) -> Result<Option<Arc<Session>>, Refused> {
        let mut named = headers.get_all(MCP_SESSION_ID).iter();
        let Some(id) = named.next() else { return Ok(None) };
        if named.next().is_some() {
            let message = "More than one Mcp-Session-Id header";
            return Err(Refused::new(StatusCode::BAD_REQUEST, "ambiguous_session", message));
        }
        let opened = id
            .to_str()
            .ok()
            .and_then(|id| self.opened.open(&self.sealer, id, owner, now()).ok());
        let sealed = opened
            .filter(|sealed| sealed.catalog.as_deref() == catalog && !self.ended.contains(&sealed.nonce))
            .ok_or_else(Refused::no_session)?;
        let facts = || {
            Facts::of(
                sealed.revision.parse().ok(),
                sealed.client_info.as_deref(),
                sealed.capabilities.as_deref(),
            )
        };
        let session = self.sessions.get(Key::Own(sealed.nonce), (owner, payer), facts);
        session.map(Some).ok_or_else(Refused::no_room_for_sessions)
    }

    /// The session that callers of an owner share who have none of their own.
    pub(super) fn shared_session(&self, (owner, payer): (Owner, Payer)) -> Result<Arc<Session>, Refused> {
        let session = self
            .sessions
            .get(Key::Shared(owner), (owner, payer), Facts::of_the_gateway);
        session.ok_or_else(Refused::no_room_for_sessions)
    }

    /// Forgets a session, and ends what is open in it.
    pub(super) fn end(&self, session: &Session) {
        if let Key::Own(nonce) = session.key {
            self.ended.insert(nonce);
        }
        self.sessions.end(session);
    }
}
