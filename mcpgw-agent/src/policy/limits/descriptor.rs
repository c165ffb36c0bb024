//! Whose budget a call spends, in words that a rate limit service counts by.
//!
//! A descriptor's entries are, in this order: `limit` (its name, `namespace/policy#limit`), and one for each part of its
//! key, in the order of the key: `identity` (the principal), `namespace`, `server` (`namespace/name`), `tool`, and
//! `claim:<path>` (its value as JSON). What a caller does not have is `-`. In values `_`, `%`, and all that is not visible
//! ASCII, is written as `%5F` and so on: services put entries together with `_` between them, and nobody may choose a
//! name that comes to somebody else's budget. Values over [`MAX_VALUE_BYTES`] end with a digest in place of the rest.
//! The quota is that of the limit: the service needs no configuration of its own but the domain.

use std::{borrow::Cow, fmt::Write};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use super::{Limit, Shared, Spender, key::claim};
use crate::resources::KeyPart;

/// Length of a value in a descriptor, in bytes.
const MAX_VALUE_BYTES: usize = 256;
/// What of a longer one stays readable.
const READABLE_BYTES: usize = 180;
/// The value of what a caller does not have. Nothing that it could have is written so.
const NONE: &str = "-";

/// A budget that the whole cluster shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Keys and values.
    pub entries: Vec<(String, String)>,
    /// How much it is.
    pub quota: Shared,
}

impl Descriptor {
    /// The budget that a call spends of a limit; `None` where the limit is this node's alone.
    pub fn of(limit: &Limit, spender: &Spender<'_>) -> Option<Self> {
        let own = ("limit".to_owned(), written(&limit.name));
        let parts = limit.key.iter().map(|part| entry(part, spender));
        Some(Self {
            entries: [own].into_iter().chain(parts).collect(),
            quota: limit.shared?,
        })
    }
}

fn entry(part: &KeyPart, spender: &Spender<'_>) -> (String, String) {
    let caller = spender.caller;
    let (key, value): (Cow<'_, str>, Option<Cow<'_, str>>) = match part {
        KeyPart::Identity => ("identity".into(), Some(caller.principal().into())),
        KeyPart::Namespace => (
            "namespace".into(),
            caller.account().map(|(namespace, _)| (**namespace).into()),
        ),
        KeyPart::Server => ("server".into(), Some(spender.server.to_string().into())),
        KeyPart::Tool => ("tool".into(), Some(spender.tool_key.into())),
        KeyPart::Claim(path) => (
            format!("claim:{}", path.join(".")).into(),
            claim(path, caller).map(Value::to_string).map(Cow::from),
        ),
    };
    let value = value.filter(|value| !value.is_empty());
    let value = value.map_or_else(|| NONE.to_owned(), |value| written(&value));
    (written(&key), value)
}

fn written(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'_' | b'%' => escape(&mut out, byte),
            _ if byte.is_ascii_graphic() => out.push(char::from(byte)),
            _ => escape(&mut out, byte),
        }
    }
    if out == NONE {
        return "%2D".to_owned();
    }
    if out.len() > MAX_VALUE_BYTES {
        // Every character is one byte.
        out.truncate(READABLE_BYTES);
        out.push('~');
        for byte in digest(&SHA256, text.as_bytes()).as_ref() {
            let _ = write!(out, "{byte:02x}");
        }
    }
    out
}

fn escape(out: &mut String, byte: u8) {
    // Writing to a string cannot fail.
    let _ = write!(out, "%{byte:02X}");
}
