//! What clients tell their servers, where no server answers it to them: from which level on to log, that something
//! happened, and the answers to what servers asked.

use std::sync::Arc;

use futures_util::future::join_all;
use http::{HeaderMap, Response, StatusCode};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{
    super::{
        exchange::Body,
        refused::{Refused, accepted},
    },
    Call, answer, forward,
    limits::NOTICE_TIMEOUT,
    link::Link,
    session::{Key, Session},
};
use crate::{
    mcp::{
        Envelope,
        error::code,
        level::Level,
        method::Method,
        seal::{ServerProgress, ServerRequest, Token as _},
        splice::Splice,
    },
    proxy::now,
    resources::ObjectName,
};

impl Call<'_> {
    /// `logging/setLevel`.
    pub(super) async fn set_level(&self, id: &RawValue, envelope: &Envelope<'_>) -> Result<Response<Body>, Refused> {
        let level = envelope.params.level.filter(|level| Level::of(level.get()).is_some());
        let Some(level) = level.and_then(|level| level.raw()) else {
            let message = "Invalid params: there is no such logging level";
            let bad = Refused::protocol(StatusCode::OK, code::INVALID_PARAMS, "level", message);
            return Err(bad.to(Some(id)));
        };
        if let Some(session) = &self.session {
            session.set_level(level);
            // Side by side: a server that takes its time is not to keep the others from hearing of it.
            let told = self.links_of(session).map(async |link: Arc<Link>| {
                let mut aside = session.aside();
                if timeout(NOTICE_TIMEOUT, link.set_level(level, &mut aside))
                    .await
                    .is_err()
                {
                    tracing::debug!(server = %link.server(), "the logging level was not taken in time");
                }
            });
            join_all(told).await;
        }
        Ok(answer::ok(answer::empty(id)))
    }

    /// Passes a notification to the servers that it is about.
    pub(super) async fn notification(&self, envelope: &Envelope<'_>) {
        let Some(session) = &self.session else { return };
        let method = envelope.method.as_deref().unwrap_or_default();
        let is_notification = method.starts_with("notifications/");
        match Method::of(method) {
            // The servers' sessions are opened, and told so, when they are needed.
            Method::Initialized => {}
            Method::Cancelled => {
                if let Some(id) = envelope.params.request_id.and_then(|part| part.raw()) {
                    if let Key::Own(nonce) = session.key {
                        // Before its server hears of it: the call may then end without an answer.
                        self.shared.pending.cancel(nonce, id.get());
                    }
                    session.calls.cancel(id).await;
                }
            }
            Method::Progress => self.progress(session, envelope).await,
            // Whose question it is about, or that it is about all of them, only the servers know. What is no
            // notification by its name could be a call that nobody decided.
            _ if !is_notification => {}
            _ => {
                let told = self.links_of(session).map(async |link: Arc<Link>| {
                    let told = timeout(NOTICE_TIMEOUT, link.notify(self.body.clone())).await;
                    if !matches!(told, Ok(Ok(_))) {
                        tracing::debug!(server = %link.server(), ?told, "a notification was not delivered");
                    }
                });
                join_all(told).await;
            }
        }
    }

    /// What a session has open at servers that the caller still sees.
    fn links_of(&self, session: &Session) -> impl Iterator<Item = Arc<Link>> {
        let links = session.open_links().into_iter();
        links.filter(|link| self.sees(link.server()))
    }

    /// Whether the caller sees a server now.
    fn sees(&self, server: &ObjectName) -> bool {
        self.view.seen(server).is_some()
    }

    /// Tells the server that asked the client how far it is with the answer, and no other.
    async fn progress(&self, session: &Session, envelope: &Envelope<'_>) {
        let Some(part) = envelope.params.progress_token else {
            return;
        };
        let text: Option<String> = part.raw().and_then(|raw| serde_json::from_str(raw.get()).ok());
        let opened = text.map(|text| ServerProgress::open(&self.gateway.sealer, &text, self.owner, now()));
        // Nobody wants to hear of any other.
        let Some(Ok(wanted)) = opened else { return };
        let link = ObjectName::parse(&wanted.server).and_then(|server| session.open_link(&server));
        let Some(link) = link.filter(|link| link.name() == wanted.session && self.sees(link.server())) else {
            return;
        };
        let mut splice = Splice::new(self.body);
        splice.replace(part.span(), wanted.token.get());
        if let Err(error) = link.notify(splice.finish()).await {
            tracing::debug!(server = %link.server(), %error, "progress was not told");
        }
    }

    /// Takes the client's answer to a server's question to that server.
    pub(super) async fn response(&self, envelope: &Envelope<'_>) -> Result<Response<Body>, Refused> {
        let unknown = || {
            let message = "There is no such question, or its server no longer waits";
            Refused::protocol(
                StatusCode::NOT_FOUND,
                code::INVALID_REQUEST,
                "unknown_response",
                message,
            )
        };
        let session = self.session.as_ref().ok_or_else(unknown)?;
        let id = envelope.id.ok_or_else(unknown)?;
        if session.answered(id, self.body) {
            return Ok(accepted());
        }
        let text: String = serde_json::from_str(id.get()).map_err(|_| unknown())?;
        let asked = ServerRequest::open(&self.gateway.sealer, &text, self.owner, now()).map_err(|_| unknown())?;
        let server = ObjectName::parse(&asked.server).ok_or_else(unknown)?;
        let link = session
            .open_link(&server)
            .filter(|link| link.name() == asked.session && self.sees(&server))
            .ok_or_else(unknown)?;
        let mut splice = Splice::new(self.body);
        if let Some(span) = envelope.id_span() {
            splice.replace(span, asked.id.get());
        }
        let body = splice.finish();
        match link.send(body, &HeaderMap::new(), self.behalf()).await {
            Ok(response) => {
                let mut accepted = accepted();
                *accepted.status_mut() = response.status();
                Ok(accepted)
            }
            Err(error) => Err(forward::unreachable(link.server(), &error)),
        }
    }
}
