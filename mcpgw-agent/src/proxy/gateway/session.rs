//! Sessions at the gateway: what is open at servers on behalf of one client.
//!
//! A client's session id is sealed and says all that a session needs to begin with, so that nothing is lost when
//! the agent starts anew. What is kept here is what a server has of it: it is opened on first use, and again when
//! it was forgotten.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, oneshot};

use super::{
    calls::Calls,
    limits::{
        MAX_ENDED, MAX_NOTICES_PER_OWNER, MAX_ORPHANS_PER_OWNER, MAX_SESSIONS, MAX_SESSIONS_PER_OWNER, SESSION_IDLE,
    },
    link::{Facts, Link, LinkError, Voice},
    listens::Listens,
    place::Place,
    shares::Shares,
    stream::Outlet,
};
use crate::{
    mcp::{
        message::Peek,
        seal::{Nonce, Owner},
    },
    resources::ObjectName,
    shares::Payer,
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

/// What all sessions of an owner share: see [`Session::orphans`] and [`Session::notices`].
type Rooms = (Arc<Semaphore>, Arc<Semaphore>);

/// One client's session.
pub(super) struct Session {
    pub(super) key: Key,
    pub(super) owner: Owner,
    /// Whose share of what all have in common it takes: all its callers are of one workload.
    pub(super) payer: Payer,
    /// What servers are told about the client.
    pub(super) facts: Facts,
    /// On whose behalf it speaks.
    pub(super) voice: Voice,
    /// Used by every caller of the owner that has no session of its own, so that ids of requests may repeat.
    pub(super) shared: bool,
    /// Seconds since the agent's start.
    used: AtomicU64,
    places: Mutex<HashMap<ObjectName, Arc<Place>>>,
    pub(super) calls: Calls,
    /// For calls that go on without their clients, of all sessions of the owner.
    pub(super) orphans: Arc<Semaphore>,
    /// For telling servers of calls whose clients went away, of all sessions of the owner.
    pub(super) notices: Arc<Semaphore>,
    questions: Mutex<HashMap<Box<str>, oneshot::Sender<Bytes>>>,
    next_question: AtomicU64,
    level: Mutex<Option<Box<RawValue>>>,
    /// The stream on which the client hears what nobody asked for.
    pub(super) outlet: Outlet,
    /// What it listens to at servers that know no sessions.
    pub(super) listens: Listens,
    /// What clients that share it listen to at servers that know sessions.
    pub(super) shares: Shares,
}

impl Session {
    fn new(key: Key, owner: Owner, payer: Payer, facts: Facts, (orphans, notices): Rooms) -> Self {
        Self {
            key,
            owner,
            payer,
            facts,
            voice: Voice::default(),
            shared: matches!(key, Key::Shared(_)),
            used: AtomicU64::default(),
            places: Mutex::default(),
            calls: Calls::default(),
            orphans,
            notices,
            questions: Mutex::default(),
            next_question: AtomicU64::default(),
            level: Mutex::default(),
            outlet: Outlet::default(),
            listens: Listens::default(),
            shares: Shares::default(),
        }
    }

    /// The session at a server, opened if it is not; anew, with the same subscriptions, where the server is another
    /// than it was, or is no longer at the address that had the session.
    pub(super) async fn link(self: &Arc<Self>, upstream: &Arc<Upstream>) -> Result<Arc<Link>, LinkError> {
        let server = &upstream.server().name;
        let (link, is_new) = self.place(server).link(self, upstream).await?;
        if is_new {
            self.outlet.attach(self, server);
        }
        Ok(link)
    }

    /// The session at a server that lost `lost`: a new one, with the same subscriptions.
    pub(super) async fn reopen(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        lost: &Arc<Link>,
    ) -> Result<Arc<Link>, LinkError> {
        self.place(&upstream.server().name).give_up(lost);
        self.link(upstream).await
    }

    /// Asks a server in its session; again in a new one, where it had lost that.
    pub(super) async fn ask_server(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        method: &str,
        params: serde_json::Value,
    ) -> Result<Bytes, LinkError> {
        let link = self.link(upstream).await?;
        let answer = link.ask(method, params.clone()).await;
        let is_lost = match &answer {
            Ok(answer) => Peek::new(answer).is_ok_and(|answer| answer.is_error()) && link.is_lost().await,
            Err(error) => link.lost_by(error),
        };
        match is_lost {
            true => self.reopen(upstream, &link).await?.ask(method, params).await,
            false => answer,
        }
    }

    /// The session at a server, where one is open.
    pub(super) fn open_link(&self, server: &ObjectName) -> Option<Arc<Link>> {
        lock(&self.places).get(server)?.open()
    }

    /// Every session that is open at a server now. One that is being opened is none yet: nobody waits for it here.
    pub(super) fn open_links(&self) -> Vec<Arc<Link>> {
        lock(&self.places).values().filter_map(|place| place.open()).collect()
    }

    /// Whether a resource of a server was subscribed to.
    pub(super) fn is_subscribed(&self, server: &ObjectName, uri: &str) -> bool {
        self.place(server).is_subscribed(uri)
    }

    /// Remembers a subscription at a server, or forgets it.
    pub(super) fn subscribed(&self, server: &ObjectName, uri: &str, on: bool) {
        self.place(server).subscribed(uri, on);
    }

    fn place(&self, server: &ObjectName) -> Arc<Place> {
        Arc::clone(lock(&self.places).entry(server.clone()).or_default())
    }

    /// The logging level that the client wants.
    pub(super) fn level(&self) -> Option<Box<RawValue>> {
        lock(&self.level).clone()
    }

    /// Remembers the logging level that the client wants, for the servers that are still to be opened.
    pub(super) fn set_level(&self, level: &RawValue) {
        *lock(&self.level) = Some(level.to_owned());
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
    /// The session with this key; `make` tells the facts of one that is not open. `None` where there is no room for
    /// another, because something goes on in all that there are.
    pub(super) fn get(
        &self,
        key: Key,
        (owner, payer): (Owner, Payer),
        make: impl FnOnce() -> Facts,
    ) -> Option<Arc<Session>> {
        let now = self.started.elapsed().as_secs();
        let known = self
            .open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        let session = match known {
            Some(known) => known,
            None => self.insert(key, (owner, payer), make())?,
        };
        session.touch(now);
        Some(session)
    }

    fn insert(&self, key: Key, (owner, payer): (Owner, Payer), facts: Facts) -> Option<Arc<Session>> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(&key) {
            return Some(Arc::clone(known));
        }
        let of_owner = |other: &&Arc<Session>| other.owner == owner;
        let rooms = match open.values().find(of_owner) {
            Some(other) => (Arc::clone(&other.orphans), Arc::clone(&other.notices)),
            None => (
                Arc::new(Semaphore::new(MAX_ORPHANS_PER_OWNER)),
                Arc::new(Semaphore::new(MAX_NOTICES_PER_OWNER)),
            ),
        };
        if open.values().filter(of_owner).count() >= MAX_SESSIONS_PER_OWNER {
            forget_oldest(&mut open, |other| other.owner == owner)?;
        } else if open.len() >= MAX_SESSIONS {
            forget_oldest(&mut open, |_| true)?;
        }
        let session = Arc::new(Session::new(key, owner, payer, facts, rooms));
        open.insert(key, Arc::clone(&session));
        Some(session)
    }

    /// Forgets a session and ends what it has open at servers.
    pub(super) fn end(&self, key: &Key) {
        let ended = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        ended.into_iter().for_each(close);
    }

    /// Forgets the sessions that were not used for long.
    pub(super) fn sweep(&self) {
        let now = self.started.elapsed().as_secs();
        let is_idle = |session: &Arc<Session>| {
            let unused = now.saturating_sub(session.used.load(Ordering::Relaxed));
            unused > SESSION_IDLE.as_secs() && !is_used(session)
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

/// Whether something goes on in a session: whoever uses it holds it.
fn is_used(session: &Arc<Session>) -> bool {
    Arc::strong_count(session) > 1 || session.outlet.is_open()
}

/// Forgets the session that was unused for longest; `None` where all are used.
fn forget_oldest(open: &mut HashMap<Key, Arc<Session>>, among: impl Fn(&Session) -> bool) -> Option<()> {
    let oldest = open
        .values()
        .filter(|session| among(session) && !is_used(session))
        .min_by_key(|session| session.used.load(Ordering::Relaxed))
        .map(|session| session.key)?;
    open.remove(&oldest).map(close)
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sessions that their clients ended, as long as their ids could still be used. Of too many the oldest are forgotten, and
/// all of them when the agent ends: an id that was ended is of use to its owner alone, who could as well begin anew.
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

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
