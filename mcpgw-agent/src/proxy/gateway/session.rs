//! Sessions at the gateway: what is open at servers on behalf of one client.
//!
//! A client's session id is sealed and says all that a session needs to begin with, so that nothing is lost when
//! the agent starts anew. What is kept here is what a server has of it: it is opened on first use, and again when
//! it was forgotten.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use serde_json::{json, value::RawValue};
use tokio::{sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    limits::{MAX_CALLS_PER_SESSION, MAX_ENDED, MAX_SESSIONS, MAX_SESSIONS_PER_OWNER, OPEN_TIMEOUT, SESSION_IDLE},
    link::{Facts, Link, LinkError, Voice},
    listens::Listens,
    stream::Outlet,
};
use crate::{
    mcp::seal::{Nonce, Owner},
    resources::ObjectName,
    upstream::Upstream,
};

/// Finds a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A client's own: by the nonce of its sealed id.
    Own(Nonce),
    /// That of all callers of an owner that have none.
    Shared(Owner),
}

/// One client's session.
pub(super) struct Session {
    pub(super) key: Key,
    pub(super) owner: Owner,
    /// What servers are told about the client.
    pub(super) facts: Facts,
    /// On whose behalf it speaks.
    pub(super) voice: Voice,
    /// Used by every caller of the owner that has no session of its own, so that ids of requests may repeat.
    pub(super) shared: bool,
    /// Seconds since the agent's start.
    used: AtomicU64,
    links: Mutex<HashMap<ObjectName, Arc<Place>>>,
    calls: Mutex<HashMap<Box<str>, Cancel>>,
    questions: Mutex<HashMap<Box<str>, oneshot::Sender<Bytes>>>,
    next_question: AtomicU64,
    level: Mutex<Option<Box<RawValue>>>,
    /// The stream on which the client hears what nobody asked for.
    pub(super) outlet: Outlet,
    /// What it listens to at servers that know no sessions.
    pub(super) listens: Listens,
}

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
}

/// The session at one server, or the place where one will be: whoever comes first opens it, the others wait.
#[derive(Default)]
struct Place(tokio::sync::Mutex<Option<Arc<Link>>>);

impl Session {
    fn new(key: Key, owner: Owner, facts: Facts) -> Self {
        Self {
            key,
            owner,
            facts,
            voice: Voice::default(),
            shared: matches!(key, Key::Shared(_)),
            used: AtomicU64::default(),
            links: Mutex::default(),
            calls: Mutex::default(),
            questions: Mutex::default(),
            next_question: AtomicU64::default(),
            level: Mutex::default(),
            outlet: Outlet::default(),
            listens: Listens::default(),
        }
    }

