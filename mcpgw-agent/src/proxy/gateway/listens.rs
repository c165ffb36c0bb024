//! What a session listens to at modern servers, for a legacy client that subscribed there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::{sync::oneshot, time::sleep};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};

use super::{
    super::subscribed::Subscribed,
    hearing::Hearing,
    limits::RETRY,
    session::Session,
    updates::{Listener, Subscription},
};
use crate::resources::ObjectName;

/// What a session listens to at modern servers, for a legacy client that subscribed there.
#[derive(Default)]
pub(super) struct Listens(Mutex<HashMap<ObjectName, Listening>>);

struct Listening {
    subscribed: Subscribed,
    /// Whose token lasts longest, of those who wanted it: it is listened to for no longer.
    hearing: Option<Arc<Hearing>>,
    /// Which change of that is the last.
    changes: u64,
    /// Which of them is listened to.
    taken: u64,
    task: Option<DropGuard>,
    /// Tries to listen for as long as another token is good.
    renewal: Option<AbortOnDropHandle<()>>,
}

impl Listening {
    fn new(subscribed: Subscribed) -> Self {
        Self {
            subscribed,
            hearing: None,
            changes: 0,
            taken: 0,
            task: None,
            renewal: None,
        }
    }

    /// Notes another change.
    fn change(&mut self) {
        self.changes += 1;
        if self.subscribed.uris().is_empty() {
            self.taken = self.changes;
            (self.task, self.renewal) = (None, None);
        }
    }

    /// Notes that a resource is wanted no more.
    fn leave(&mut self, uri: &str) {
        self.subscribed.remove(uri);
        self.change();
    }

    /// Whether what is wanted is listened to.
    fn is_current(&self) -> bool {
        self.taken == self.changes
    }

    /// For whom it is listened to, where this one wants it too; `true` beside one for whom it was not before.
    fn lasting(&mut self, wants: &Arc<Hearing>) -> (Arc<Hearing>, bool) {
        match &self.hearing {
            Some(hearing) if !wants.outlasts(hearing) => (Arc::clone(hearing), false),
            _ => (Arc::clone(self.hearing.insert(Arc::clone(wants))), true),
        }
    }

    /// Takes over what listens as of this change. Servers take subscriptions in any order: one that is older than what
    /// is listened to ends.
    fn take(&mut self, change: u64, task: DropGuard) {
        if change > self.taken {
            self.taken = change;
            self.task = Some(task);
        }
    }
}

impl Listens {
    /// Adds a resource; what changes from then on is heard. Why not, where the server does not take it.
    pub(super) async fn add(
        &self,
        session: &Arc<Session>,
        server: &ObjectName,
        uri: &str,
        hearing: &Arc<Hearing>,
    ) -> Result<(), String> {
        let was_there = {
            let mut listens = self.lock();
            let listening = at(&mut listens, session, server);
            let was_there = listening.subscribed.contains(uri);
            listening.subscribed.add(uri).map_err(|full| full.to_string())?;
            listening.change();
            was_there
        };
        let taken = self.listen(session, server, hearing).await;
        // What was subscribed to before stays so.
        if taken.is_err() && !was_there {
            at(&mut self.lock(), session, server).leave(uri);
        }
        taken
    }

    /// Takes a resource away.
    pub(super) async fn remove(&self, session: &Arc<Session>, server: &ObjectName, uri: &str, hearing: &Arc<Hearing>) {
        let left = {
            let mut listens = self.lock();
            let there = listens.get_mut(server);
            // What was not subscribed to changes nothing.
            let Some(listening) = there.filter(|listening| listening.subscribed.contains(uri)) else {
                return;
            };
            listening.leave(uri);
            !listening.subscribed.uris().is_empty()
        };
        if left && let Err(why) = self.listen(session, server, hearing).await {
            tracing::debug!(why, "a subscription could not be made smaller");
        }
    }

