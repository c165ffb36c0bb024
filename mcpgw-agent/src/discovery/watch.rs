//! One server's task: asks it, listens for changes, asks again.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures_util::future::select_all;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, error::Elapsed, sleep, sleep_until, timeout_at},
};

use super::{
    Known,
    ask::{self, Tongue},
    fetch::{self, Introduced},
    limits::{BACKOFF, FETCH_TIMEOUT, LISTEN_TIMEOUT, MAX_ANSWER_BYTES, MAX_CATALOGUE_BYTES, MIN_INTERVAL, POLL},
};
use crate::{
    mcp::{message::Peek, sse::Parser},
    resources::ObjectName,
    shares::Payer,
    upstream::{Behalf, Upstream, Upstreams},
};

/// Keeps what is known of a server current, for ever. Whatever it says meanwhile, and whoever makes it say that, it is
/// asked no sooner than [`MIN_INTERVAL`] after it was asked before; and after the last change once more.
pub(super) async fn run(server: ObjectName, upstreams: Arc<Upstreams>, known: Arc<Known>, refresh: Arc<Notify>) {
    let mut wait = BACKOFF.0;
    loop {
        let asked = Instant::now();
        let followed = match upstreams.get(&server) {
            Some(upstream) => follow(&server, &upstream, &known, &refresh).await,
            None => Err("has no address".to_owned()),
        };
        let pause = match followed {
            Ok(()) => {
                wait = BACKOFF.0;
                MIN_INTERVAL
            }
            Err(reason) => {
                tracing::debug!(%server, reason, "its offers are not known");
                known.failed(&server, reason);
                let pause = wait;
                wait = (wait * 2).min(BACKOFF.1);
                tokio::select! {
                    () = sleep(jittered(pause)) => {}
                    () = refresh.notified() => {}
                }
                MIN_INTERVAL.min(pause)
            }
        };
        sleep_until(asked + pause).await;
    }
}

/// Learns what a server offers, and returns when it is time to ask again. It is listened to before it is asked, so
/// that no change falls between the two; one that is slow to let itself be heard is asked once more when it does.
async fn follow(server: &ObjectName, upstream: &Arc<Upstream>, known: &Known, refresh: &Notify) -> Result<(), String> {
    let deadline = Instant::now() + FETCH_TIMEOUT;
    let introduced = timeout_at(deadline, fetch::introduce(upstream, &Behalf::Agent))
        .await
        .map_err(too_long)?
        .map_err(|error| error.to_string())?;
    let mut changes = Changes::new(upstream, &introduced.tongues);
    changes.listen().await;
    learn(server, upstream, known, refresh, (&introduced, deadline), &mut changes).await
}

/// As [`follow`], of a server that is listened to.
async fn learn(
    server: &ObjectName,
    upstream: &Arc<Upstream>,
    known: &Known,
    refresh: &Notify,
    (introduced, mut deadline): (&Introduced, Instant),
    changes: &mut Changes<'_>,
) -> Result<(), String> {
    loop {
        let asked = Instant::now();
        let before = known.last(server);
        let list = fetch::list(
            upstream,
            &Behalf::Agent,
            introduced,
            before.as_deref(),
            MAX_CATALOGUE_BYTES,
        );
        let (catalogue, missing) = timeout_at(deadline, changes.notice_during(list))
            .await
            .map_err(too_long)?
            .map_err(|error| error.to_string())?;
        // A list that could not be had is asked for again before long.
        let longest = if missing.is_empty() { POLL } else { MIN_INTERVAL * 5 };
        known.learned(server, catalogue, missing).await;
        let next = tokio::select! {
            next = changes.wait() => Some(next),
            () = sleep(introduced.ttl.unwrap_or(POLL).clamp(MIN_INTERVAL, longest)) => None,
            () = refresh.notified() => None,
        };
        if next == Some(Next::Opened) {
            changes.notice_during(sleep_until(asked + MIN_INTERVAL)).await;
            deadline = Instant::now() + FETCH_TIMEOUT;
            continue;
        }
        if changes.told {
            known.told(server);
        }
        return Ok(());
    }
}

fn too_long(_: Elapsed) -> String {
    format!("did not list all that it offers within {FETCH_TIMEOUT:?}")
}

/// Nodes that lost the same server do not all come back at once.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let random = RandomState::new().build_hasher().finish();
    pause.mul_f64(0.75 + (random % 1024) as f64 / 2048.0)
}

