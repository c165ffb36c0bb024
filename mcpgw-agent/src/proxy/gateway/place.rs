//! Where the session at one server is, or will be: whoever comes first opens it, the others wait. What a server must
//! be told in every session that is opened there is kept here too.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use futures_util::{TryStreamExt, stream};
use tokio::time::timeout;

use super::{
    super::subscribed::{Full, Subscribed},
    limits::{MAX_SUBSCRIBED_AT_A_TIME, OPEN_TIMEOUT},
    link::{Link, LinkError},
    session::Session,
};
use crate::{mcp::message::Peek, upstream::Upstream};

/// The place of the session at one server.
pub(super) struct Place {
    link: ArcSwapOption<Link>,
    opening: Arc<tokio::sync::Mutex<()>>,
    /// What was subscribed to.
    subscribed: Mutex<Subscribed>,
}

impl Place {
    /// For a session that is yet to be opened.
    pub(super) fn new(none_subscribed: Subscribed) -> Self {
        Self {
            link: ArcSwapOption::empty(),
            opening: Arc::default(),
            subscribed: Mutex::new(none_subscribed),
        }
    }

    /// The session, where one is open. That another is being opened is no matter: nobody waits for it here.
    pub(super) fn open(&self) -> Option<Arc<Link>> {
        self.link.load_full()
    }

    /// The session, opened if it is not; anew where the server is another than it was, or is no longer at the address
    /// that had the session.
    pub(super) async fn link(
        self: &Arc<Self>,
        session: &Arc<Session>,
        upstream: &Arc<Upstream>,
    ) -> Result<Arc<Link>, LinkError> {
        let known = || self.open().filter(|link| link.is_of(upstream));
        if let Some(link) = known() {
            return Ok(link);
        }
        let turn = Arc::clone(&self.opening).lock_owned().await;
        if let Some(link) = known() {
            return Ok(link);
        }
        let (place, session, upstream) = (Arc::clone(self), Arc::clone(session), Arc::clone(upstream));
        // Goes on where nobody waits for it any more: what the server was asked for is then there for the next who
        // comes, and is not left at the server by somebody who never heard its name.
        let opening = tokio::spawn(async move {
            let _turn = turn;
            let link = place.open_anew(&session, &upstream).await?;
            // Here, so that it is heard also where nobody waits for it any more.
            session.outlet.attach(&session, link.server());
            Ok(link)
        });
        opening
            .await
            .unwrap_or_else(|ended| Err(LinkError::Refused(ended.to_string())))
    }

    async fn open_anew(&self, session: &Session, upstream: &Arc<Upstream>) -> Result<Arc<Link>, LinkError> {
        self.put(None);
        let opening = timeout(OPEN_TIMEOUT, Self::opened(session, upstream));
        let link = opening.await.map_err(|_| LinkError::Timeout)??;
        let subscribing = timeout(self.time_to_subscribe(), self.subscribe_again(session, &link));
        subscribing.await.map_err(|_| LinkError::Timeout)??;
        self.put(Some(&link));
        Ok(link)
    }

    /// A new session, in which the server has been told at what level it is to log.
    async fn opened(session: &Session, upstream: &Arc<Upstream>) -> Result<Arc<Link>, LinkError> {
        let (voice, mut aside) = (session.voice.clone(), session.aside());
        let link = Link::open(Arc::clone(upstream), &session.facts, voice, session.payer, &mut aside).await?;
        if let Some(level) = session.level() {
            link.set_level(level, &mut aside).await;
        }
        Ok(link)
    }

    /// For a server to take all that was subscribed to before.
    fn time_to_subscribe(&self) -> Duration {
        let rounds = self.lock().uris().len().div_ceil(MAX_SUBSCRIBED_AT_A_TIME);
        OPEN_TIMEOUT * u32::try_from(rounds).unwrap_or(1)
    }

    /// Gives up a session that its server has lost, unless another has taken its place.
    pub(super) fn give_up(&self, lost: &Arc<Link>) {
        let lost = Some(Arc::clone(lost));
        self.link.compare_and_swap(&lost, None);
        lost.into_iter().for_each(|lost| lost.lost());
    }

    /// Whether a resource was subscribed to.
    pub(super) fn is_subscribed(&self, uri: &str) -> bool {
        self.lock().contains(uri)
    }

    /// Remembers a subscription.
    pub(super) fn subscribed(&self, uri: &str) -> Result<(), Full> {
        self.lock().add(uri)
    }

    /// Forgets one.
    pub(super) fn unsubscribed(&self, uri: &str) {
        self.lock().remove(uri);
    }

    /// Subscribes in a new session to what was subscribed to before.
    async fn subscribe_again(&self, session: &Session, link: &Arc<Link>) -> Result<(), LinkError> {
        let subscribe = async |uri: Box<str>| {
            let params = serde_json::json!({ "uri": uri });
            let answer = link.ask("resources/subscribe", params, &mut session.aside()).await?;
            if Peek::new(&answer).is_ok_and(|answer| answer.is_error()) {
                tracing::debug!(server = %link.server(), %uri, "a resource can no longer be subscribed to");
                self.unsubscribed(&uri);
            }
            Ok(())
        };
        let uris = self.lock().uris().to_vec();
        stream::iter(uris.into_iter().map(Ok))
            .try_for_each_concurrent(MAX_SUBSCRIBED_AT_A_TIME, subscribe)
            .await
    }

    fn put(&self, link: Option<&Arc<Link>>) {
        let before = self.link.swap(link.cloned());
        before.into_iter().for_each(|before| before.replaced());
    }

    fn lock(&self) -> MutexGuard<'_, Subscribed> {
        self.subscribed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
