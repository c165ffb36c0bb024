//! What a resource keeps for as long as it is there.

use super::{
    Desired,
    document::{Origin, Spot},
    problem::{Problem, quote},
    server,
};

/// Refuses another prefix for a server that is in force: names with the one that it has are in clients' hands, in their
/// prompts and in what they were allowed to call.
pub(super) fn check(servers: &[(Origin, server::Parsed)], in_force: &Desired, problems: &mut Vec<Problem>) {
    for (origin, parsed) in servers {
        let mut known = in_force.servers.iter().chain(&in_force.refused);
        let Some(before) = known.find(|known| known.name == parsed.server.name) else {
            continue;
        };
        if before.prefix == parsed.server.prefix {
            continue;
        }
        let reason = format!(
            "is immutable: it is {} for as long as this server is there, and must not become {}; to change it, take the \
             server out of the files, wait until the agent has read them, and put it in anew",
            quote(&before.prefix),
            quote(&parsed.server.prefix)
        );
        let spot = parsed.prefix_spot.clone().unwrap_or(Spot {
            at: origin.at,
            path: "spec.prefix".to_owned(),
        });
        origin.report(&spot, reason, problems);
    }
}
