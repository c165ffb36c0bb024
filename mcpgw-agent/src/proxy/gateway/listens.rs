//! What a session listens to at modern servers, for a legacy client that subscribed there.

use std::{collections::HashMap, sync::Arc};

use super::{limits::MAX_SUBSCRIPTIONS, listen::hear_modern, session::Session};
use crate::{resources::ObjectName, upstream::Upstream};

/// What a session listens to at modern servers, for a legacy client that subscribed there.
#[derive(Default)]
pub(super) struct Listens(std::sync::Mutex<HashMap<ObjectName, Listening>>);

#[derive(Default)]
struct Listening {
    uris: Vec<String>,
    task: Option<tokio_util::sync::DropGuard>,
}

impl Listens {
    /// Adds a resource or takes one away, and listens anew.
    pub(super) fn change(&self, session: &Arc<Session>, upstream: Arc<Upstream>, uri: &str, on: bool) {
        let mut listens = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let listening = listens.entry(upstream.server().name.clone()).or_default();
        listening.uris.retain(|known| known != uri);
        if on && listening.uris.len() < MAX_SUBSCRIPTIONS {
            listening.uris.push(uri.to_owned());
        }
        // The task of before ends.
        listening.task = None;
        if listening.uris.is_empty() {
            return;
        }
        let stop = tokio_util::sync::CancellationToken::new();
        listening.task = Some(stop.clone().drop_guard());
        let (uris, session) = (listening.uris.clone(), Arc::downgrade(session));
        tokio::spawn(async move {
            let hearing = async {
                let known = session.upgrade();
                let behalf = known.as_ref().and_then(|session| session.voice.behalf());
                let Some(feed) = known.and_then(|session| session.outlet.feed()) else {
                    return;
                };
                if let Err(why) = hear_modern(&upstream, &uris, behalf, &feed, None).await {
                    tracing::debug!(server = %upstream.server().name, why, "updates of resources are not heard");
                }
            };
            stop.run_until_cancelled(hearing).await;
        });
    }
}
