//! What servers ask where no client can be asked: they are told so, and wait for no answer.

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::timeout;

use super::{answer, limits::NOTICE_TIMEOUT, link::Link};
use crate::mcp::{
    error::{self, code},
    held::Held,
    message::Peek,
};

/// Answers a question that no client can be asked. One of a server that asks faster than it takes such answers is left
/// as it is.
pub(super) fn decline(link: &Arc<Link>, question: &Peek<'_>) {
    let Some(id) = question.id.as_ref().and_then(|id| id.raw()) else {
        return;
    };
    let Some(room) = link.room_to_decline() else {
        tracing::debug!(server = %link.server(), "a server asks more than it takes answers");
        return;
    };
    let body = match question.method.as_deref() {
        Some("ping") => answer::empty(id),
        _ => error::body::<()>(Some(id), code::METHOD_NOT_FOUND, "No client can be asked here", None),
    };
    // As long as the server made its id.
    let Some(body) = Held::counted(body, link.payer()) else {
        return;
    };
    let link = Arc::clone(link);
    tokio::spawn(async move {
        match timeout(NOTICE_TIMEOUT, link.send(body, &HeaderMap::new(), None)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(server = %link.server(), %error, "a question was not answered"),
            Err(_) => tracing::debug!(server = %link.server(), "a question was not answered in time"),
        }
        drop(room);
    });
}
