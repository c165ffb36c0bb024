//! The transport of revision 2024-11-05: one stream that carries everything the server says, and POSTs to an address
//! that the stream names first.
//!
//! That address has the server's session in it. It is sealed on its way to the client, so that nobody else can post
//! into the session; and a POST without a sealed one goes nowhere.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, Uri, header::CONTENT_LENGTH};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};

use super::{Dialled, lists::Filter};
use crate::{
    mcp::{
        seal::{Nonce, Owner, Purpose, SESSION_AGE, Sealer, Token},
        sse::{self, Event, Line},
    },
    proxy::{
        carries::Carries,
        exchange::Body,
        is_events, now,
        pending::{PendingCall, StreamKey},
        refused::{Refused, accepted},
        relay::Relay,
        rewrite::{Rewrite, Rewriter, Rewritten},
    },
    telemetry::{Outcome, Record},
};

/// The query parameter that holds the sealed address.
const PARAMETER: &str = "mcpgw=";

/// Where a client's POSTs go.
#[derive(Clone, Serialize, Deserialize)]
struct Address {
    /// Path and query, as the server named them.
    target: String,
    server: String,
    owner: Owner,
    stream: StreamKey,
    /// When the server named it, in seconds of Unix time.
    issued: u64,
}

impl Token for Address {
    const PURPOSE: Purpose = Purpose::Address;
    // It is the session of this transport.
    const MAX_AGE: Option<Duration> = Some(SESSION_AGE);

    fn owner(&self) -> Owner {
        self.owner
    }

    fn issued(&self) -> Option<u64> {
        Some(self.issued)
    }
}

impl Dialled<'_> {
    /// The session's one stream.
    pub(super) async fn http_sse_stream(&self) -> Result<Response<Body>, Refused> {
        let response = self.send(self.request(Bytes::new(), None), None).await?;
        let (mut head, body) = response.into_parts();
        let body = body.without_call_deadline();
        if self.caller.observed || !is_events(&head.headers) {
            return Ok(Response::from_parts(head, Body::relay(Relay::new(body, None))));
        }
        let stream = Nonce::random()
            .map_err(|error| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "no_randomness", error.to_string()))?;
        // What is sealed or left out has another length.
        head.headers.remove(CONTENT_LENGTH);
        let rewriter = Rewriter::new(
            &head.headers,
            self.payer,
            SealsAddress {
                sealer: self.shared.gateway.sealer.clone(),
                server: self.server.name().to_string(),
                owner: self.caller.session_owner(),
                stream,
                filter: self.filter(None, None),
            },
        );
        let relay = Relay::new(body, None)
            .rewriting(Some(rewriter))
            .leased(Some(self.lease(&self.endpoint, Vec::new(), true)))
            .looking_for(&self.shared.pending, stream, Carries::All)
            .speaking(self.shared.voices.open(stream));
        Ok(Response::from_parts(head, Body::relay(relay)))
    }

    /// Puts the address that the server named in place of the sealed one.
    pub(super) fn unsealed(mut self) -> Result<Self, Refused> {
        let no_session = || Refused::new(StatusCode::NOT_FOUND, "no_session", "There is no such session");
        let parameters = self.head.uri.query().unwrap_or_default().split('&');
        let sealed = parameters
            .filter_map(|parameter| parameter.strip_prefix(PARAMETER))
            .next();
        let (sealer, owner) = (&self.shared.gateway.sealer, self.caller.session_owner());
        let address = sealed.and_then(|sealed| Address::open(sealer, sealed, owner, now()).ok());
        let address = address
            .filter(|address| address.server == self.server.name().to_string())
            .ok_or_else(no_session)?;
        self.stream = Some(address.stream);
        self.target = Some(address.target.parse().map_err(|_| no_session())?);
        Ok(self)
    }

    /// A denial, as the client of this transport hears it: on the session's stream.
    pub(super) async fn denied(&self, denied: Response<Body>) -> Response<Body> {
        let Some(stream) = self.stream.filter(|_| denied.status() == StatusCode::OK) else {
            return denied;
        };
        let (head, body) = denied.into_parts();
        // It is whole, and ours.
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        if !self
            .shared
            .voices
            .say(&stream, sse::event(&body, Some(&Line::MESSAGE), None))
        {
            return Response::from_parts(head, Body::from(body));
        }
        accepted()
    }

    /// Keeps the record of a call open until its answer comes by on the session's stream.
    pub(super) fn wait_for_stream(&self, mut record: Record, call: Option<PendingCall>, status: StatusCode) {
        record.status(status.as_u16());
        match call {
            // Until the contrary is heard: nobody has taken the call back.
            Some(call) if status.is_success() => call.wait(record, Outcome::Ok),
            None if status.is_success() => record.outcome(Outcome::Ok, None),
            _ => record.outcome(Outcome::Error, None),
        }
    }
}

/// Seals the address in the stream's first event, and filters the lists in those that follow.
struct SealsAddress {
    sealer: Sealer,
    server: String,
    owner: Owner,
    stream: StreamKey,
    /// Of what the server answers, where rules are in force.
    filter: Option<Filter>,
}

impl Rewrite for SealsAddress {
    fn message(&mut self, message: &Bytes) -> Rewritten {
        match &mut self.filter {
            Some(filter) => filter.message(message),
            None => Rewritten::Keep,
        }
    }

    fn event(&mut self, event: &Event) -> Rewritten {
        if event.kind != Some(Line::ENDPOINT) {
            return event.data.as_ref().map_or(Rewritten::Keep, |data| self.message(data));
        }
        let sealed = event.data.as_ref().and_then(|data| self.sealed(data));
        sealed.map_or(Rewritten::Drop, Rewritten::Replace)
    }
}

impl SealsAddress {
    /// `None` if what the server named is no address.
    fn sealed(&self, named: &[u8]) -> Option<Bytes> {
        let uri: Uri = std::str::from_utf8(named).ok()?.trim().parse().ok()?;
        let target = uri.path_and_query()?;
        let address = Address {
            target: target.as_str().to_owned(),
            server: self.server.clone(),
            owner: self.owner,
            stream: self.stream,
            issued: now(),
        };
        let sealed = address.seal(&self.sealer).ok()?;
        // Without scheme and host: the client asks where it asked for the stream.
        Some(format!("{}?{PARAMETER}{sealed}", target.path()).into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mcp::seal::{Key, Keys, Task, TokenError};

    #[test]
    fn an_address_is_its_clients_and_an_address_and_as_old_as_a_session_at_most() {
        let current = Arc::new(Key::new(&Key::generate().unwrap()).unwrap());
        let sealer = Sealer::new(Keys {
            current,
            previous: None,
        });
        let owner = Owner::of("a");
        let address = Address {
            target: "/messages?session_id=s".to_owned(),
            server: "tools/a".to_owned(),
            owner,
            stream: Nonce::random().unwrap(),
            issued: 1_000,
        };
        let sealed = address.seal(&sealer).unwrap();
        let last = 1_000 + SESSION_AGE.as_secs();
        let open = |owner, now| Address::open(&sealer, &sealed, owner, now).map(|address| address.target);
        assert_eq!(open(owner, last), Ok(address.target));
        assert_eq!(open(owner, last + 1), Err(TokenError::Expired));
        assert_eq!(open(Owner::of("b"), last), Err(TokenError::Foreign));
        assert_eq!(Task::open(&sealer, &sealed, owner, last), Err(TokenError::Forged));
    }
}
