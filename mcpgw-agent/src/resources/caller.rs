//! Whom a rule is about.

use std::sync::Arc;

use super::{
    Caller, Claim,
    bounds::{MAX_CALLERS, MAX_CLAIMS},
    fields::{Field, Fields, Schema, Sink},
    globs, name,
    yaml::Value,
};

const CALLER: Schema = Schema {
    known: &["namespaces", "serviceAccounts", "groups", "claims"],
    later: &[],
};

pub(super) fn read(field: &Field, sink: &mut Sink) -> Option<Caller> {
    let fields = field.fields(&CALLER, sink)?;
    if !CALLER.known.iter().any(|name| fields.has(name)) {
        fields.report(
            sink,
            "must name namespaces, serviceAccounts, groups or claims; leave from out to mean everyone",
        );
        return None;
    }
    let namespaces: Vec<Arc<str>> = list(&fields, "namespaces", sink)
        .iter()
        .filter_map(|field| name::namespace(field, sink))
        .map(Arc::from)
        .collect();
    let mut service_accounts = Vec::new();
    for field in list(&fields, "serviceAccounts", sink) {
        let Some(account) = name::qualified(&field, sink) else {
            continue;
        };
        if fields.has("namespaces") && !namespaces.contains(&account.namespace) {
            field.report(
                sink,
                "can never match: its namespace is none of the namespaces beside it",
            );
        }
        service_accounts.push(account);
    }
    let mut claims = Vec::new();
    if let Some(field) = fields.optional("claims") {
        read_claims(&field, &[], &mut claims, sink);
    }
    Some(Caller {
        namespaces,
        service_accounts,
        groups: globs::list(&fields, "groups", "leave groups out to mean any", sink),
        claims,
    })
}

fn list<'a>(fields: &Fields<'a>, name: &str, sink: &mut Sink) -> Vec<Field<'a>> {
    fields
        .optional(name)
        .and_then(|field| field.list(MAX_CALLERS, "leave it out to mean any", sink))
        .unwrap_or_default()
}

/// Reads claims by name; a mapping within is about the members of that claim.
fn read_claims(field: &Field, above: &[Arc<str>], claims: &mut Vec<Claim>, sink: &mut Sink) {
    let entries = field.entries(MAX_CLAIMS, "leave claims out to mean any", sink);
    for (name, field) in entries.unwrap_or_default() {
        if claims.len() == MAX_CLAIMS {
            field.report(sink, format!("one claim too many: {MAX_CLAIMS} are allowed"));
            return;
        }
        let mut path = above.to_vec();
        path.push(name.into());
        match &field.node.value {
            Value::Map(_) => read_claims(&field, &path, claims, sink),
            Value::List(_) => {
                let values = field.list(MAX_CALLERS, "leave the claim out to mean any value", sink);
                let values = values.unwrap_or_default();
                let values = values.iter().filter_map(|field| globs::glob(field, sink)).collect();
                claims.push(Claim { path, values });
            }
            _ => {
                if let Some(value) = globs::glob(&field, sink) {
                    claims.push(Claim {
                        path,
                        values: vec![value],
                    });
                }
            }
        }
    }
}
