//! What of a call's arguments may be in its line: by default nothing. What a rule names is taken out before anything
//! else sees it, and so is what looks like a token, whatever the rules say.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, value::RawValue};

use crate::{mcp::part::Part, resources::Payloads};

/// What stands in place of what was taken out.
const REDACTED: &str = "[redacted]";

/// A JSON Web Token, or a credential as `Authorization` has it, anywhere in a text.
#[allow(clippy::expect_used, reason = "a constant that a test compiles")]
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.|(?i:\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8})")
        .expect("a regular expression")
});

/// The arguments of a call, as its line has them.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Without what rules name.
    Written(Box<RawValue>),
    /// Left out.
    Omitted(Omitted),
}

/// Why arguments are left out of a line that would have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omitted {
    /// They are larger than the settings allow.
    TooLarge,
    /// They can be read in several ways, so that a rule could miss what another reader finds.
    Ambiguous,
}

impl Omitted {
    /// The word in the line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Ambiguous => "ambiguous",
        }
    }
}

impl Payload {
    /// What these settings let a line have of the arguments of a call; `None` where there are none.
    pub fn of(arguments: Option<Part<'_>>, settings: &Payloads) -> Option<Self> {
        let arguments = arguments?;
        if arguments.get().len() > settings.max_bytes {
            return Some(Self::Omitted(Omitted::TooLarge));
        }
        let Ok(mut value) = arguments.value() else {
            return Some(Self::Omitted(Omitted::Ambiguous));
        };
        let stand_in = Value::from(REDACTED);
        for path in &settings.redact {
            path.replace(&mut value, &stand_in);
        }
        without_tokens(&mut value);
        // What stands in may be longer than what it stands for.
        Some(match serde_json::value::to_raw_value(&value) {
            Ok(written) if written.get().len() <= settings.max_bytes => Self::Written(written),
            _ => Self::Omitted(Omitted::TooLarge),
        })
    }
}

fn without_tokens(value: &mut Value) {
    match value {
        Value::String(text) if TOKEN.is_match(text) => *text = REDACTED.to_owned(),
        Value::Array(elements) => elements.iter_mut().for_each(without_tokens),
        Value::Object(members) => {
            if members.keys().any(|name| TOKEN.is_match(name)) {
                let named = std::mem::take(members).into_iter();
                *members = named.filter(|(name, _)| !TOKEN.is_match(name)).collect::<Map<_, _>>();
            }
            members.values_mut().for_each(without_tokens);
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
