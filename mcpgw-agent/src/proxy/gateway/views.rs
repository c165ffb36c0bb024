//! Views, made once for each kind of caller and kept until the plan, what is approved, or what one of the servers that they
//! see offers changes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;

use super::{
    limits::{MAX_PERSONAL_VIEW_BYTES, MAX_SHARED_VIEW_BYTES, MAX_VIEWS},
    view::View,
};
use crate::{
    discovery::{Own, Snapshot},
    identity::Caller,
    mcp::seal::Owner,
    pins,
    policy::{Face, Plan},
    resources::Catalog,
};

/// What views differ by: the caller, as far as rules look at it, and the catalog.
type Key = (Face, Option<Arc<str>>);

/// The views of one state of plan and pins.
#[derive(Default)]
struct Made {
    of: Generations,
    views: HashMap<Key, Arc<Kept>>,
}

/// The generations of plan and pins: what is another with them may be so for everybody.
type Generations = (u64, u64);

/// A view, and the snapshot that it was last found to be right for.
struct Kept {
    view: Arc<View>,
    right_for: AtomicU64,
}

impl Kept {
    fn new(view: Arc<View>, snapshot: &Snapshot) -> Arc<Self> {
        Arc::new(Self {
            view,
            right_for: AtomicU64::new(snapshot.generation),
        })
    }

    /// Whether it is right for this snapshot. Each of its servers is looked at only where the snapshot is another one.
    fn is_of(&self, snapshot: &Snapshot) -> bool {
        if self.right_for.load(Ordering::Relaxed) == snapshot.generation {
            return true;
        }
        let is_right = self.view.is_of(snapshot);
        if is_right {
            self.right_for.store(snapshot.generation, Ordering::Relaxed);
        }
        is_right
    }
}

/// The view of one principal, with servers that offer something else to each.
struct Personal {
    made: Generations,
    own: Own,
    kept: Arc<Kept>,
    used: Instant,
}

/// Read without a lock; a new view replaces the table, and where there would be too many, or they too large, all make
/// room for it. But for those of single principals: of these the one that was unused for longest goes first.
///
/// Who needs the same view waits for whoever makes it, and nobody else does.
#[derive(Default)]
pub(super) struct Views {
    made: ArcSwap<Made>,
    /// Held while the table is replaced, not while a view is made.
    replacing: Mutex<()>,
    /// Held while a view is made.
    making: Mutex<HashMap<Key, Arc<Mutex<()>>>>,
    personal: Mutex<HashMap<(Owner, Key), Personal>>,
}

impl Views {
    /// What this caller sees through a catalog, or without one, with what its `own` catalogues have.
    #[allow(clippy::too_many_arguments, reason = "all that a view is made of")]
    pub(super) fn of(
        &self,
        caller: &Caller,
        owner: Owner,
        catalog: Option<&Arc<Catalog>>,
        plan: &Plan,
        snapshot: &Snapshot,
        own: &Own,
        pins: &pins::Table,
    ) -> Arc<View> {
        let make = || {
            let catalog = catalog.map(|catalog| &**catalog);
            Kept::new(
                Arc::new(View::new(plan, snapshot, own, pins, caller, catalog)),
                snapshot,
            )
        };
        let key = (plan.face(caller), catalog.map(|catalog| Arc::clone(&catalog.name.name)));
        let now = (plan.generation, pins.generation);
        if !own.is_empty() {
            return self.personal((owner, key), now, snapshot, own, make);
        }
        let known = || {
            let made = self.made.load();
            let kept = made
                .views
                .get(&key)
                .filter(|kept| made.of == now && kept.is_of(snapshot));
            kept.map(|kept| Arc::clone(&kept.view))
        };
        if let Some(view) = known() {
            return view;
        }
        let turn = Arc::clone(lock(&self.making).entry(key.clone()).or_default());
        let making = lock(&turn);
        let view = known().unwrap_or_else(|| {
            let kept = make();
            self.keep(key.clone(), now, snapshot, &kept);
            Arc::clone(&kept.view)
        });
        drop(making);
        // Before it is let go, so that of several who let go at once the last finds the table's own alone.
        let mut turns = lock(&self.making);
        drop(turn);
        if turns.get(&key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&key);
        }
        view
    }

    /// Takes over a view, in place of one that is not right any more, and of all others that are not.
    fn keep(&self, key: Key, now: Generations, snapshot: &Snapshot, kept: &Arc<Kept>) {
        let _replacing = lock(&self.replacing);
        let made = self.made.load();
        let mut views = match made.of == now {
            true => made.views.clone(),
            false => HashMap::new(),
        };
        views.retain(|other, known| *other != key && known.is_of(snapshot));
        let bytes: usize = views.values().chain([kept]).map(|kept| kept.view.bytes()).sum();
        if views.len() >= MAX_VIEWS || bytes > MAX_SHARED_VIEW_BYTES {
            views.clear();
        }
        views.insert(key, Arc::clone(kept));
        self.made.store(Arc::new(Made { of: now, views }));
    }

    fn personal(
        &self,
        key: (Owner, Key),
        now: Generations,
        snapshot: &Snapshot,
        own: &Own,
        make: impl FnOnce() -> Arc<Kept>,
    ) -> Arc<View> {
        if let Some(known) = lock(&self.personal).get_mut(&key)
            && known.made == now
            && known.own.is(own)
            && known.kept.is_of(snapshot)
        {
            known.used = Instant::now();
            return Arc::clone(&known.kept.view);
        }
        let kept = make();
        let view = Arc::clone(&kept.view);
        let made = Personal {
            made: now,
            own: own.clone(),
            kept,
            used: Instant::now(),
        };
        let mut views = lock(&self.personal);
        views.insert(key, made);
        let mut bytes: usize = views.values().map(|known| known.kept.view.bytes()).sum();
        while views.len() > MAX_VIEWS || bytes > MAX_PERSONAL_VIEW_BYTES {
            let oldest = views.iter().min_by_key(|(_, known)| known.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            bytes -= views.remove(&oldest).map_or(0, |gone| gone.kept.view.bytes());
        }
        view
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "views_tests.rs"]
mod tests;
