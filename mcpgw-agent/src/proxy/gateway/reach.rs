//! Whether a caller sees a server at all: by the plan, the caller and the catalog, whatever is known of what the server
//! offers.

use crate::{
    identity::Caller,
    policy::{Lacks, Plan, Server},
    resources::{Catalog, CatalogServer},
};

/// How far a caller comes to a server.
pub(super) enum Reach<'c> {
    /// It sees the server, through the catalog with what that chooses of it.
    Seen(Option<&'c CatalogServer>),
    /// It would, but for what it lacks.
    Barred(Lacks),
    /// There is no such server for it.
    Hidden,
}

impl Reach<'_> {
    /// Whether the caller sees the server.
    pub(super) fn is_seen(&self) -> bool {
        matches!(self, Self::Seen(_))
    }
}

/// How far `caller` comes to a server through `catalog`, or without one.
pub(super) fn reach<'c>(plan: &Plan, caller: &Caller, catalog: Option<&'c Catalog>, server: &Server) -> Reach<'c> {
    let choice = match catalog {
        None => None,
        Some(catalog) => match catalog.servers.iter().find(|chosen| chosen.server == *server.name()) {
            Some(choice) => Some(choice),
            None => return Reach::Hidden,
        },
    };
    if !plan.sees(caller, server) {
        return Reach::Hidden;
    }
    match server.admission.admits(caller) {
        true => Reach::Seen(choice),
        false => server.admission.lacks(caller).map_or(Reach::Hidden, Reach::Barred),
    }
}
