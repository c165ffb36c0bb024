//! Reads the one stream on which a server of the HTTP+SSE transport says everything.

use std::sync::Arc;

use http::{Uri, uri::PathAndQuery};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::{
    super::{
        UpstreamBody,
        limits::{HTTP_SSE_QUEUE, MAX_HTTP_SSE_EVENT, MAX_HTTP_SSE_TARGET},
    },
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
            if target.as_str().len() > MAX_HTTP_SSE_TARGET {
                return None;
            }
            return self.named.take()?.send(target).ok();
        }
        let message = Peek::new(data).ok()?;
        let Some(receiver) = self.calls.0.receiver(&message) else {
            tracing::debug!("a server said something that nobody waits for");
            return Some(());
        };
        let event = sse::event(data, None, None);
        let Some(event) = Held::queued(event, self.payer, receiver.queue(), HTTP_SSE_QUEUE) else {
            self.calls.0.leave_out(receiver, &message);
            return Some(());
        };
        match receiver {
            To::Call(call) => self.calls.0.send(call, event).await,
            To::Ended(last, _) => drop(last.send(event)),
            // Calls are not held up by one who only listens.
            To::Listener(events) => drop(events.try_send(event)),
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::{Full, combinators::BoxBody};
    use tokio::{sync::mpsc, time::timeout};

    use super::*;
    use crate::mcp::{
        held::{FREE, MAX_HELD_PER_WORKLOAD},
        seal::Owner,
    };

    const PATIENCE: Duration = Duration::from_secs(20);

    /// What a caller gets: text of one event; `None` at the end.
    async fn next(events: &mut mpsc::Receiver<Bytes>) -> Option<String> {
        let event = timeout(PATIENCE, events.recv()).await.unwrap()?;
        Some(String::from_utf8(event.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_call_ends_with_an_error_where_there_is_no_room_for_what_it_is_told() {
        let payer = Payer::Workload(Owner::of("has all it may have"));
        let mut all = Held::new(payer);
        assert!(all.hold(MAX_HELD_PER_WORKLOAD + FREE));
        let calls = Arc::<Calls>::default();
        let (named, _target) = oneshot::channel();
        let mut reader = Reader::new(named, Arc::clone(&calls), payer);
        let wait = |id: &str| {
            let call = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"_meta":{{"progressToken":{id}}}}}}}"#
            );
            calls.wait(id, &Peek::new(call.as_bytes()).unwrap()).unwrap()
        };
        let mut told = [wait("1"), wait("2"), wait("3")];
        let large = "x".repeat(FREE);
        for said in [
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"text":"{large}"}}}}"#),
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":2,"message":"{large}"}}}}"#
            ),
            r#"{"jsonrpc":"2.0","id":3,"result":{"text":"small"}}"#.to_owned(),
        ] {
            reader.parser.feed(&sse::event(said.as_bytes(), None, None));
            let event = reader.parser.next().unwrap().unwrap();
            reader.event(&event).await.unwrap();
        }
        for (id, events) in [1, 2].into_iter().zip(&mut told) {
            let error = next(events).await.unwrap();
            assert!(
                error.contains(&format!(r#""id":{id},"#)) && error.contains("50300"),
                "{error}"
            );
            assert_eq!(next(events).await, None);
        }
        assert!(
            next(&mut told[2]).await.unwrap().contains("small"),
            "that does not count"
        );
        assert!(!calls.has_any());
    }

    /// Reads this stream to its end.
    async fn read(said: String, calls: &Arc<Calls>, payer: Payer) -> Option<PathAndQuery> {
        let (named, target) = oneshot::channel();
        let body = BoxBody::new(Full::from(said).map_err(|never| match never {}));
        let body = UpstreamBody::copied(Box::pin(body), payer);
        Reader::new(named, Arc::clone(calls), payer).read(body).await;
        target.await.ok()
    }

    #[tokio::test]
    async fn what_waits_for_callers_that_do_not_read_counts_however_small_its_parts_are() {
        let payer = Payer::Workload(Owner::of("hears nothing"));
        let calls = Arc::new(Calls::default());
        let (mut said, mut waiting) = (String::new(), Vec::new());
        for id in 0..4 {
            let call =
                format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x","params":{{"_meta":{{"progressToken":{id}}}}}}}"#);
            waiting.extend(calls.wait(&id.to_string(), &Peek::new(call.as_bytes()).unwrap()));
            let progress = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id},"message":"{}"}}}}"#,
                " ".repeat(60 * 1024)
            );
            said.push_str(&format!("data: {progress}\n\n").repeat(HTTP_SSE_QUEUE));
        }
        read(said, &calls, payer).await;
        let mut rest = Held::new(payer);
        let left = MAX_HELD_PER_WORKLOAD - 3 * 1024 * 1024;
        assert!(!rest.hold(left), "more than 3 MiB are held");
        drop(waiting);
        assert!(rest.hold(left));
    }

    #[tokio::test]
    async fn where_messages_are_posted_is_kept_and_no_longer_than_it_may_be() {
        for (length, is_kept) in [(MAX_HTTP_SSE_TARGET, true), (MAX_HTTP_SSE_TARGET + 1, false)] {
            let said = format!("event: endpoint\ndata: /{}\n\n", "a".repeat(length - 1));
            let target = read(said, &Arc::default(), Payer::Agent).await;
            assert_eq!(target.is_some(), is_kept, "{length}");
        }
    }
}
