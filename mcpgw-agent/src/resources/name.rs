//! Names as Kubernetes has them (RFC 1123).

use super::{ObjectName, fields::Field, fields::Sink, problem::quote};

const MAX_LABEL: usize = 63;
/// Length of the name of a resource.
pub(super) const MAX_SUBDOMAIN: usize = 253;

/// A namespace's name at `field`.
pub(super) fn namespace<'a>(field: &Field<'a>, sink: &mut Sink) -> Option<&'a str> {
    let text = field.text(sink)?;
    check(is_label(text), text, "namespace", MAX_LABEL, field, sink)
}

/// The name of a resource or ServiceAccount at `field`.
pub(super) fn name<'a>(field: &Field<'a>, sink: &mut Sink) -> Option<&'a str> {
    let text = field.text(sink)?;
    check(is_subdomain(text), text, "name", MAX_SUBDOMAIN, field, sink)
}

/// `namespace/name` at `field`.
pub(super) fn qualified(field: &Field, sink: &mut Sink) -> Option<ObjectName> {
    let text = field.text(sink)?;
    match text.split_once('/') {
        Some((namespace, name)) if is_label(namespace) && is_subdomain(name) => Some(ObjectName {
            namespace: namespace.into(),
            name: name.into(),
        }),
        None if is_subdomain(text) => {
            field.report(
                sink,
                format!("{} has no namespace; write it as \"default/{text}\"", quote(text)),
            );
            None
        }
        _ => {
            field.report(sink, format!("{} is not of the form namespace/name", quote(text)));
            None
        }
    }
}

fn check<'a>(valid: bool, text: &'a str, what: &str, max: usize, field: &Field, sink: &mut Sink) -> Option<&'a str> {
    if valid {
        return Some(text);
    }
    let dots = if max == MAX_LABEL { "" } else { ", \".\"" };
    let reason = format!(
        "{} is not a valid {what}: 1 to {max} of a-z, 0-9, \"-\"{dots}, beginning and ending with a letter or digit",
        quote(text)
    );
    field.report(sink, reason);
    None
}

fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= MAX_LABEL
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
}

/// Whether this is the name of a resource, or the prefix of a key.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= MAX_SUBDOMAIN && text.split('.').all(is_label)
}
