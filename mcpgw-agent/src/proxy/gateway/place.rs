//! Where the session at one server is, or will be: whoever comes first opens it, the others wait. What a server must
//! be told in every session that is opened there is kept here too.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use futures_util::{TryStreamExt, stream};
use tokio::{runtime::Handle, time::timeout};

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
    opening: tokio::sync::Mutex<()>,
    /// What was subscribed to.
    subscribed: Mutex<Subscribed>,
}

/// A session that was just opened. Unless it is used it is ended at its server, which would keep it else.
struct Opened {
    link: Arc<Link>,
    is_used: bool,
}

impl Opened {
    fn used(mut self) -> Arc<Link> {
        self.is_used = true;
        Arc::clone(&self.link)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.is_used
            && let Ok(runtime) = Handle::try_current()
        {
            let link = Arc::clone(&self.link);
            runtime.spawn(async move { link.close().await });
        }
    }
}

impl Place {
    /// For a session that is yet to be opened.
    pub(super) fn new(none_subscribed: Subscribed) -> Self {
        Self {
            link: ArcSwapOption::empty(),
            opening: tokio::sync::Mutex::default(),
            subscribed: Mutex::new(none_subscribed),
        }
    }

    /// The session, where one is open. That another is being opened is no matter: nobody waits for it here.
    pub(super) fn open(&self) -> Option<Arc<Link>> {
        self.link.load_full()
    }

    /// The session, opened if it is not; anew where the server is another than it was, or is no longer at the address
    /// that had the session. `true` beside one that was not there before.
    pub(super) async fn link(
        &self,
        session: &Session,
        upstream: &Arc<Upstream>,
    ) -> Result<(Arc<Link>, bool), LinkError> {
        let known = || self.open().filter(|link| link.is_of(upstream));
        if let Some(link) = known() {
            return Ok((link, false));
        }
        let _turn = self.opening.lock().await;
        if let Some(link) = known() {
            return Ok((link, false));
        }
        self.put(None);
        let opening = timeout(OPEN_TIMEOUT, self.opened(session, upstream));
        let opened = opening.await.map_err(|_| LinkError::Timeout)??;
        let subscribing = timeout(self.time_to_subscribe(), self.subscribe_again(session, &opened.link));
        subscribing.await.map_err(|_| LinkError::Timeout)??;
        let link = opened.used();
        self.put(Some(&link));
        Ok((link, true))
    }

    /// A new session, in which the server has been told at what level it is to log.
    async fn opened(&self, session: &Session, upstream: &Arc<Upstream>) -> Result<Opened, LinkError> {
        let link = Link::open(
            Arc::clone(upstream),
            &session.facts,
            session.voice.clone(),
            session.payer,
        );
        let opened = Opened {
            link: Arc::new(link.await?),
            is_used: false,
        };
        let link = &opened.link;
        if let Some(level) = session.level()
            && let Err(error) = link
                .ask(
                    "logging/setLevel",
                    serde_json::json!({ "level": level }),
                    &mut session.aside(),
                )
                .await
        {
            tracing::debug!(server = %link.server(), %error, "the logging level could not be set");
        }
        Ok(opened)
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
        lost.into_iter().for_each(|lost| lost.replaced());
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
