//! What a client may hear on its streams, as things are when there is something to hear: a stream outlives the plan by
//! which it was opened.

use std::sync::Arc;

use super::{Call, personal, reach::reach, tell::Prints, view::View};
use crate::{
    discovery::Principal,
    identity::Caller,
    mcp::governed::{Governed, Kind},
    policy::{Plan, Server},
    proxy::{Shared, lease::expired},
    resources::ObjectName,
    upstream::Upstream,
};

/// A resource that a client was promised to hear of.
pub(super) struct Promise {
    /// Its URI at the gateway.
    pub(super) uri: String,
    /// Whose it is.
    pub(super) server: ObjectName,
    /// Its URI there.
    pub(super) own: String,
}

/// What one caller may hear, through a catalog or without one.
pub(super) struct Hearing {
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    catalog: Option<Box<str>>,
    who: Principal,
}

impl Hearing {
    pub(super) fn of(call: &Call<'_>) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::clone(call.shared),
            caller: Arc::clone(call.caller),
            catalog: call.catalog.map(Box::from),
            who: call.principal(),
        })
    }

    /// Whether its token lasts longer than that of another.
    pub(super) fn outlasts(&self, other: &Self) -> bool {
        let ends = |hearing: &Self| hearing.caller.token.as_ref().map_or(u64::MAX, |token| token.ends);
        ends(self) > ends(other)
    }

    /// What is done for it, unless its token ends before.
    pub(super) async fn while_it_lasts<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = expired(&self.caller) => None,
        }
    }

    /// A server, where the caller sees it by this plan, whatever is known of what that offers: this changes with the plan
    /// alone.
    fn reached<'p>(&self, plan: &'p Plan, server: &ObjectName) -> Option<&'p Arc<Server>> {
        let catalog = match &self.catalog {
            None => None,
            Some(name) => Some(&**plan.catalog(name)?),
        };
        let is_seen = |server: &&Arc<Server>| reach(plan, &self.caller, catalog, server).is_seen();
        plan.server(server).filter(is_seen)
    }

    /// The plan now, and what the caller sees by it; `None` where its catalog is gone.
    fn now(&self) -> Option<(Arc<Plan>, Arc<View>)> {
        let Self {
            shared,
            caller,
            catalog,
            who,
        } = self;
        let plan = shared.plan.load_full();
        let catalog = match catalog {
            None => None,
            Some(name) => Some(Arc::clone(plan.catalog(name)?)),
        };
        let snapshot = shared.discovery.snapshot();
        let own = personal::offered_now(shared, &plan, &snapshot, caller, catalog.as_deref(), who);
        let pins = shared.pins.table();
        let views = &shared.gateway.views;
        let view = views.of(caller, who.owner, catalog.as_ref(), &plan, &snapshot, &own, &pins);
        Some((plan, view))
    }

    /// What its lists are now.
    pub(super) fn prints(&self) -> Prints {
        self.now().map(|(_, view)| view.prints()).unwrap_or_default()
    }

    /// Whether a server offers something else to each principal, and this one sees it.
    pub(super) fn has_own(&self, server: &ObjectName) -> bool {
        let own = |view: &View| view.seen(server).is_some_and(|seen| seen.is_personal);
        self.now().is_some_and(|(_, view)| own(&view))
    }

    /// Whether it may hear of a server.
    pub(super) fn sees(&self, server: &ObjectName) -> bool {
        self.reached(&self.shared.plan.load(), server).is_some()
    }

    /// The URI at the gateway of a resource of which a server says that it changed, where the client may hear that: only
    /// of what is that server's own, and only where a subscription would be allowed.
    ///
    /// What a server offers to this caller may not be known now: it was seen too long ago, or the server is another than
    /// it was. It was known when the client subscribed, so that what it was promised to hear of is taken to be the server's
    /// own still, where no other server has it.
    pub(super) fn hears(&self, server: &ObjectName, uri: &str, is_promised: impl FnOnce() -> bool) -> Option<String> {
        let (plan, view) = self.now()?;
        if view.seen(server).is_none() {
            if !is_promised() {
                self.shared.telemetry.strange_update(server);
                return None;
            }
            let server = self.reached(&plan, server)?;
            let allowed = !view.is_listed(uri) && plan.allows(server, &self.caller, subscription(uri));
            return allowed.then(|| uri.to_owned());
        }
        let shown = view.shown(server, uri);
        let owner = view.owner_of(&shown);
        let Some(owner) = owner.filter(|owner| owner.seen.server.name() == server) else {
            self.shared.telemetry.strange_update(server);
            return None;
        };
        let allowed = plan.allows(&owner.seen.server, &self.caller, subscription(&owner.own));
        allowed.then(|| shown.into_owned())
    }

    /// The URIs at the gateway of what a server has by these.
    pub(super) fn shown<'u>(&self, server: &ObjectName, own: impl Iterator<Item = &'u str>) -> Vec<String> {
        let now = self.now();
        let shown = |own: &'u str| match &now {
            Some((_, view)) => view.shown(server, own).into_owned(),
            None => own.to_owned(),
        };
        own.map(shown).collect()
    }

    /// Whether a promise can still be kept. Of a server of which it is not known now what it offers to this caller, that is
    /// so where [`hears`](Self::hears) would tell of the resource.
    pub(super) fn may_go_on(&self, Promise { uri, server, own }: &Promise) -> bool {
        let Some((plan, view)) = self.now() else { return false };
        if view.seen(server).is_none() {
            let allows = |server| plan.allows(server, &self.caller, subscription(own));
            // One that has another URI at the gateway could not be told of.
            return uri == own
                && !view.is_listed(own)
                && self.reached(&plan, server).is_some_and(|server| allows(server));
        }
        let owner = view.owner_of(uri);
        owner.is_some_and(|owner| plan.allows(&owner.seen.server, &self.caller, subscription(&owner.own)))
    }

    /// Whether it may hear of a server's task, by that server's own id of it.
    pub(super) fn may_watch(&self, server: &ObjectName, task: &str) -> bool {
        let plan = self.shared.plan.load();
        let server = self.reached(&plan, server);
        server.is_some_and(|server| plan.allows(server, &self.caller, watching(task)))
    }

    /// The way to a server, as it is now.
    pub(super) fn upstream(&self, server: &ObjectName) -> Option<Arc<Upstream>> {
        let plan = self.shared.plan.load_full();
        self.shared.upstreams.of(&plan.server(server)?.wanted)
    }

    /// Works for as long as the server may be heard of, and anew when it may be again, until the work ends by itself: what
    /// the client may no longer hear of is not asked for either.
    pub(super) async fn while_seen<W: Future<Output = ()>>(&self, server: &ObjectName, mut work: impl FnMut() -> W) {
        loop {
            self.until(server, true).await;
            tokio::select! {
                () = work() => return,
                () = self.until(server, false) => {}
            }
        }
    }

    /// Waits until the server may be heard of, or until it may not.
    async fn until(&self, server: &ObjectName, heard: bool) {
        let mut changes = self.shared.plan.changes();
        while self.sees(server) != heard {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// What is decided about who wants to hear of a resource.
pub(super) fn subscription(uri: &str) -> Governed<'_> {
    Governed {
        method: "resources/subscribe",
        kind: Kind::Resource,
        name: uri,
    }
}

/// What is decided about who wants to hear of a task: it is told what `tasks/get` would answer.
pub(super) fn watching(task: &str) -> Governed<'_> {
    Governed {
        method: "tasks/get",
        kind: Kind::Task,
        name: task,
    }
}
