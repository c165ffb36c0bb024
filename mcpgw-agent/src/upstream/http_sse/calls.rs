//! Who waits for something on the stream of a server of the HTTP+SSE transport.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::super::limits::{HTTP_SSE_PATIENCE, HTTP_SSE_QUEUE};
use crate::mcp::{
    Kind,
    error::{self, code},
    message::Peek,
    method::Method,
    sse,
};

/// Who waits for something.
#[derive(Default)]
pub(super) struct Calls(Mutex<All>);

#[derive(Default)]
struct All {
    /// By the id of the request, as JSON.
    waiting: HashMap<Box<str>, Waiting>,
    /// Who hears what belongs to no call.
    listener: Option<mpsc::Sender<Bytes>>,
    ended: bool,
}

struct Waiting {
    events: mpsc::Sender<Bytes>,
    /// Room for how it ends, whatever else was not taken yet.
    last: mpsc::OwnedPermit<Bytes>,
    /// The token of its progress, as JSON.
    progress: Option<Box<str>>,
    /// Whether its caller takes more than the answer.
    hears: bool,
    /// How long all others may still wait for its caller.
    patience: Duration,
}

/// Who is to have a message.
pub(super) enum To {
    /// A call that goes on.
    Call(Slow),
    /// A call that ends with it, and all else that waits for its caller.
    Ended(mpsc::OwnedPermit<Bytes>, mpsc::Sender<Bytes>),
    /// Who listens.
    Listener(mpsc::Sender<Bytes>),
}

impl To {
    /// Where it waits.
    pub(super) fn queue(&self) -> &mpsc::Sender<Bytes> {
        match self {
            Self::Call(call) => &call.events,
            Self::Ended(_, events) | Self::Listener(events) => events,
        }
    }
}

/// A call whose caller may be slow to take what the server says.
pub(super) struct Slow {
    id: Box<str>,
    events: mpsc::Sender<Bytes>,
    patience: Duration,
}

/// Why a call ends without its answer.
#[derive(Clone, Copy)]
enum NoAnswer {
    /// Its caller did not take what was said.
    TooSlow,
    /// There is no memory for what was said.
    NoRoom,
}

impl NoAnswer {
    /// What the caller gets in its place; `id` is JSON.
    fn event(self, id: &str) -> Bytes {
        let (status, message) = match self {
            Self::TooSlow => (
                StatusCode::GATEWAY_TIMEOUT,
                "The client did not take what the server said in time",
            ),
            Self::NoRoom => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The server said more than there is room for now",
            ),
        };
        let code = code::of_status(status.as_u16());
        let error = error::body::<()>(serde_json::from_str(id).ok(), code, message, None);
        sse::event(&error, None, None)
    }
}

impl Calls {
    /// Waits for the answer to a request; `None` if the stream has ended.
    pub(super) fn wait(&self, id: &str, message: &Peek<'_>) -> Option<mpsc::Receiver<Bytes>> {
        let progress = message.params().ok().and_then(|params| params.wanted_progress);
        let (events, receiver) = mpsc::channel(HTTP_SSE_QUEUE + 1);
        let waiting = Waiting {
            last: events.clone().try_reserve_owned().ok()?,
            events,
            progress: progress.map(|token| token.get().into()),
            hears: !is_only_answered(message),
            patience: HTTP_SSE_PATIENCE,
        };
        let mut all = self.lock();
        if all.ended {
            return None;
        }
        all.forget_the_gone();
        all.waiting.insert(id.into(), waiting);
        Some(receiver)
    }

    /// Forgets a call that the server does not know of.
    pub(super) fn forget(&self, id: &str) {
        self.lock().waiting.remove(id);
    }

    /// What belongs to no call from now on, in place of who heard it before; `None` if the stream has ended.
    pub(super) fn listen(&self) -> Option<mpsc::Receiver<Bytes>> {
        let (events, receiver) = mpsc::channel(HTTP_SSE_QUEUE);
        let mut all = self.lock();
        if all.ended {
            return None;
        }
        all.listener = Some(events);
        Some(receiver)
    }

    /// Whether anybody waits or listens.
    pub(super) fn has_any(&self) -> bool {
        let mut all = self.lock();
        all.forget_the_gone();
        !all.waiting.is_empty() || all.listener.as_ref().is_some_and(|listener| !listener.is_closed())
    }

    /// Lets go whoever waits, because the stream has ended.
    pub(super) fn end(&self) {
        *self.lock() = All {
            ended: true,
            ..All::default()
        };
    }

    /// Whether the stream has ended.
    pub(super) fn have_ended(&self) -> bool {
        self.lock().ended
    }

    /// Who is to have a message; `None` where nobody waits for it.
    pub(super) fn receiver(&self, message: &Peek<'_>) -> Option<To> {
        let mut all = self.lock();
        if message.kind == Kind::Response {
            let waiting = all.waiting.remove(message.id.as_ref()?.get())?;
            return Some(To::Ended(waiting.last, waiting.events));
        }
        let token = message.params().ok().and_then(|params| params.progress_token);
        if let Some(token) = token {
            let mut waiting = all.waiting.iter();
            let (id, waiting) = waiting.find(|(_, waiting)| waiting.progress.as_deref() == Some(token.get()))?;
            return Some(waiting.goes_on(id));
        }
        let method = message.method.as_deref().unwrap_or_default();
        if (Method::of(method) == Method::ResourceUpdated || method.ends_with("/list_changed"))
            && let Some(listener) = &all.listener
        {
            return Some(To::Listener(listener.clone()));
        }
        // With one call in flight, what else is said belongs to it.
        let mut waiting = all.waiting.iter().filter(|(_, waiting)| waiting.hears);
        match (waiting.next(), waiting.next(), &all.listener) {
            (Some((id, only)), None, _) | (Some((id, only)), _, None) => Some(only.goes_on(id)),
            (_, _, listener) => listener.clone().map(To::Listener),
        }
    }