/// Hears whether a list of a server becomes another, in every way in which the server can say so.
struct Changes<'a> {
    /// Ends with a change: whether the server said so.
    heard: Pin<Box<dyn Future<Output = bool> + Send + 'a>>,
    /// Ends when each of the ways is open, or known to be none.
    opening: mpsc::Receiver<Infallible>,
    /// That has ended.
    is_open: bool,
    changed: bool,
    /// The server said that something changed, and did not just stop to speak.
    told: bool,
}

/// What a server is asked again for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A list is another, or may be.
    Changed,
    /// It can be heard only now: what has changed since it was asked, it had nobody to tell.
    Opened,
}

impl<'a> Changes<'a> {
    fn new(upstream: &'a Upstream, tongues: &'a [Tongue]) -> Self {
        let (open, opening) = mpsc::channel(1);
        let ways = tongues
            .iter()
            .map(|tongue| Box::pin(listen(upstream, tongue, open.clone())));
        let heard = select_all(ways.collect::<Vec<_>>());
        Self {
            heard: Box::pin(async { heard.await.0 }),
            opening,
            is_open: false,
            changed: false,
            told: false,
        }
    }

    /// Begins to listen.
    async fn listen(&mut self) {
        tokio::select! {
            told = &mut self.heard => self.note(told),
            _ = self.opening.recv() => self.is_open = true,
            // Some servers begin their answer with the first change. They are heard from when it comes.
            () = sleep(LISTEN_TIMEOUT) => {}
        }
    }

    /// Listens while something else is done.
    async fn notice_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                told = &mut self.heard, if !self.changed => self.note(told),
            }
        }
    }

    /// Waits for what is a reason to ask again: for ever, if the server has no way to tell.
    async fn wait(&mut self) -> Next {
        if self.changed {
            return Next::Changed;
        }
        tokio::select! {
            biased;
            told = &mut self.heard => {
                self.note(told);
                Next::Changed
            }
            _ = self.opening.recv(), if !self.is_open => {
                self.is_open = true;
                Next::Opened
            }
        }
    }

    fn note(&mut self, told: bool) {
        self.changed = true;
        self.told = told;
    }
}

/// Listens in one way; lets go of `opening` when that is open. Whether the server said that something changed.
async fn listen(upstream: &Upstream, tongue: &Tongue, opening: mpsc::Sender<Infallible>) -> bool {
    let mut request = match tongue {
        Tongue::Legacy(_) => {
            let mut request = Request::new(Full::default());
            *request.method_mut() = Method::GET;
            let accept = HeaderValue::from_static("text/event-stream");
            request.headers_mut().insert(header::ACCEPT, accept);
            request
        }
        Tongue::Modern => {
            let wanted = serde_json::json!({
                "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
            });
            ask::modern("subscriptions/listen", serde_json::json!({ "notifications": wanted }))
        }
    };
    *request.uri_mut() = ask::path(upstream);
    tongue.identify(request.headers_mut());
    match heard(upstream, tongue, request, opening).await {
        Some(told) => told,
        // It does not tell: it is asked now and then.
        None => std::future::pending().await,
    }
}

/// `Some` when a list has changed, or may have: whether the server said so; `None` when that cannot be heard.
async fn heard(
    upstream: &Upstream,
    tongue: &Tongue,
    mut request: Request<Full<bytes::Bytes>>,
    opening: mpsc::Sender<Infallible>,
) -> Option<bool> {
    request.extensions_mut().insert(Behalf::Agent);
    let endpoint = tongue.endpoint(upstream)?;
    let response = upstream.ask(&endpoint, Payer::Agent, request).await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    // A stream of the modern era begins with an acknowledgement.
    let mut opening = Some(opening).filter(|_| matches!(tongue, Tongue::Modern));
    let mut body = response.into_body().without_call_deadline();
    let mut parser = Parser::new(MAX_ANSWER_BYTES, Payer::Agent);
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.ok()?.into_data() else { continue };
        parser.feed(&chunk);
        for event in parser.by_ref() {
            let Some(data) = event.ok()?.data else { continue };
            drop(opening.take());
            let method = Peek::new(&data)
                .ok()
                .and_then(|message| message.method.map(|method| method.into_owned()));
            if method.is_some_and(|method| method.starts_with("notifications/") && method.ends_with("/list_changed")) {
                return Some(true);
            }
        }
    }
    // The server ended the stream: what it had to say since is not known.
    sleep(MIN_INTERVAL * 5).await;
    Some(false)
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
