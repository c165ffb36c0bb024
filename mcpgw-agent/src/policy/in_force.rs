//! The plan in force: read at each request, and waited for by whatever outlives one.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::Plan;

/// The plan in force, as it is at each request.
pub struct InForce {
    plan: ArcSwap<Plan>,
    changed: watch::Sender<()>,
}

impl InForce {
    /// With this plan.
    pub fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Self {
            plan: ArcSwap::from_pointee(plan),
            changed: watch::Sender::default(),
        })
    }

    /// The plan now, for a moment.
    pub fn load(&self) -> Guard<Arc<Plan>> {
        self.plan.load()
    }

    /// The plan now, for longer.
    pub fn load_full(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Puts another plan in force, and wakes whoever waits for one.
    pub fn store(&self, plan: Arc<Plan>) {
        self.plan.store(plan);
        self.changed.send_replace(());
    }

    /// Tells that another plan came into force since it was asked last.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
