//! What the kernel refused: counted there for each workload and reason, told of here once.
//!
//! How much was told is kept in the kernel beside the counts, so that an agent tells of what was refused while none ran.

use std::sync::Arc;

use mcpgw_common::{
    Reason,
    layout::{NOBODY, Refusals, name},
};

use super::{DatapathError, maps::Maps};
use crate::identity::WorkloadIdentity;

/// Refusals of one workload, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRefusals {
    /// Whose they were; `None`: of callers who are no workload.
    pub identity: Option<Arc<WorkloadIdentity>>,
    /// Where: `connect`, `bind` or `sock_ops`.
    pub layer: &'static str,
    /// Why, by the word of the metrics.
    pub reason: &'static str,
    /// How many since they were told of last.
    pub count: u64,
    /// Made while no agent ran, at least in part: when is not known, and a crash may have had them told of twice.
    pub approximate: bool,
}

/// Whose refusals a place in the maps counts.
pub(super) struct Counted {
    pub(super) slot: u32,
    pub(super) identity: Option<Arc<WorkloadIdentity>>,
}

impl Counted {
    /// Callers who are no workload.
    pub(super) const NOBODY: Self = Self {
        slot: NOBODY,
        identity: None,
    };
}

/// Hands to `tell` what was refused since that was done last.
pub(super) fn tell(
    maps: &mut Maps,
    counted: &Counted,
    approximate: bool,
    tell: impl FnOnce(Vec<KernelRefusals>),
) -> Result<(), DatapathError> {
    let read = |map| DatapathError::map("read", map);
    let now = maps.refused.get(&counted.slot, 0).map_err(read(name::REFUSED))?;
    let told = maps.reported.get(&counted.slot, 0).map_err(read(name::REPORTED))?;
    if now == told {
        return Ok(());
    }
    tell(since(&told, &now, counted, approximate));
    // Behind the telling: what a crash here costs is that it is told again.
    maps.reported
        .set(counted.slot, now, 0)
        .map_err(DatapathError::map("write", name::REPORTED))
}

fn since(told: &Refusals, now: &Refusals, counted: &Counted, approximate: bool) -> Vec<KernelRefusals> {
    let counts = Reason::ALL.into_iter().zip(now.0.into_iter().zip(told.0));
    let refusals = counts.filter(|(reason, (now, told))| reason.decision() == "refuse" && now > told);
    refusals
        .map(|(reason, (now, told))| KernelRefusals {
            identity: counted.identity.clone(),
            layer: reason.layer(),
            reason: reason.name(),
            count: now - told,
            approximate,
        })
        .collect()
}

/// A place's new owner starts with nothing refused, whatever the last one left.
pub(super) fn forget(maps: &mut Maps, slot: u32) -> Result<(), DatapathError> {
    let now = maps
        .refused
        .get(&slot, 0)
        .map_err(DatapathError::map("read", name::REFUSED))?;
    maps.reported
        .set(slot, now, 0)
        .map_err(DatapathError::map("write", name::REPORTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_and_was_refused_is_told() {
        let (mut told, mut now) = (Refusals::default(), Refusals::default());
        told.0[Reason::NoListener as usize] = 3;
        now.0[Reason::NoListener as usize] = 5;
        now.0[Reason::ListenerPortBound as usize] = 1;
        told.0[Reason::Quota as usize] = 2;
        now.0[Reason::Quota as usize] = 2;
        // Nothing counts these here, and nobody would take them for refusals.
        now.0[Reason::Governed as usize] = 9;
        let since = since(&told, &now, &Counted::NOBODY, true);
        let told: Vec<_> = since
            .iter()
            .map(|refused| (refused.layer, refused.reason, refused.count, refused.approximate))
            .collect();
        assert_eq!(
            told,
            [
                ("connect", "no_listener", 2, true),
                ("bind", "listener_port_bound", 1, true)
            ]
        );
    }
}
