//! All sessions of this node: the one that a request names, or that it shares with others where it names none.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Instant,
};

use http::{HeaderMap, StatusCode};

use super::{
    super::refused::Refused,
    Gateway,
    limits::{MAX_ENDED, MAX_SESSIONS, MAX_SESSIONS_PER_WORKLOAD, SESSION_IDLE},
    link::Facts,
    session::{Key, Rooms, Session},
};
use crate::{
    mcp::{
        headers::MCP_SESSION_ID,
        seal::{Nonce, Owner},
    },
    proxy::now,
    shares::{Payer, Taken},
};

impl Gateway {
    /// The session that a request names; `None` if it names none. The client of a session that is over, or was
    /// never there, gets the 404 that makes it begin anew.
    pub(super) fn session_of(
        &self,
        headers: &HeaderMap,
        (owner, payer): (Owner, Payer),
        catalog: Option<&str>,
    ) -> Result<Option<Arc<Session>>, Refused> {
        let mut named = headers.get_all(MCP_SESSION_ID).iter();
        let Some(id) = named.next() else { return Ok(None) };
        if named.next().is_some() {
            let message = "More than one Mcp-Session-Id header";
            return Err(Refused::new(StatusCode::BAD_REQUEST, "ambiguous_session", message));
        }
        let opened = id
            .to_str()
            .ok()
            .and_then(|id| self.opened.open(&self.sealer, id, owner, now()).ok());
        let sealed = opened
            .filter(|sealed| sealed.catalog.as_deref() == catalog && !self.ended.contains(&sealed.nonce))
            .ok_or_else(Refused::no_session)?;
        let facts = || {
            Facts::of(
                sealed.revision.parse().ok(),
                sealed.client_info.as_deref(),
                sealed.capabilities.as_deref(),
            )
        };
        let session = self.sessions.get(Key::Own(sealed.nonce), (owner, payer), facts);
        session.map(Some).ok_or_else(Refused::no_room_for_sessions)
    }

    /// The session that callers of an owner share who have none of their own.
    pub(super) fn shared_session(&self, (owner, payer): (Owner, Payer)) -> Result<Arc<Session>, Refused> {
        let session = self
            .sessions
            .get(Key::Shared(owner), (owner, payer), Facts::of_the_gateway);
        session.ok_or_else(Refused::no_room_for_sessions)
    }

    /// Forgets a session, and ends what is open in it.
    pub(super) fn end(&self, session: &Session) {
        if let Key::Own(nonce) = session.key {
            self.ended.insert(nonce);
        }
        self.sessions.end(session);
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
            let unused = now.saturating_sub(session.used());
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
        .min_by_key(|session| session.used())
        .map(|session| (session.payer, session.key))
}

/// Ends what a session has open at servers, in the background.
fn close(session: Arc<Session>) {
    session.outlet.close();
    session.open_links().iter().for_each(|link| link.close());
}

/// Sessions that their clients ended, as long as their ids could still be used. Of too many the oldest are forgotten, and
/// all of them when the agent ends: an id that was ended is of use to its owner alone, who could as well begin anew.
#[derive(Default)]
pub(super) struct Ended(Mutex<(HashSet<Nonce>, VecDeque<Nonce>)>);

impl Ended {
    /// Remembers that a session was ended.
    pub(super) fn insert(&self, key: Nonce) {
        let (keys, order) = &mut *self.lock();
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
        self.lock().0.contains(key)
    }

    fn lock(&self) -> MutexGuard<'_, (HashSet<Nonce>, VecDeque<Nonce>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
