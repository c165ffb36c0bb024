//! `ClusterMCPSettings.spec.audit`: how the audit log is kept.

use std::sync::Arc;

use super::{
    AuditSettings, AuditSink, OnFull,
    fields::{Field, Fields, Schema, Sink},
    path, payloads,
};

const AUDIT: Schema = Schema {
    known: &["sink", "file", "onFull", "maxMegabytes", "keep", "payloads"],
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
    let place = place(&fields, sink);
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
    let (place, exported) = place?;
    Some(AuditSettings {
        sink: place,
        exported,
        on_full: on_full?,
        max_size: max_size?,
        keep: keep?,
        payloads: payloads?,
    })
}

/// The words for where lines go.
#[derive(Clone, Copy)]
enum Word {
    Local,
    Stdout,
    File,
    Otlp,
}

/// Where lines are written on the node, and whether a collector gets them besides.
fn place(fields: &Fields, sink: &mut Sink) -> Option<(Option<AuditSink>, bool)> {
    let words = [
        ("Local", Word::Local),
        ("Stdout", Word::Stdout),
        ("File", Word::File),
        ("OTLP", Word::Otlp),
    ];
    let word = match fields.optional("sink") {
        Some(field) => field.choice(&words, &[], sink)?,
        None => Word::Local,
    };
    let file = match (word, fields.optional("file")) {
        (Word::Local | Word::Stdout, Some(field)) => {
            field.report(
                sink,
                "is of no use: only sink: File writes there, and OTLP besides the collector",
            );
            return None;
        }
        (Word::File, None) => {
            fields.required("file", sink)?;
            return None;
        }
        (_, Some(field)) => Some(AuditSink::File(path::log(&field, sink)?)),
        (_, None) => None,
    };
    Some(match word {
        Word::Stdout => (Some(AuditSink::Stdout), false),
        Word::Local | Word::File => (file, false),
        Word::Otlp => (file, true),
    })
}
