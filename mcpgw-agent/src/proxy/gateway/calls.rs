//! Calls that wait for their answers, and how each is taken back.
//!
//! | the client | takes a call back by | then its server is told by |
//! |---|---|---|
//! | of a session | `notifications/cancelled` | a notification, or the end of its connection where it is a modern one |
//! | modern | going away | a notification, where it is a legacy one |
//! | legacy, without a session | – | – |

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use serde_json::{json, value::RawValue};
use tokio::{runtime::Handle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    limits::{MAX_CALLS_PER_SESSION, NOTICE_TIMEOUT},
    link::Link,
    session::Session,
};
use crate::mcp::version::Era;

/// How a call is cancelled.
#[derive(Clone)]
pub(super) enum Cancel {
    /// Its server is told, by the id that it knows.
    Notice {
        /// The session there.
        link: Weak<Link>,
        /// The request's id there.
        id: Box<RawValue>,
    },
    /// Whoever waits for the answer stops to.
    Token(CancellationToken),
}

impl Cancel {
    /// By a notice to the server.
    pub(super) fn notice(link: &Arc<Link>, id: &RawValue) -> Self {
        Self::Notice {
            link: Arc::downgrade(link),
            id: id.to_owned(),
        }
    }

    /// By this token.
    pub(super) fn token(token: &CancellationToken) -> Self {
        Self::Token(token.clone())
    }

    /// Cancels it.
    async fn cancel(self) {
        let (link, id) = match self {
            Self::Token(token) => return token.cancel(),
            Self::Notice { link, id } => (link, id),
        };
        let Some(link) = link.upgrade() else { return };
        let params = json!({ "requestId": id });
        let message = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
        match timeout(NOTICE_TIMEOUT, link.notify(message.to_string().into())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(server = %link.server(), %error, "a call could not be cancelled"),
            Err(_) => tracing::debug!(server = %link.server(), "a call could not be cancelled in time"),
        }
    }
}

/// The calls of a session that its client can cancel, by the ids of their requests, as JSON.
#[derive(Default)]
pub(super) struct Calls(Mutex<HashMap<Box<str>, Cancel>>);

impl Calls {
    /// Cancels a call, if it waits.
    pub(super) async fn cancel(&self, id: &RawValue) {
        let cancel = self.lock().get(id.get()).cloned();
        if let Some(cancel) = cancel {
            cancel.cancel().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Cancel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that waits for its answer. Its session is in use until this is dropped.
pub(super) struct InFlight {
    session: Arc<Session>,
    /// Under which the client can cancel it.
    noted: Option<Box<str>>,
    /// What happens if this is dropped before the answer came.
    abandoned: Option<Cancel>,
}

impl InFlight {
    /// Begins before the server is asked. A call of a client that has a session can be cancelled by its id, unless too
    /// many wait; one of a modern client is cancelled when this is dropped before the answer came.
    pub(super) fn begin(session: &Arc<Session>, id: &RawValue, era: Era, cancel: Cancel) -> Self {
        let mut call = Self {
            session: Arc::clone(session),
            noted: None,
            abandoned: None,
        };
        if era == Era::Modern {
            call.abandoned = Some(cancel);
            return call;
        }
        // Legacy callers that share a session cannot be told apart, so that none may cancel.
        if session.shared {
            return call;
        }
        let mut calls = session.calls.lock();
        if calls.len() < MAX_CALLS_PER_SESSION {
            calls.insert(id.get().into(), cancel);
            drop(calls);
            call.noted = Some(id.get().into());
        }
        call
    }

    /// There is nothing left to cancel: the answer has come, or the server has not taken the call.
    pub(super) fn over(&mut self) {
        self.abandoned = None;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(id) = &self.noted {
            self.session.calls.lock().remove(id);
        }
        let Some(cancel) = self.abandoned.take() else { return };
        if let Cancel::Token(token) = cancel {
            token.cancel();
        } else if let Ok(runtime) = Handle::try_current()
            // Clients may go away faster than a server hears of it.
            && let Ok(room) = self.session.rooms.notices.take(self.session.payer)
        {
            runtime.spawn(async move {
                cancel.cancel().await;
                drop(room);
            });
        }
    }
}
