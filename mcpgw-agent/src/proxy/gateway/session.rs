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
use tokio::sync::oneshot;

use super::{
    super::subscribed::{self, Full, Subscribed},
    aside::Aside,
    calls::Calls,
    limits::{
        MAX_ENDED, MAX_NOTICES, MAX_NOTICES_PER_WORKLOAD, MAX_ORPHANS, MAX_ORPHANS_PER_WORKLOAD, MAX_SESSIONS,
        MAX_SESSIONS_PER_WORKLOAD, MAX_SUBSCRIPTIONS, SESSION_IDLE,
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
    shares::{self, Payer, Taken},
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

/// What all sessions share, and of which none of them can take all.
#[derive(Clone)]
pub(super) struct Rooms {
    /// For calls that go on without their clients.
    pub(super) orphans: shares::Shares,
    /// For telling servers of calls whose clients went away.
    pub(super) notices: shares::Shares,
    /// For what is subscribed to.
    pub(super) subscribed: shares::Shares,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            orphans: shares::Shares::new(MAX_ORPHANS, MAX_ORPHANS_PER_WORKLOAD),
            notices: shares::Shares::new(MAX_NOTICES, MAX_NOTICES_PER_WORKLOAD),
            subscribed: subscribed::room(),
        }
    }
}

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
    pub(super) rooms: Rooms,
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
    fn new(key: Key, owner: Owner, payer: Payer, facts: Facts, rooms: Rooms) -> Self {
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
            rooms,
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
        self.place(&upstream.server().name).link(self, upstream).await
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
        let answer = link.ask(method, params.clone(), &mut self.aside()).await;
        let is_lost = match &answer {
            Ok(answer) => Peek::new(answer).is_ok_and(|answer| answer.is_error()) && link.is_lost().await,
            Err(error) => link.lost_by(error),
        };
        match is_lost {
            true => {
                let link = self.reopen(upstream, &link).await?;
                link.ask(method, params, &mut self.aside()).await
            }
            false => answer,
        }
    }

    /// Hears what a server says while it answers the gateway.
    pub(super) fn aside(&self) -> Aside<'_> {
        Aside::of(self)
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
        let place = lock(&self.places).get(server).cloned();
        place.is_some_and(|place| place.is_subscribed(uri))
    }

    /// Remembers a subscription at a server.
    pub(super) fn subscribed(&self, server: &ObjectName, uri: &str) -> Result<(), Full> {
        self.place(server).subscribed(uri)
    }

    /// Forgets one.
    pub(super) fn unsubscribed(&self, server: &ObjectName, uri: &str) {
        let place = lock(&self.places).get(server).cloned();
        place.into_iter().for_each(|place| place.unsubscribed(uri));
    }

    /// To nothing yet, with a share of its own.
    pub(super) fn none_subscribed(&self) -> Subscribed {
        Subscribed::new(MAX_SUBSCRIPTIONS, self.rooms.subscribed.none(self.payer))
    }

    fn place(&self, server: &ObjectName) -> Arc<Place> {
        let mut places = lock(&self.places);
        let place = places.entry(server.clone());
        Arc::clone(place.or_insert_with(|| Arc::new(Place::new(self.none_subscribed()))))
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
    open: RwLock<Open>,
    pub(super) rooms: Rooms,
}

/// The sessions that are open. Those of one workload lie together, so that one that opens many has its own looked
/// through for it, and no others.
#[derive(Default)]
struct Open {
    by_payer: HashMap<Payer, HashMap<Key, Arc<Session>>>,
    /// How many there are in all.
    count: usize,
}

impl Open {
    fn get(&self, payer: Payer, key: &Key) -> Option<&Arc<Session>> {
        self.by_payer.get(&payer)?.get(key)
    }

    fn of(&self, payer: Payer) -> impl Iterator<Item = &Arc<Session>> {
        self.by_payer.get(&payer).into_iter().flat_map(HashMap::values)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.by_payer.values().flat_map(HashMap::values)
    }

    fn has_room(&self, payer: Payer) -> Result<(), Taken> {
        let own = self.by_payer.get(&payer).map_or(0, HashMap::len);
        if own >= MAX_SESSIONS_PER_WORKLOAD {
            Err(Taken::ByOwner)
        } else if self.count >= MAX_SESSIONS {
            Err(Taken::ByAll)
        } else {
            Ok(())
        }
    }

    fn insert(&mut self, session: Arc<Session>) {
        let own = self.by_payer.entry(session.payer).or_default();
        if own.insert(session.key, session).is_none() {
            self.count += 1;
        }
    }

    fn remove(&mut self, payer: Payer, key: &Key) -> Option<Arc<Session>> {
        let own = self.by_payer.get_mut(&payer)?;
        let removed = own.remove(key)?;
        if own.is_empty() {
            self.by_payer.remove(&payer);
        }
        self.count -= 1;
        Some(removed)
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            open: RwLock::default(),
            rooms: Rooms::default(),
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
            .get(payer, &key)
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
        if let Some(known) = open.get(payer, &key) {
            return Some(Arc::clone(known));
        }
        let oldest = match open.has_room(payer) {
            Ok(()) => None,
            Err(Taken::ByOwner) => Some(oldest(open.of(payer))?),
            Err(Taken::ByAll) => Some(oldest(open.all())?),
        };
        if let Some((payer, key)) = oldest {
            open.remove(payer, &key).into_iter().for_each(close);
        }
        let session = Arc::new(Session::new(key, owner, payer, facts, self.rooms.clone()));
        open.insert(Arc::clone(&session));
        Some(session)
    }

    /// Forgets a session and ends what it has open at servers.
    pub(super) fn end(&self, session: &Session) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let ended = open.remove(session.payer, &session.key);
        drop(open);
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
        let idle = open.all().filter(|session| is_idle(session));
        let idle: Vec<(Payer, Key)> = idle.map(|session| (session.payer, session.key)).collect();
        let ended = idle.iter().filter_map(|(payer, key)| open.remove(*payer, key));
        let ended: Vec<Arc<Session>> = ended.collect();
        drop(open);
        ended.into_iter().for_each(close);
    }
}

/// Whether something goes on in a session: whoever uses it holds it.
fn is_used(session: &Arc<Session>) -> bool {
    Arc::strong_count(session) > 1 || session.outlet.is_open()
}

/// The session among these that was unused for longest; `None` where all are used.
fn oldest<'a>(among: impl Iterator<Item = &'a Arc<Session>>) -> Option<(Payer, Key)> {
    among
        .filter(|session| !is_used(session))
        .min_by_key(|session| session.used.load(Ordering::Relaxed))
        .map(|session| (session.payer, session.key))
}

/// Ends what a session has open at servers, in the background.
fn close(session: Arc<Session>) {
    session.outlet.close();
    session.open_links().iter().for_each(|link| link.close());
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
