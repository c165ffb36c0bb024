//! `ClusterMCPSettings.spec.audit`: how the audit log is kept.

use std::sync::Arc;

use super::{
    AuditSettings, OnFull,
    fields::{Field, Schema, Sink},
    payloads,
};

const AUDIT: Schema = Schema {
    known: &["sink", "onFull", "maxMegabytes", "keep", "payloads"],
    later: &[],
};
const MEGABYTE: u64 = 1_000_000;
/// Largest file, in megabytes.
const MAX_MEGABYTES: u64 = 100_000;
/// Most full files.
const MAX_KEEP: u64 = 1_000;

pub(super) fn read(field: &Field, sink: &mut Sink) -> Option<AuditSettings> {
    let fields = field.fields(&AUDIT, sink)?;
    let default = AuditSettings::default();
    let exported = match fields.optional("sink") {
        Some(field) => field.choice(&[("Local", false), ("OTLP", true)], &[], sink),
        None => Some(default.exported),
    };
    let on_full = match fields.optional("onFull") {
        Some(field) => field.choice(&[("Count", OnFull::Count), ("Block", OnFull::Block)], &[], sink),
        None => Some(default.on_full),
    };
    let max_size = match fields.optional("maxMegabytes") {
        Some(field) => field.number(1..=MAX_MEGABYTES, sink).map(|number| number * MEGABYTE),
        None => Some(default.max_size),
    };
    let keep = match fields.optional("keep") {
        Some(field) => field
            .number(0..=MAX_KEEP, sink)
            .and_then(|number| u32::try_from(number).ok()),
        None => Some(default.keep),
    };
    let payloads = match fields.optional("payloads") {
        Some(field) => payloads::read(&field, sink).map(|payloads| Some(Arc::new(payloads))),
        None => Some(None),
    };
    Some(AuditSettings {
        exported: exported?,
        on_full: on_full?,
        max_size: max_size?,
        keep: keep?,
        payloads: payloads?,
    })
}
