//! Labels, as Kubernetes has them.

use super::{
    Labels,
    bounds::MAX_LABELS,
    fields::{Field, Sink},
    name::is_subdomain,
    problem::quote,
};

/// Length of a key without its prefix, and of a value.
const MAX_LENGTH: usize = 63;

/// The labels at `field`.
pub(super) fn read(field: &Field, sink: &mut Sink) -> Option<Labels> {
    let mut labels = Labels::new();
    for (key, field) in field.entries(MAX_LABELS, "leave labels out where there are none", sink)? {
        let Some(value) = field.text(sink) else { continue };
        if check_key(key, &field, sink) && check_value(value, &field, sink) {
            labels.insert(key.into(), value.into());
        }
    }
    Some(labels)
}

/// Whether this is the key of a label; else that is reported.
pub(super) fn check_key(key: &str, field: &Field, sink: &mut Sink) -> bool {
    let valid = is_key(key);
    if !valid {
        let reason = format!(
            "{} is no key of a label: [prefix/]name, where the name has 1 to {MAX_LENGTH} of A-Z, a-z, 0-9, \
             \"-\", \"_\", \".\" and begins and ends with a letter or digit",
            quote(key)
        );
        field.report(sink, reason);
    }
    valid
}

/// Whether this is the value of a label; else that is reported.
pub(super) fn check_value(value: &str, field: &Field, sink: &mut Sink) -> bool {
    let valid = value.is_empty() || is_value(value);
    if !valid {
        let reason = format!(
            "{} is no value of a label: up to {MAX_LENGTH} of A-Z, a-z, 0-9, \"-\", \"_\", \".\", beginning and \
             ending with a letter or digit",
            quote(value)
        );
        field.report(sink, reason);
    }
    valid
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_value(name),
        None => is_value(key),
    }
}

fn is_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    bytes.len() <= MAX_LENGTH
        && bytes.iter().all(inside)
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}
