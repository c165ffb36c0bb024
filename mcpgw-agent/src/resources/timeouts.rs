//! `MCPServer.spec.timeouts`.

use std::{ops::RangeInclusive, time::Duration};

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
    within(field, MIN_TIMEOUT..=MAX_TIMEOUT, sink)
}

/// The duration at `field`, within bounds.
pub(super) fn within(field: &Field, bounds: RangeInclusive<Duration>, sink: &mut Sink) -> Option<Duration> {
    let text = field.text(sink)?;
    let reason = match humantime::parse_duration(text) {
        Ok(duration) if bounds.contains(&duration) => return Some(duration),
        Ok(_) => format!(
            "{} is out of bounds: {} to {}",
            quote(text),
            humantime::format_duration(*bounds.start()),
            humantime::format_duration(*bounds.end())
        ),
        Err(error) => format!(
            "{} is not a duration such as \"5s\", \"1m 30s\" or \"1h\": {error}",
            quote(text)
        ),
    };
    field.report(sink, reason);
    None
}
