//! `ClusterMCPSettings`: what holds for the whole node (in Kubernetes: the whole cluster).

use std::sync::Arc;

use super::{
    Settings, UnknownWorkloads, audit, engine,
    fields::{Field, Schema, Sink},
    gateway, grants, issuer, path, url,
};

const SPEC: Schema = Schema {
    known: &[
        "unknownWorkloads",
        "gateway",
        "sessionKeysFile",
        "pinsDirectory",
        "publicURL",
        "issuers",
        "audit",
        "rateLimitService",
        "extAuthz",
        "externalBackends",
        "exposure",
    ],
    later: &["sessionKeys"],
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
    let public_url: Option<Option<Arc<str>>> = match spec.optional("publicURL") {
        Some(field) => url::base(&field, sink).map(|url| Some(url.into())),
        None => Some(None),
    };
    let known_url = public_url.as_ref().and_then(Option::as_deref);
    let issuers = match spec.optional("issuers") {
        Some(field) => issuer::list(&field, known_url, sink),
        None => Some(Vec::new()),
    };
    let gateway = match spec.optional("gateway") {
        Some(field) => gateway::read(&field, spec.has("issuers"), sink).map(Some),
        None => Some(None),
    };
    let session_keys = match spec.optional("sessionKeysFile") {
        Some(field) => path::pem(&field, sink).map(Some),
        None => Some(None),
    };
    let pins = match spec.optional("pinsDirectory") {
        Some(field) => path::pem(&field, sink).map(Some),
        None => Some(None),
    };
    let audit = match spec.optional("audit") {
        Some(field) => audit::read(&field, sink),
        None => Some(Default::default()),
    };
    let rate_limit_service = match spec.optional("rateLimitService") {
        Some(field) => engine::rate_limit_service(&field, sink).map(|service| Some(service.into())),
        None => Some(None),
    };
    let ext_authz = match spec.optional("extAuthz") {
        Some(field) => engine::ext_authz(&field, sink).map(|engine| Some(engine.into())),
        None => Some(None),
    };
    let external_backends = match spec.optional("externalBackends") {
        Some(field) => grants::backends(&field, sink).map(Some),
        None => Some(None),
    };
    let exposure = match spec.optional("exposure") {
        Some(field) => grants::exposure(&field, sink).map(Some),
        None => Some(None),
    };
    Some(Settings {
        unknown_workloads: unknown_workloads?,
        gateway: gateway?,
        session_keys: session_keys?,
        pins: pins?,
        audit: audit?,
        public_url: public_url?,
        issuers: issuers?,
        rate_limit_service: rate_limit_service?,
        ext_authz: ext_authz?,
        external_backends: external_backends?,
        exposure: exposure?,
    })
}