    /// The session at a server, opened if it is not; anew, with the same subscriptions, where the server is another
    /// than it was, or is no longer at the address that had the session.
    pub(super) async fn link(&self, upstream: &Arc<Upstream>) -> Result<Arc<Link>, LinkError> {
        let place = Arc::clone(lock(&self.links).entry(upstream.server().name.clone()).or_default());
        let mut link = place.0.lock().await;
        match &*link {
            Some(link) if link.is_of(upstream) => return Ok(Arc::clone(link)),
            _ => {}
        }
        let lost = link.take();
        let opening = timeout(
            OPEN_TIMEOUT,
            Link::open(Arc::clone(upstream), &self.facts, self.voice.clone(), self.owner),
        );
        let opened = Arc::new(opening.await.map_err(|_| LinkError::Timeout)??);
        let level = lock(&self.level).clone();
        if let Some(level) = level
            && let Err(error) = opened
                .ask("logging/setLevel", serde_json::json!({ "level": level }))
                .await
        {
            tracing::debug!(server = %opened.server(), %error, "the logging level could not be set");
        }
        if let Some(lost) = lost {
            subscribe_again(&opened, &lost).await?;
        }
        self.outlet.attach(&opened);
        *link = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// The session at a server that lost `lost`: a new one, with the same subscriptions.
    pub(super) async fn reopen(&self, upstream: &Arc<Upstream>, lost: &Arc<Link>) -> Result<Arc<Link>, LinkError> {
        let place = lock(&self.links).get(&upstream.server().name).cloned();
        if let Some(place) = place {
            let mut link = place.0.lock().await;
            // Another call may have noticed first.
            if link.as_ref().is_some_and(|link| Arc::ptr_eq(link, lost)) {
                *link = None;
            }
        }
        let link = self.link(upstream).await?;
        subscribe_again(&link, lost).await?;
        Ok(link)
    }

    /// The session at a server, where one is open.
    pub(super) fn open_link(&self, server: &ObjectName) -> Option<Arc<Link>> {
        lock(&self.links).get(server)?.0.try_lock().ok()?.clone()
    }

    /// Every session that is open at a server now. One that is being opened is none yet: nobody waits for it here.
    pub(super) fn open_links(&self) -> Vec<Arc<Link>> {
        let links = lock(&self.links);
        links
            .values()
            .filter_map(|place| place.0.try_lock().ok()?.clone())
            .collect()
    }

    /// Remembers the logging level that the client wants, for the servers that are still to be opened.
    pub(super) fn set_level(&self, level: &RawValue) {
        *lock(&self.level) = Some(level.to_owned());
    }

    /// Notes a call that can be cancelled by the id of its request, until the note is dropped. Where too many
    /// calls are waiting it is not noted, and cannot be cancelled.
    pub(super) fn begin(self: &Arc<Self>, id: &RawValue, cancel: Cancel) -> Option<InFlight> {
        // Callers that share a session cannot be told apart, so that none may cancel.
        if self.shared {
            return None;
        }
        let mut calls = lock(&self.calls);
        if calls.len() >= MAX_CALLS_PER_SESSION {
            return None;
        }
        calls.insert(id.get().into(), cancel);
        drop(calls);
        Some(InFlight {
            session: Arc::clone(self),
            id: id.get().into(),
        })
    }

    /// Cancels a call.
    pub(super) async fn cancel(&self, id: &RawValue) {
        let cancel = lock(&self.calls).get(id.get()).cloned();
        match cancel {
            Some(Cancel::Token(token)) => token.cancel(),
            Some(Cancel::Notice { link, id }) => {
                let Some(link) = link.upgrade() else { return };
                let params = json!({ "requestId": id });
                let message = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
                if let Err(error) = link.notify(message.to_string().into()).await {
                    tracing::debug!(server = %link.server(), %error, "a call could not be cancelled");
                }
            }
            None => {}
        }
    }

    /// An id for a question to the client, and its answer when there is one.
    pub(super) fn ask(self: &Arc<Self>) -> (Question, oneshot::Receiver<Bytes>) {
        let number = self.next_question.fetch_add(1, Ordering::Relaxed);
        let text = format!("mcpgw-{number}");
        let (sender, answer) = oneshot::channel();
        // As ids are compared: as JSON.
        let id = format!("\"{text}\"");
        lock(&self.questions).insert(id.as_str().into(), sender);
        let question = Question {
            session: Arc::clone(self),
            text,
            id: id.into(),
        };
        (question, answer)
    }

    /// Gives the client's answer to whoever asked; `false` if nobody here did.
    pub(super) fn answered(&self, id: &RawValue, message: &Bytes) -> bool {
        let asked = lock(&self.questions).remove(id.get());
        asked.is_some_and(|asked| asked.send(message.clone()).is_ok())
    }

    fn touch(&self, now: u64) {
        self.used.store(now, Ordering::Relaxed);
    }
}

/// A call that waits for its answer.
pub(super) struct InFlight {
    session: Arc<Session>,
    id: Box<str>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        lock(&self.session.calls).remove(&self.id);
    }
}

/// A question to the client, which nobody waits for any more when this is dropped.
pub(super) struct Question {
    session: Arc<Session>,
    text: String,
    id: Box<str>,
}

