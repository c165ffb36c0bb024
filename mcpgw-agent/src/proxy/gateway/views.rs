//! Views, made once for each kind of caller and kept until the plan, a catalogue or what is approved of it changes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
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

/// The views of one state of plan, catalogues and pins.
#[derive(Default)]
struct Made {
    plan: u64,
    snapshot: u64,
    pins: u64,
    views: HashMap<Key, Arc<View>>,
}

/// What a view was made of, beside the catalogues of its principal alone.
type Generations = (u64, u64, u64);

/// The view of one principal, with servers that offer something else to each.
struct Personal {
    made: Generations,
    own: Own,
    view: Arc<View>,
    used: Instant,
}

/// Read without a lock; a new view replaces the table, and where there would be too many, or they too large, all make
/// room for it. But for those of single principals: of these the one that was unused for longest goes first.
#[derive(Default)]
pub(super) struct Views {
    made: ArcSwap<Made>,
    making: Mutex<()>,
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
            Arc::new(View::new(
                plan,
                snapshot,
                own,
                pins,
                caller,
                catalog.map(|catalog| &**catalog),
            ))
        };
        let key = (plan.face(caller), catalog.map(|catalog| Arc::clone(&catalog.name.name)));
        let now = (plan.generation, snapshot.generation, pins.generation);
        if !own.is_empty() {
            return self.personal((owner, key), now, own, make);
        }
        let current = |made: &Made| (made.plan, made.snapshot, made.pins) == now;
        {
            let made = self.made.load();
            if current(&made)
                && let Some(view) = made.views.get(&key)
            {
                return Arc::clone(view);
            }
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.made.load();
        let mut views = match current(&made) {
            true => made.views.clone(),
            false => HashMap::new(),
        };
        if let Some(view) = views.get(&key) {
            return Arc::clone(view);
        }
        let view = make();
        let bytes: usize = views.values().chain([&view]).map(|view| view.bytes()).sum();
        if views.len() >= MAX_VIEWS || bytes > MAX_SHARED_VIEW_BYTES {
            views.clear();
        }
        views.insert(key, Arc::clone(&view));
        self.made.store(Arc::new(Made {
            plan: plan.generation,
            snapshot: snapshot.generation,
            pins: pins.generation,
            views,
        }));
        view
    }

    fn personal(&self, key: (Owner, Key), now: Generations, own: &Own, make: impl FnOnce() -> Arc<View>) -> Arc<View> {
        let lock = || self.personal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get_mut(&key)
            && known.made == now
            && known.own.is(own)
        {
            known.used = Instant::now();
            return Arc::clone(&known.view);
        }
        let view = make();
        let made = Personal {
            made: now,
            own: own.clone(),
            view: Arc::clone(&view),
            used: Instant::now(),
        };
        let mut views = lock();
        views.insert(key, made);
        let mut bytes: usize = views.values().map(|known| known.view.bytes()).sum();
        while views.len() > MAX_VIEWS || bytes > MAX_PERSONAL_VIEW_BYTES {
            let oldest = views.iter().min_by_key(|(_, known)| known.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            bytes -= views.remove(&oldest).map_or(0, |gone| gone.view.bytes());
        }
        view
    }
}
