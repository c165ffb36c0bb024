//! Servers that offer something else to each principal: what they offer to this one.

use std::sync::Arc;

use super::reach::reach;
use crate::{
    discovery::{Own, Principal, Snapshot},
    identity::Caller,
    mcp::{Envelope, method::Method},
    policy::{Plan, Server},
    proxy::Shared,
    resources::{self, Catalog},
};

/// Whether what a server offers to one principal, it may not offer to another.
pub(super) fn is_personal(server: &Server, snapshot: &Snapshot) -> bool {
    let is_private = || snapshot.get(server.name()).is_some_and(|known| known.is_private);
    server.wanted.exchanges_tokens() || snapshot.has_private && is_private()
}

/// Those among the servers that this caller sees through a catalog, or without one.
fn servers(
    plan: &Plan,
    snapshot: &Snapshot,
    caller: &Caller,
    catalog: Option<&Catalog>,
) -> Vec<Arc<resources::Server>> {
    if !plan.exchanges_tokens && !snapshot.has_private {
        return Vec::new();
    }
    let mut found = Vec::new();
    for server in plan.servers() {
        if is_personal(server, snapshot) && reach(plan, caller, catalog, server).is_seen() {
            found.push(Arc::clone(&server.wanted));
        }
    }
    found
}

/// Whether the answer to a request is what servers offer, as it is now.
pub(super) fn lists(envelope: &Envelope<'_>) -> bool {
    matches!(
        envelope.known(),
        Some(
            Method::Initialize
                | Method::ServerDiscover
                | Method::ToolsList
                | Method::PromptsList
                | Method::ResourcesList
                | Method::ResourceTemplatesList
        )
    )
}

/// What they offer to this caller. Waits a moment for what is not known, and where `current` is wanted for what is old.
pub(super) async fn offered(
    shared: &Shared,
    plan: &Plan,
    snapshot: &Snapshot,
    caller: &Caller,
    catalog: Option<&Catalog>,
    who: impl FnOnce() -> Principal,
    current: bool,
) -> Own {
    let servers = servers(plan, snapshot, caller, catalog);
    if servers.is_empty() {
        return Own::default();
    }
    // Rare, and larger than all the rest of a request's state.
    Box::pin(shared.discovery.offered_to(&who(), &servers, snapshot, current)).await
}

/// The same, without waiting.
pub(super) fn offered_now(
    shared: &Shared,
    plan: &Plan,
    snapshot: &Snapshot,
    caller: &Caller,
    catalog: Option<&Catalog>,
    who: &Principal,
) -> Own {
    let servers = servers(plan, snapshot, caller, catalog);
    shared.discovery.offered_now(who, &servers, snapshot, false).0
}