    /// Has all that is wanted listened to for as long as this token is good, if that is longer than before, or if the
    /// server did not take what was wanted last: the client opens its stream with it.
    pub(super) fn renew(session: &Arc<Session>, hearing: &Arc<Hearing>) {
        let mut listens = session.listens.lock();
        for (server, listening) in listens.iter_mut() {
            if listening.subscribed.uris().is_empty() {
                continue;
            }
            let (hearing, is_longer) = listening.lasting(hearing);
            if !is_longer && listening.is_current() {
                continue;
            }
            listening.change();
            let (server, change, session) = (server.clone(), listening.changes, Arc::downgrade(session));
            let renewal = tokio::spawn(async move {
                let renewing = Self::listen_again(&session, &server, change, &hearing);
                hearing.while_it_lasts(renewing).await;
            });
            listening.renewal = Some(AbortOnDropHandle::new(renewal));
        }
    }

    /// Listens as of a change, or of a later one, as soon as the server takes that. A later one that it refuses leaves this
    /// one to be asked for still.
    async fn listen_again(session: &Weak<Session>, server: &ObjectName, change: u64, hearing: &Arc<Hearing>) {
        let mut pause = RETRY.0;
        while let Some(session) = session.upgrade() {
            if session.listens.taken(server) >= change {
                return;
            }
            match session.listens.listen(&session, server, hearing).await {
                Ok(()) => return,
                Err(why) => tracing::debug!(%server, why, "a subscription could not be renewed"),
            }
            drop(session);
            sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// As of which change a server is listened to.
    fn taken(&self, server: &ObjectName) -> u64 {
        self.lock().get(server).map_or(0, |listening| listening.taken)
    }

    /// Listens to what is wanted now. What was listened to before goes on until this is taken: in between nothing
    /// is missed, and something may be told twice.
    async fn listen(&self, session: &Arc<Session>, server: &ObjectName, hearing: &Arc<Hearing>) -> Result<(), String> {
        let stop = CancellationToken::new();
        let (uris, change, hearing) = {
            let mut listens = self.lock();
            let listening = at(&mut listens, session, server);
            let (hearing, _) = listening.lasting(hearing);
            let uris = listening.subscribed.uris().iter().map(ToString::to_string).collect();
            (uris, listening.changes, hearing)
        };
        let subscription = Subscription {
            server: server.clone(),
            uris,
            tasks: Vec::new(),
            payer: session.payer,
            behalf: session.voice.behalf(),
            hearing: Arc::clone(&hearing),
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
            task.run_until_cancelled(hearing.while_it_lasts(following)).await;
        });
        let stop = stop.drop_guard();
        taken
            .await
            .unwrap_or_else(|_| Err("the subscription ended".to_owned()))?;
        if let Some(listening) = self.lock().get_mut(server) {
            listening.take(change, stop);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectName, Listening>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is listened to at a server.
fn at<'l>(
    listens: &'l mut HashMap<ObjectName, Listening>,
    session: &Session,
    server: &ObjectName,
) -> &'l mut Listening {
    let place = listens.entry(server.clone());
    place.or_insert_with(|| Listening::new(session.none_subscribed()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{proxy::subscribed, shares::Payer};

    /// To one resource.
    fn listening() -> Listening {
        let mut subscribed = Subscribed::new(2, subscribed::room().none(Payer::Agent));
        subscribed.add("a").unwrap();
        Listening::new(subscribed)
    }

    /// What would listen as of the last change, and whether it does.
    fn listen(listening: &Listening) -> (u64, DropGuard, CancellationToken) {
        let token = CancellationToken::new();
        (listening.changes, token.clone().drop_guard(), token)
    }

    #[test]
    fn of_two_subscriptions_the_one_that_was_asked_for_last_stays_whichever_is_taken_first() {
        for later_first in [true, false] {
            let mut listening = listening();
            listening.change();
            let (earlier, guard, token) = listen(&listening);
            listening.subscribed.add("b").unwrap();
            listening.change();
            let (later, later_guard, later_token) = listen(&listening);
            if later_first {
                listening.take(later, later_guard);
                listening.take(earlier, guard);
            } else {
                listening.take(earlier, guard);
                listening.take(later, later_guard);
            }
            assert!(token.is_cancelled() && !later_token.is_cancelled(), "{later_first}");
        }
    }

    #[test]
    fn what_is_taken_after_its_last_resource_was_taken_away_ends() {
        let mut listening = listening();
        listening.change();
        let (change, guard, token) = listen(&listening);
        listening.subscribed.remove("a");
        listening.change();
        listening.take(change, guard);
        assert!(token.is_cancelled());
    }
}
