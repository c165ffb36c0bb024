//! Views, made once for each kind of caller and kept until the plan, a catalogue or what is approved of it changes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

use super::{limits::MAX_VIEWS, view::View};
use crate::{
    discovery::Snapshot,
    identity::Caller,
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

/// Read without a lock; a new view replaces the table.
#[derive(Default)]
pub(super) struct Views {
    made: ArcSwap<Made>,
    making: Mutex<()>,
}

impl Views {
    /// What this caller sees through a catalog, or without one.
    pub(super) fn of(
        &self,
        caller: &Caller,
        catalog: Option<&Arc<Catalog>>,
        plan: &Plan,
        snapshot: &Snapshot,
        pins: &pins::Table,
    ) -> Arc<View> {
        let key = (plan.face(caller), catalog.map(|catalog| Arc::clone(&catalog.name.name)));
        let now = (plan.generation, snapshot.generation, pins.generation);
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
        let view = Arc::new(View::new(
            plan,
            snapshot,
            pins,
            caller,
            catalog.map(|catalog| &**catalog),
        ));
        if views.len() >= MAX_VIEWS {
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
}
