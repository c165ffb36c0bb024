//! Lists of globs.

use super::{
    Pattern,
    bounds::{MAX_GLOB_BYTES, MAX_GLOBS},
    fields::{Field, Fields, Sink},
    problem::quote,
};

/// The globs in the list `name`, which may be absent: no globs then.
pub(super) fn list(fields: &Fields, name: &str, when_absent: &str, sink: &mut Sink) -> Vec<Pattern> {
    let list = fields
        .optional(name)
        .and_then(|field| field.list(MAX_GLOBS, when_absent, sink))
        .unwrap_or_default();
    list.iter().filter_map(|field| glob(field, sink)).collect()
}

/// The glob at `field`.
pub(super) fn glob(field: &Field, sink: &mut Sink) -> Option<Pattern> {
    let text = field.text(sink)?;
    let reason = if text.is_empty() {
        "must not be empty; \"*\" matches everything".to_owned()
    } else if text.len() > MAX_GLOB_BYTES {
        format!("is {} bytes long; at most {MAX_GLOB_BYTES} are allowed", text.len())
    } else {
        match Pattern::new(text) {
            Ok(pattern) => return Some(pattern),
            Err(error) => format!("{} is not a valid glob: {}", quote(text), error.reason),
        }
    };
    field.report(sink, reason);
    None
}
