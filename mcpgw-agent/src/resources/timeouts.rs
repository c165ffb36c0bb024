//! `MCPServer.spec.timeouts`.

use std::time::Duration;

use super::{
    Timeouts,
    bounds::{MAX_TIMEOUT, MIN_TIMEOUT},
    fields::{Field, Schema, Sink},
    problem::quote,
};

const TIMEOUTS: Schema = Schema {
    known: &["connect", "firstByte", "idle", "call"],
    later: &[],
};

/// What is not there has its default.
pub(super) fn read(field: &Field, sink: &mut Sink) -> Option<Timeouts> {
    let fields = field.fields(&TIMEOUTS, sink)?;
    let mut timeouts = Timeouts::default();
    let mut good = true;
    for (name, timeout) in [
        ("connect", &mut timeouts.connect),
        ("firstByte", &mut timeouts.first_byte),
        ("idle", &mut timeouts.idle),
        ("call", &mut timeouts.call),
    ] {
        if let Some(field) = fields.optional(name) {
            match duration(&field, sink) {
                Some(duration) => *timeout = duration,
                None => good = false,
            }
        }
    }
    good.then_some(timeouts)
}

fn duration(field: &Field, sink: &mut Sink) -> Option<Duration> {
    let text = field.text(sink)?;
    let reason = match humantime::parse_duration(text) {
        Ok(duration) if (MIN_TIMEOUT..=MAX_TIMEOUT).contains(&duration) => return Some(duration),
        Ok(_) => format!(
            "{} is out of bounds: {} to {}",
            quote(text),
            humantime::format_duration(MIN_TIMEOUT),
            humantime::format_duration(MAX_TIMEOUT)
        ),
        Err(error) => format!(
            "{} is not a duration such as \"5s\", \"1m 30s\" or \"1h\": {error}",
            quote(text)
        ),
    };
    field.report(sink, reason);
    None
}
