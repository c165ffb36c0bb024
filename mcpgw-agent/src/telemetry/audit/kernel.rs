//! The line about what the kernel refused.

use std::time::SystemTime;

use serde::Serialize;

use super::{
    event_name::EventName,
    line::{Identity, rfc3339},
};
use crate::datapath::KernelRefusals;

/// What the kernel refused, and when that was found out.
pub(super) struct Kernel {
    pub(super) time: SystemTime,
    pub(super) refusals: KernelRefusals,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KernelLine<'a> {
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
    event: EventName,
    node: &'a str,
    path: &'static str,
    layer: &'static str,
    decision: &'static str,
    reason: &'static str,
    /// How many, since the line before it.
    count: u64,
    /// They were made while no agent ran, or some of them.
    approximate: bool,
    identity: Identity<'a>,
}

impl<'a> KernelLine<'a> {
    pub(super) fn new(node: &'a str, kernel: &'a Kernel) -> Self {
        let Kernel { time, refusals } = kernel;
        let identity = refusals.identity.as_deref();
        Self {
            time: *time,
            event: EventName::Refused,
            node,
            path: "kernel",
            layer: refusals.layer,
            decision: "deny",
            reason: refusals.reason,
            count: refusals.count,
            approximate: refusals.approximate,
            identity: identity.map(Identity::of_workload).unwrap_or_default(),
        }
    }
}
