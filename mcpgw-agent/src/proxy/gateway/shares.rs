//! Resources at servers with sessions, for modern clients. Those of one owner share a session, and so its one stream:
//! what is heard on it goes to all of them, and each takes what it asked for. A resource is subscribed to while
//! somebody wants to hear of it.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    decline::decline,
    hear::{Ear, hear},
    limits::{MAX_SUBSCRIPTIONS, SHARE_QUEUE},
    link::Link,
    session::Session,
};
use crate::{
    mcp::{Kind, message::Peek, method::Method, sse::Event},
    resources::ObjectName,
    upstream::Upstreams,
};

/// The streams of one session that several clients share, by server.
#[derive(Default)]
pub(super) struct Shares(Mutex<HashMap<ObjectName, Weak<Share>>>);

impl Shares {
    /// The stream of a server. It lasts as long as somebody has it.
    pub(super) fn of(&self, session: &Arc<Session>, upstreams: &Arc<Upstreams>, server: &ObjectName) -> Arc<Share> {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(server).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Share::new(session, upstreams, server);
        shares.insert(server.clone(), Arc::downgrade(&share));
        share
    }

    /// Hears something that a server said in the session, but on no stream of its own.
    pub(super) fn hear(&self, link: &Arc<Link>, message: &Bytes) {
        let shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let share = shares.get(link.server()).and_then(Weak::upgrade);
        drop(shares);
        heard(link, message, share.as_ref().map(|share| &share.updates));
    }
}

/// The one stream of a session at a server, and what its listeners want to hear there.
pub(super) struct Share {
    session: Arc<Session>,
    upstreams: Arc<Upstreams>,
    server: ObjectName,
    /// How many want to hear of each resource.
    wanted: Mutex<HashMap<Box<str>, usize>>,
    /// Subscriptions change one after the other.
    turn: tokio::sync::Mutex<()>,
    updates: broadcast::Sender<Arc<str>>,
    hearing: watch::Receiver<Hearing>,
    _task: AbortOnDropHandle<()>,
}

/// Whether the server can be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    NotYet,
    Yes,
    Never,
}

