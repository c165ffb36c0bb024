//! `ClusterMCPSettings.spec.audit.payloads`, and `spec.audit` of a policy: what of calls' arguments is in the audit log.

use super::{
    JsonPath, Payloads, PolicyAudit,
    bounds::{MAX_PAYLOAD_BYTES, MAX_REDACTIONS},
    fields::{Field, Schema, Sink},
    problem::quote,
};

const PAYLOADS: Schema = Schema {
    known: &["arguments"],
    later: &[],
};
const ARGUMENTS: Schema = Schema {
    known: &["redact", "maxBytes"],
    later: &[],
};

const OF_POLICY: Schema = Schema {
    known: &["payloads", "redact"],
    later: &[],
};

/// What a policy says of the arguments of its servers' calls.
pub(super) fn of_policy(field: &Field, sink: &mut Sink) -> Option<PolicyAudit> {
    let fields = field.fields(&OF_POLICY, sink)?;
    let payloads = match fields.optional("payloads") {
        Some(field) => Some(read(&field, sink)?),
        None => None,
    };
    let redact = match fields.optional("redact") {
        Some(field) => redactions(&field, sink)?,
        None => Vec::new(),
    };
    if payloads.is_none() && redact.is_empty() {
        field.report(sink, "must have payloads, redact, or both");
    }
    Some(PolicyAudit { payloads, redact })
}

pub(super) fn read(field: &Field, sink: &mut Sink) -> Option<Payloads> {
    let arguments = field.fields(&PAYLOADS, sink)?.required("arguments", sink)?;
    let fields = arguments.fields(&ARGUMENTS, sink)?;
    let redact = match fields.optional("redact") {
        Some(field) => redactions(&field, sink),
        None => Some(Vec::new()),
    };
    let default = Payloads::default().max_bytes;
    let max_bytes = match fields.optional("maxBytes") {
        Some(field) => field
            .number(1..=MAX_PAYLOAD_BYTES, sink)
            .and_then(|number| usize::try_from(number).ok()),
        None => Some(default),
    };
    Some(Payloads {
        redact: redact?,
        max_bytes: max_bytes?,
    })
}

fn redactions(field: &Field, sink: &mut Sink) -> Option<Vec<JsonPath>> {
    let list = field.list(MAX_REDACTIONS, "leave redact out to take out tokens only", sink)?;
    let read = |field: &Field| {
        let text = field.text(sink)?;
        let parsed = JsonPath::parse(text);
        parsed
            .map_err(|error| field.report(sink, format!("{} {error}", quote(text))))
            .ok()
    };
    let paths: Vec<Option<JsonPath>> = list.iter().map(read).collect();
    paths.into_iter().collect()
}
