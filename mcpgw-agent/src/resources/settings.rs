//! `ClusterMCPSettings`: what holds for the whole node (in Kubernetes: the whole cluster).

use super::{
    Settings, UnknownWorkloads, audit,
    fields::{Field, Schema, Sink},
    gateway, path,
};

const SPEC: Schema = Schema {
    known: &["unknownWorkloads", "gateway", "sessionKeysFile", "audit"],
    later: &[
        "publicURL",
        "issuers",
        "extAuthz",
        "rateLimitService",
        "externalBackends",
        "sessionKeys",
    ],
};

pub(super) fn read(spec: &Field, sink: &mut Sink) -> Option<Settings> {
    let spec = spec.fields(&SPEC, sink)?;
    let unknown_workloads = match spec.optional("unknownWorkloads") {
        Some(field) => {
            let choices = [("Refuse", UnknownWorkloads::Refuse), ("Pass", UnknownWorkloads::Pass)];
            field.choice(&choices, &[], sink)
        }
        None => Some(UnknownWorkloads::default()),
    };
    let gateway = match spec.optional("gateway") {
        Some(field) => gateway::read(&field, sink).map(Some),
        None => Some(None),
    };
    let session_keys = match spec.optional("sessionKeysFile") {
        Some(field) => path::pem(&field, sink).map(Some),
        None => Some(None),
    };
    let audit = match spec.optional("audit") {
        Some(field) => audit::read(&field, sink),
        None => Some(Default::default()),
    };
    Some(Settings {
        unknown_workloads: unknown_workloads?,
        gateway: gateway?,
        session_keys: session_keys?,
        audit: audit?,
    })
}
