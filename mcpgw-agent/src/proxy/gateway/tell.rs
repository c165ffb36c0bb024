//! Tells a client that its lists are others than before: because a server says so, or is another, or came or went, or
//! because of a new plan by which the client sees something else.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    watch,
};

use super::{
    hearing::Hearing,
    listen::Wanted,
    stream::Feed,
    updates::SUBSCRIPTION_ID,
    view::{Kind as ListKind, View},
};
use crate::{
    discovery::{Change, ChangeKind},
    proxy::Shared,
};

const KINDS: [ChangeKind; 3] = [ChangeKind::Tools, ChangeKind::Prompts, ChangeKind::Resources];

/// What tells the lists of a view apart from those of another, by kind of change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prints([u64; 3]);

impl Prints {
    pub(super) fn of(view: &View) -> Self {
        Self(KINDS.map(|kind| {
            let mut hasher = DefaultHasher::new();
            for list in lists(kind) {
                view.list(*list).pages().for_each(|items| items.hash(&mut hasher));
            }
            hasher.finish()
        }))
    }
}

const fn lists(kind: ChangeKind) -> &'static [ListKind] {
    match kind {
        ChangeKind::Tools => &[ListKind::Tools],
        ChangeKind::Prompts => &[ListKind::Prompts],
        ChangeKind::Resources => &[ListKind::Resources, ListKind::Templates],
    }
}

/// What a client knows of its lists.
pub(super) struct Lists {
    hearing: Arc<Hearing>,
    changes: Receiver<Change>,
    plans: watch::Receiver<()>,
    known: Prints,
}

impl Lists {
    /// As they are now.
    pub(super) fn now(shared: &Shared, hearing: &Arc<Hearing>) -> Self {
        let (changes, plans) = (shared.discovery.changes(), shared.plan.changes());
        Self {
            hearing: Arc::clone(hearing),
            changes,
            plans,
            known: hearing.prints(),
        }
    }

    /// Tells a client which of them change from then on, for as long as it listens. `wanted` is the subscription of a
    /// modern client.
    pub(super) async fn tell(mut self, feed: Feed, wanted: Option<Wanted>) {
        while let Some(kinds) = self.next().await {
            for kind in kinds {
                let Some(message) = message(kind, wanted.as_ref()) else {
                    continue;
                };
                if !feed.message(message.as_bytes()).await {
                    return;
                }
            }
        }
    }

    /// Which changed, if any, the next time that they may have; `None` when nothing changes any more.
    async fn next(&mut self) -> Option<Vec<ChangeKind>> {
        let told = tokio::select! {
            change = self.changes.recv() => match change {
                // Of what the client does not see, none of its lists has anything.
                Ok(change) if !self.hearing.sees(&change.server) => return Some(Vec::new()),
                Ok(change) => vec![change],
                // Some changes went by unheard: any list may be another.
                Err(RecvError::Lagged(_)) => {
                    self.known = self.hearing.prints();
                    return Some(KINDS.to_vec());
                }
                Err(RecvError::Closed) => return None,
            },
            changed = self.plans.changed() => changed.ok().map(|()| Vec::new())?,
        };
        // A server with lists for each principal is asked only when the client wants to know.
        let is_told = |kind| {
            told.iter()
                .any(|change| change.kind == kind && self.hearing.has_own(&change.server))
        };
        let (before, now) = (self.known, self.hearing.prints());
        let pairs = KINDS.into_iter().zip(before.0.into_iter().zip(now.0));
        let changed = pairs.filter(|(kind, (before, now))| before != now || is_told(*kind));
        let changed = changed.map(|(kind, _)| kind).collect();
        self.known = now;
        Some(changed)
    }
}

/// That a list changed, as a client is told; `None` for a modern one that does not want to know.
fn message(kind: ChangeKind, wanted: Option<&Wanted>) -> Option<String> {
    let method = match kind {
        ChangeKind::Tools => "notifications/tools/list_changed",
        ChangeKind::Prompts => "notifications/prompts/list_changed",
        ChangeKind::Resources => "notifications/resources/list_changed",
    };
    match wanted {
        None => Some(format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#)),
        Some(Wanted { id, filter }) => filter.wants(kind).then(|| {
            format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"_meta":{{"{SUBSCRIPTION_ID}":{id}}}}}}}"#)
        }),
    }
}
