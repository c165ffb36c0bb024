//! What a session listens to at modern servers, for a legacy client that subscribed there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    limits::MAX_SUBSCRIPTIONS,
    session::Session,
    updates::{Listener, Subscription},
};
use crate::{resources::ObjectName, upstream::Upstream};

/// What a session listens to at modern servers, for a legacy client that subscribed there.
#[derive(Default)]
pub(super) struct Listens(Mutex<HashMap<ObjectName, Listening>>);

#[derive(Default)]
struct Listening {
    uris: Vec<String>,
    task: Option<DropGuard>,
}

impl Listens {
    /// Adds a resource; what changes from then on is heard. Why not, where the server does not take it.
    pub(super) async fn add(&self, session: &Arc<Session>, upstream: Arc<Upstream>, uri: &str) -> Result<(), String> {
        let server = upstream.server().name.clone();
        {
            let mut listens = self.lock();
            let listening = listens.entry(server.clone()).or_default();
            listening.uris.retain(|known| known != uri);
            if listening.uris.len() >= MAX_SUBSCRIPTIONS {
                return Err(format!("at most {MAX_SUBSCRIPTIONS} resources can be subscribed to"));
            }
            listening.uris.push(uri.to_owned());
        }
        let taken = self.listen(session, upstream).await;
        if taken.is_err() {
            self.lock().entry(server).or_default().uris.retain(|known| known != uri);
        }
        taken
    }

    /// Takes a resource away.
    pub(super) async fn remove(&self, session: &Arc<Session>, upstream: Arc<Upstream>, uri: &str) {
        let left = {
            let mut listens = self.lock();
            let listening = listens.entry(upstream.server().name.clone()).or_default();
            listening.uris.retain(|known| known != uri);
            listening.task.take_if(|_| listening.uris.is_empty());
            !listening.uris.is_empty()
        };
        if left && let Err(why) = self.listen(session, upstream).await {
            tracing::debug!(why, "a subscription could not be made smaller");
        }
    }

    /// Listens to what is wanted now. What was listened to before goes on until this is taken: in between nothing
    /// is missed, and something may be told twice.
    async fn listen(&self, session: &Arc<Session>, upstream: Arc<Upstream>) -> Result<(), String> {
        let server = upstream.server().name.clone();
        let stop = CancellationToken::new();
        let uris = self.lock().get(&server).map(|listening| listening.uris.clone());
        let subscription = Subscription {
            upstream,
            uris: uris.unwrap_or_default(),
            session: None,
            behalf: session.voice.behalf(),
        };
        let (ready, taken) = oneshot::channel();
        let (task, listener) = (stop.clone(), Listener::Session(Arc::downgrade(session)));
        tokio::spawn(async move {
            let following = async {
                match subscription.open().await {
                    Err(why) => drop(ready.send(Err(why))),
                    Ok(updates) => {
                        let _ = ready.send(Ok(()));
                        subscription.follow(updates, &listener).await;
                    }
                }
            };
            task.run_until_cancelled(following).await;
        });
        let stop = stop.drop_guard();
        taken
            .await
            .unwrap_or_else(|_| Err("the subscription ended".to_owned()))?;
        if let Some(listening) = self.lock().get_mut(&server) {
            listening.task = Some(stop);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectName, Listening>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