impl Share {
    fn new(session: &Arc<Session>, upstreams: &Arc<Upstreams>, server: &ObjectName) -> Arc<Self> {
        let updates = broadcast::Sender::new(SHARE_QUEUE);
        let (says, hearing) = watch::channel(Hearing::NotYet);
        let mut all = All {
            updates: updates.clone(),
            says,
        };
        let (of, from, at) = (Arc::clone(session), Arc::clone(upstreams), server.clone());
        let task = tokio::spawn(async move {
            hear(&of, || from.get(&at), &mut all).await;
            all.says.send_replace(Hearing::Never);
        });
        Arc::new(Self {
            session: Arc::clone(session),
            upstreams: Arc::clone(upstreams),
            server: server.clone(),
            wanted: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            updates,
            hearing,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Subscribes to resources. What changes from now on is heard, of those that the server took; why none, where it
    /// took none of them.
    pub(super) async fn listen(self: Arc<Self>, uris: &[String]) -> Result<Listening, String> {
        let updates = self.updates.subscribe();
        let asked: Vec<Interest> = uris.iter().filter_map(|uri| Interest::new(&self, uri)).collect();
        let mut taken = HashMap::new();
        {
            let _turn = self.turn.lock().await;
            for interest in asked {
                if self.is_subscribed(&interest.uri) || self.ask("resources/subscribe", &interest.uri).await? {
                    match self.session.subscribed(&self.server, &interest.uri) {
                        Ok(()) => drop(taken.insert(interest.uri.clone(), interest)),
                        // What is not kept could not be subscribed to again.
                        Err(_) => drop(self.ask("resources/unsubscribe", &interest.uri).await?),
                    }
                }
            }
        }
        let mut hearing = self.hearing.clone();
        let heard = hearing.wait_for(|hearing| *hearing != Hearing::NotYet).await;
        match heard.map(|heard| *heard) {
            Ok(Hearing::Yes) => Ok(Listening { taken, updates }),
            _ => Err("it says nothing unasked".to_owned()),
        }
    }

    /// Whose stream it is.
    pub(super) fn server(&self) -> &ObjectName {
        &self.server
    }

    fn is_subscribed(&self, uri: &str) -> bool {
        self.session.is_subscribed(&self.server, uri)
    }

    /// Asks the server for something about a resource; whether it did it.
    async fn ask(&self, method: &str, uri: &str) -> Result<bool, String> {
        let upstream = self.upstreams.get(&self.server).ok_or("it is no longer there")?;
        let params = serde_json::json!({ "uri": uri });
        let answer = self.session.ask_server(&upstream, method, params).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let answer = Peek::new(&answer).map_err(|error| error.to_string())?;
        Ok(!answer.is_error())
    }

    /// Nobody wants to hear of a resource any more, unless somebody does again.
    async fn leave(&self, uri: &str) {
        let _turn = self.turn.lock().await;
        if self.wanted().contains_key(uri) || !self.is_subscribed(uri) {
            return;
        }
        self.session.unsubscribed(&self.server, uri);
        if let Err(why) = self.ask("resources/unsubscribe", uri).await {
            tracing::debug!(server = %self.server, why, "a subscription could not be ended");
        }
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<Box<str>, usize>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That somebody wants to hear of a resource.
struct Interest {
    share: Arc<Share>,
    uri: Box<str>,
}

impl Interest {
    /// `None` where too many resources are wanted.
    fn new(share: &Arc<Share>, uri: &str) -> Option<Self> {
        let mut wanted = share.wanted();
        if !wanted.contains_key(uri) && wanted.len() >= MAX_SUBSCRIPTIONS {
            return None;
        }
        *wanted.entry(uri.into()).or_default() += 1;
        drop(wanted);
        Some(Self {
            share: Arc::clone(share),
            uri: uri.into(),
        })
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut wanted = self.share.wanted();
        if let Some(count) = wanted.get_mut(&self.uri) {
            *count -= 1;
            if *count > 0 {
                return;
            }
        }
        wanted.remove(&self.uri);
        drop(wanted);
        if let Ok(runtime) = Handle::try_current() {
            let (share, uri) = (Arc::clone(&self.share), std::mem::take(&mut self.uri));
            runtime.spawn(async move { share.leave(&uri).await });
        }
    }
}

/// What one client listens to. Dropped, it listens no more.
pub(super) struct Listening {
    taken: HashMap<Box<str>, Interest>,
    updates: broadcast::Receiver<Arc<str>>,
}

impl Listening {
    /// The resources that it hears of.
    pub(super) fn uris(&self) -> impl Iterator<Item = &str> {
        self.taken.keys().map(|uri| &**uri)
    }

    /// Which resources changed; nothing where the server is no longer listened to.
    pub(super) async fn next(&mut self) -> Vec<Arc<str>> {
        loop {
            match self.updates.recv().await {
                Ok(uri) if self.taken.contains_key(&*uri) => return vec![uri],
                Ok(_) => {}
                // Some updates went by unheard: any resource may be another.
                Err(RecvError::Lagged(_)) => return self.taken.keys().map(|uri| Arc::from(&**uri)).collect(),
                Err(RecvError::Closed) => return Vec::new(),
            }
        }
    }
}

/// Hears for all who listen.
struct All {
    updates: broadcast::Sender<Arc<str>>,
    says: watch::Sender<Hearing>,
}

impl Ear for All {
    fn opened(&mut self) {
        self.says.send_replace(Hearing::Yes);
    }

    async fn hear(&mut self, link: &Arc<Link>, event: Event) -> ControlFlow<()> {
        if let Some(message) = event.data {
            heard(link, &message, Some(&self.updates));
        }
        ControlFlow::Continue(())
    }
}

/// Passes on which resource changed, if somebody listens; what the server asks, no client can be asked.
fn heard(link: &Arc<Link>, message: &Bytes, updates: Option<&broadcast::Sender<Arc<str>>>) {
    let Ok(message) = Peek::new(message) else { return };
    match (message.kind, message.method.as_deref()) {
        (Kind::Request, _) => decline(link, &message),
        (Kind::Notification, Some(method)) if Method::of(method) == Method::ResourceUpdated => {
            let uri = message.params().ok().and_then(|params| params.uri?.text());
            if let (Some(uri), Some(updates)) = (uri, updates) {
                // Whether anybody listens is their matter.
                let _ = updates.send(Arc::from(&*uri));
            }
        }
        _ => {}
    }
}
