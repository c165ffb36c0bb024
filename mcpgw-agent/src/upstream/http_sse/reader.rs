//! Reads the one stream on which a server of the HTTP+SSE transport says everything.

use std::sync::Arc;

use http::{Uri, uri::PathAndQuery};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::{
    super::{UpstreamBody, limits::MAX_HTTP_SSE_EVENT},
    calls::{Calls, To},
};
use crate::{
    mcp::{
        held::Held,
        message::Peek,
        sse::{self, Event, Line, Parser},
    },
    shares::Payer,
};

/// Reads the stream.
pub(super) struct Reader {
    parser: Parser,
    payer: Payer,
    /// Where it says first what it is posted to.
    named: Option<oneshot::Sender<PathAndQuery>>,
    calls: Ending,
}

/// Whoever waits is let go when the stream ends.
struct Ending(Arc<Calls>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Reader {
    /// For these calls of a session that this payer opened. It tells where messages are posted as soon as the server does.
    pub(super) fn new(named: oneshot::Sender<PathAndQuery>, calls: Arc<Calls>, payer: Payer) -> Self {
        Self {
            parser: Parser::new(MAX_HTTP_SSE_EVENT, payer),
            payer,
            named: Some(named),
            calls: Ending(calls),
        }
    }

    /// Gives everybody what is theirs, until the stream ends.
    pub(super) async fn read(mut self, mut body: UpstreamBody) {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(chunk) = frame.into_data() else { continue };
            self.parser.feed(&chunk);
            while let Some(event) = self.parser.next() {
                let Ok(event) = event else { return };
                if self.event(&event).await.is_none() {
                    return;
                }
            }
        }
    }

    /// `None` if the stream is none.
    async fn event(&mut self, event: &Event) -> Option<()> {
        let Some(data) = &event.data else { return Some(()) };
        if event.kind == Some(Line::ENDPOINT) {
            let uri: Uri = std::str::from_utf8(data).ok()?.trim().parse().ok()?;
            // Scheme and host are no matter: messages go to the address that the stream comes from.
            let target = uri.path_and_query()?.clone();
            return self.named.take()?.send(target).ok();
        }
        let message = Peek::new(data).ok()?;
        let receiver = self.calls.0.receiver(&message);
        let Some(event) = Held::counted(sse::event(data, None, None), self.payer) else {
            // Who waited for it waits no more.
            tracing::debug!("a server said more than there is room for");
            return Some(());
        };
        match receiver {
            Some(To::Call(call)) => self.calls.0.send(call, event).await,
            Some(To::Ended(last)) => drop(last.send(event)),
            // Calls are not held up by one who only listens.
            Some(To::Listener(events)) => drop(events.try_send(event)),
            None => tracing::debug!("a server said something that nobody waits for"),
        }
        Some(())
    }
}