impl Question {
    /// Its id.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        lock(&self.session.questions).remove(&self.id);
    }
}

/// All sessions of this node.
pub(super) struct Sessions {
    started: Instant,
    open: RwLock<HashMap<Key, Arc<Session>>>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            open: RwLock::default(),
        }
    }
}

impl Sessions {
    /// The session with this key; `make` tells the facts of one that is not open.
    pub(super) fn get(&self, key: Key, owner: Owner, make: impl FnOnce() -> Facts) -> Arc<Session> {
        let now = self.started.elapsed().as_secs();
        let known = self
            .open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        let session = known.unwrap_or_else(|| self.insert(Session::new(key, owner, make())));
        session.touch(now);
        session
    }

    fn insert(&self, session: Session) -> Arc<Session> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(&session.key) {
            return Arc::clone(known);
        }
        let of_owner = |other: &&Arc<Session>| other.owner == session.owner;
        if open.values().filter(of_owner).count() >= MAX_SESSIONS_PER_OWNER {
            forget_oldest(&mut open, |other| other.owner == session.owner);
        } else if open.len() >= MAX_SESSIONS {
            forget_oldest(&mut open, |_| true);
        }
        let session = Arc::new(session);
        open.insert(session.key, Arc::clone(&session));
        session
    }

    /// Forgets a session and ends what it has open at servers.
    pub(super) fn end(&self, key: &Key) {
        let ended = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        ended.into_iter().for_each(close);
    }

    /// Forgets the sessions that were not used for long.
    pub(super) fn sweep(&self) {
        let now = self.started.elapsed().as_secs();
        let is_idle = |session: &Session| {
            let unused = now.saturating_sub(session.used.load(Ordering::Relaxed));
            unused > SESSION_IDLE.as_secs() && !session.outlet.is_open() && lock(&session.calls).is_empty()
        };
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let idle: Vec<Key> = open
            .values()
            .filter(|session| is_idle(session))
            .map(|session| session.key)
            .collect();
        let ended: Vec<Arc<Session>> = idle.iter().filter_map(|key| open.remove(key)).collect();
        drop(open);
        ended.into_iter().for_each(close);
    }
}

fn forget_oldest(open: &mut HashMap<Key, Arc<Session>>, among: impl Fn(&Session) -> bool) {
    let oldest = open
        .values()
        .filter(|session| among(session))
        .min_by_key(|session| session.used.load(Ordering::Relaxed))
        .map(|session| session.key);
    oldest.and_then(|key| open.remove(&key)).into_iter().for_each(close);
}

/// Ends what a session has open at servers, in the background.
fn close(session: Arc<Session>) {
    session.outlet.close();
    // Sessions end within the runtime that serves them.
    tokio::spawn(async move {
        for link in session.open_links() {
            link.close().await;
        }
    });
}

/// Subscribes to what was subscribed to in a session that is lost.
async fn subscribe_again(link: &Link, lost: &Link) -> Result<(), LinkError> {
    for uri in lost.subscriptions() {
        link.ask("resources/subscribe", serde_json::json!({ "uri": uri }))
            .await?;
        link.subscribed(&uri, true);
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sessions that their clients ended, as long as their ids could still be used. Of too many the oldest are
/// forgotten.
#[derive(Default)]
pub(super) struct Ended(Mutex<(HashSet<Nonce>, VecDeque<Nonce>)>);

impl Ended {
    /// Remembers that a session was ended.
    pub(super) fn insert(&self, key: Nonce) {
        let (keys, order) = &mut *lock(&self.0);
        if !keys.insert(key) {
            return;
        }
        order.push_back(key);
        if order.len() > MAX_ENDED
            && let Some(oldest) = order.pop_front()
        {
            keys.remove(&oldest);
        }
    }

    /// Whether a session was ended.
    pub(super) fn contains(&self, key: &Nonce) -> bool {
        lock(&self.0).0.contains(key)
    }
}
