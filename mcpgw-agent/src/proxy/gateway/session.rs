//! A session at the gateway: what is open at servers on behalf of one client.
//!
//! A client's session id is sealed and says all that a session needs to begin with, so that nothing is lost when
//! the agent starts anew. What is kept here is what a server has of it: it is opened on first use, and again when
//! it was forgotten.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{
    super::subscribed::{self, Full, Subscribed},
    aside::Aside,
    calls::Calls,
    limits::{MAX_NOTICES, MAX_NOTICES_PER_WORKLOAD, MAX_ORPHANS, MAX_ORPHANS_PER_WORKLOAD, MAX_SUBSCRIPTIONS},
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
    shares::{self, Payer},
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
    /// One in which nothing is open yet.
    pub(super) fn new(key: Key, owner: Owner, payer: Payer, facts: Facts, rooms: Rooms) -> Self {
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

    /// When it was used last, in seconds since the agent's start.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// It is used `now`, in seconds since the agent's start.
    pub(super) fn touch(&self, now: u64) {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
