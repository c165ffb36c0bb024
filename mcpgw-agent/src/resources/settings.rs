//! `ClusterMCPSettings`: what holds for the whole node (in Kubernetes: the whole cluster).

use super::{
    Settings, UnknownWorkloads,
    fields::{Field, Schema, Sink},
};

const SPEC: Schema = Schema {
    known: &["unknownWorkloads"],
    later: &[
        "publicURL",
        "gateway",
        "issuers",
        "extAuthz",
        "rateLimitService",
        "audit",
        "externalBackends",
        "sessionKeys",
    ],
};

pub(super) fn read(spec: &Field, sink: &mut Sink) -> Option<Settings> {
    let spec = spec.fields(&SPEC, sink)?;
    let unknown_workloads = match spec.optional("unknownWorkloads") {
        Some(field) => {
            let choices = [("Refuse", UnknownWorkloads::Refuse), ("Pass", UnknownWorkloads::Pass)];
            field.choice(&choices, &[], sink)?
        }
        None => UnknownWorkloads::default(),
    };
    Some(Settings {
        unknown_workloads,
        ..Settings::default()
    })
}
