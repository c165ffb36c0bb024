//! What a server says in the stream of its answer to the gateway itself, before that answer: it is heard by those who
//! hear what the server says unasked in the same session.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::timeout;

use super::{decline::decline, limits::FEED_TIMEOUT, link::Link, session::Session};
use crate::mcp::{Kind, message::Peek, sse::Event};

/// Hears what a server says before one answer.
pub(super) struct Aside<'s> {
    session: &'s Session,
    /// The client does not read its stream: the answer waits no longer for that.
    is_deaf: bool,
}

impl<'s> Aside<'s> {
    /// For whoever listens in this session.
    pub(super) fn of(session: &'s Session) -> Self {
        Self {
            session,
            is_deaf: false,
        }
    }

    /// Passes on an event. What the server asks of a client that does not hear it is declined.
    pub(super) async fn hear(&mut self, link: &Arc<Link>, event: Event) {
        let Some(message) = event.data.clone() else { return };
        if self.session.shared {
            return self.session.shares.hear(link, &message);
        }
        // The client's answer would find no way to a server whose session is still being opened.
        let is_open = || {
            let open = self.session.open_link(link.server());
            open.is_some_and(|open| Arc::ptr_eq(&open, link))
        };
        if self.is_deaf || is_question(&message) && !is_open() {
            return unheard(link, &message);
        }
        let Some((feed, change)) = self.session.outlet.carrying(link.server()) else {
            return unheard(link, &message);
        };
        let Some(changed) = change(link, event) else { return };
        if timeout(FEED_TIMEOUT, feed.raw(changed)).await != Ok(true) {
            self.is_deaf = true;
            unheard(link, &message);
        }
    }
}

fn is_question(message: &Bytes) -> bool {
    Peek::new(message).is_ok_and(|said| said.kind == Kind::Request)
}

/// Nobody hears this: a question is not to wait for an answer.
fn unheard(link: &Arc<Link>, message: &Bytes) {
    if let Ok(said) = Peek::new(message)
        && said.kind == Kind::Request
    {
        decline(link, &said);
    }
}
