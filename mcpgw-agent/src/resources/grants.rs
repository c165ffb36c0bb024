//! `ClusterMCPSettings.spec.externalBackends` and `exposure`: what namespaces may have beyond what is their own.

use ipnet::IpNet;

use super::{
    BackendGrant, ExposureGrant, HostPattern,
    bounds::{MAX_GRANTED, MAX_GRANTS},
    fields::{Field, Schema, Sink},
    host, namespaces,
    problem::quote,
    yaml::Value,
};

const BACKENDS: Schema = Schema {
    known: &["namespaces", "hosts", "addresses"],
    later: &[],
};
const EXPOSURE: Schema = Schema {
    known: &["namespaces", "to"],
    later: &[],
};

/// Grants of places. Unlike other lists this one may be empty, which says something else than its absence: that
/// nothing is granted.
pub(super) fn backends(field: &Field, sink: &mut Sink) -> Option<Vec<BackendGrant>> {
    each(field, sink, |field, sink| {
        let fields = field.fields(&BACKENDS, sink)?;
        let whose = fields
            .required("namespaces", sink)
            .and_then(|field| namespaces::read(&field, NOBODY, sink));
        let hosts = match fields.optional("hosts") {
            Some(field) => list(&field, "leave hosts out to grant none", sink, host_pattern),
            None => Some(Vec::new()),
        };
        let addresses = match fields.optional("addresses") {
            Some(field) => list(&field, "leave addresses out to grant none", sink, network),
            None => Some(Vec::new()),
        };
        if !fields.has("hosts") && !fields.has("addresses") {
            fields.report(sink, "grants nothing: it needs hosts, addresses, or both");
            return None;
        }
        Some(BackendGrant {
            namespaces: whose?,
            hosts: hosts?,
            addresses: addresses?,
        })
    })
}

/// Grants of callers; may be empty as well.
pub(super) fn exposure(field: &Field, sink: &mut Sink) -> Option<Vec<ExposureGrant>> {
    each(field, sink, |field, sink| {
        let fields = field.fields(&EXPOSURE, sink)?;
        let mut read = |name: &str| {
            let field = fields.required(name, sink)?;
            namespaces::read(&field, NOBODY, sink)
        };
        let (whose, to) = (read("namespaces"), read("to"));
        Some(ExposureGrant {
            namespaces: whose?,
            to: to?,
        })
    })
}

const NOBODY: &str = "leave the whole entry out to grant nobody anything";

fn each<T>(field: &Field, sink: &mut Sink, read: impl Fn(&Field, &mut Sink) -> Option<T>) -> Option<Vec<T>> {
    if matches!(&field.node.value, Value::List(items) if items.is_empty()) {
        return Some(Vec::new());
    }
    let entries = field.list(MAX_GRANTS, "", sink)?;
    let grants: Vec<T> = entries.iter().filter_map(|field| read(field, sink)).collect();
    (grants.len() == entries.len()).then_some(grants)
}

fn list<T: PartialEq>(
    field: &Field,
    when_absent: &str,
    sink: &mut Sink,
    read: impl Fn(&Field, &mut Sink) -> Option<T>,
) -> Option<Vec<T>> {
    let entries = field.list(MAX_GRANTED, when_absent, sink)?;
    let mut list = Vec::new();
    for field in &entries {
        match read(field, sink) {
            Some(entry) if list.contains(&entry) => field.report(sink, "is listed twice"),
            Some(entry) => list.push(entry),
            None => {}
        }
    }
    (list.len() == entries.len()).then_some(list)
}

fn host_pattern(field: &Field, sink: &mut Sink) -> Option<HostPattern> {
    let text = field.text(sink)?.to_ascii_lowercase();
    if text == "*" {
        return Some(HostPattern::Any);
    }
    let domain = text.strip_prefix('*').filter(|rest| rest.starts_with('.'));
    let name = domain.map_or(&*text, |rest| &rest[1..]);
    if let Err(reason) = host::check(name) {
        let reason = format!("{reason}; or \"*.example.com\" for all that is below it, or \"*\" for every host");
        field.report(sink, reason);
        return None;
    }
    Some(match domain {
        Some(domain) => HostPattern::Below(domain.into()),
        None => HostPattern::Is(text.into()),
    })
}

/// A network, in its one spelling: what is granted must be what is read.
fn network(field: &Field, sink: &mut Sink) -> Option<IpNet> {
    let text = field.text(sink)?;
    let reason = match text.parse::<IpNet>() {
        Err(_) => format!(
            "{} is no network such as \"10.0.0.0/8\", \"fd00::/8\" or, for one address, \"10.0.0.5/32\"",
            quote(text)
        ),
        Ok(network) if network.trunc() != network => {
            let right = network.trunc();
            format!("{} has bits behind its prefix; write \"{right}\"", quote(text))
        }
        Ok(network) => return Some(network),
    };
    field.report(sink, reason);
    None
}