    /// Sends what belongs to a call that goes on. Where its caller does not take it, all others wait behind it, so that
    /// it is given up before long.
    pub(super) async fn send(&self, call: Slow, event: Bytes) {
        let Slow { id, events, patience } = call;
        let event = match events.try_send(event) {
            Err(mpsc::error::TrySendError::Full(event)) => event,
            // Its caller has it, or wants it no more.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
        };
        let begun = Instant::now();
        let room = timeout(patience, events.reserve()).await;
        match room {
            Ok(Ok(room)) => {
                room.send(event);
                if let Some(waiting) = self.lock().waiting.get_mut(&id) {
                    waiting.patience = waiting.patience.saturating_sub(begun.elapsed());
                }
            }
            Ok(Err(_)) => {}
            Err(_) => self.give_up(&id, NoAnswer::TooSlow),
        }
    }

    /// There is no room for a message that this one was to have. A call ends with that: it may be what it waits for.
    pub(super) fn leave_out(&self, to: To, message: &Peek<'_>) {
        match to {
            To::Call(call) => self.give_up(&call.id, NoAnswer::NoRoom),
            To::Ended(last, _) => {
                let id = message.id.as_ref().map_or("", |id| id.get());
                last.send(NoAnswer::NoRoom.event(id));
            }
            To::Listener(_) => tracing::debug!("a server said more to who listens than there is room for"),
        }
    }

    /// Ends a call with an error.
    fn give_up(&self, id: &str, why: NoAnswer) {
        if let Some(waiting) = self.lock().waiting.remove(id) {
            waiting.last.send(why.event(id));
        }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    /// Forgets calls that were taken back.
    fn forget_the_gone(&mut self) {
        self.waiting.retain(|_, waiting| !waiting.events.is_closed());
    }
}

impl Waiting {
    fn goes_on(&self, id: &str) -> To {
        To::Call(Slow {
            id: id.into(),
            events: self.events.clone(),
            patience: self.patience,
        })
    }
}

/// Whether this is a request of the agent's own, for the session as a whole: what a server says before it answers, a log
/// message or a question, is no part of that.
fn is_only_answered(message: &Peek<'_>) -> bool {
    let method = message.method.as_deref().map(Method::of);
    matches!(
        method,
        Some(Method::Initialize | Method::Ping | Method::SetLevel | Method::Subscribe | Method::Unsubscribe)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_server_says_during_a_request_that_is_only_answered_is_for_who_listens() {
        let said = [
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"subscribed"}}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"roots/list"}"#,
        ];
        let of = |calls: &Calls, message: &str| calls.receiver(&Peek::new(message.as_bytes()).unwrap());
        for method in [
            "resources/subscribe",
            "resources/unsubscribe",
            "logging/setLevel",
            "ping",
            "initialize",
        ] {
            let calls = Calls::default();
            let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{}}}}"#);
            let _answer = calls.wait("1", &Peek::new(request.as_bytes()).unwrap()).unwrap();
            for message in said {
                assert!(of(&calls, message).is_none(), "{method}: nobody listens");
            }
            let _listener = calls.listen().unwrap();
            for message in said {
                assert!(
                    matches!(of(&calls, message), Some(To::Listener(_))),
                    "{method}: {message}"
                );
            }
            let call = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"x"}}"#;
            let _called = calls.wait("2", &Peek::new(call.as_bytes()).unwrap()).unwrap();
            for message in said {
                assert!(
                    matches!(of(&calls, message), Some(To::Call(call)) if &*call.id == "2"),
                    "{method}: the one call to which it can belong: {message}"
                );
            }
            let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
            assert!(matches!(of(&calls, answer), Some(To::Ended(..))), "{method}");
        }
    }

    /// Says something about the progress of a call, and returns when the next thing can be said.
    async fn say(calls: &Calls, token: u32) {
        let message = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        );
        if let Some(To::Call(call)) = calls.receiver(&Peek::new(message.as_bytes()).unwrap()) {
            calls.send(call, Bytes::from_static(b"more")).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_takes_each_event_just_in_time_is_not_waited_for_again_and_again() {
        let calls = Calls::default();
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":1}}}"#;
        let mut events = calls.wait("1", &Peek::new(call.as_bytes()).unwrap()).unwrap();
        for _ in 0..HTTP_SSE_QUEUE {
            say(&calls, 1).await;
        }
        let caller = tokio::spawn(async move {
            let mut taken = 0;
            loop {
                tokio::time::sleep(HTTP_SSE_PATIENCE * 3 / 4).await;
                match events.recv().await {
                    Some(event) if event.starts_with(b"more") => taken += 1,
                    Some(error) => return (taken, error),
                    None => panic!("it ended without an answer"),
                }
            }
        });
        let begun = Instant::now();
        for _ in 0..HTTP_SSE_QUEUE {
            say(&calls, 1).await;
        }
        assert!(begun.elapsed() <= HTTP_SSE_PATIENCE * 2, "{:?}", begun.elapsed());
        assert!(!calls.has_any(), "it was given up");
        let (taken, error) = caller.await.unwrap();
        assert_eq!(taken, HTTP_SSE_QUEUE + 1);
        assert!(std::str::from_utf8(&error).unwrap().contains("50400"));
    }
}
