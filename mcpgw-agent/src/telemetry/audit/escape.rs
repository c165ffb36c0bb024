//! JSON as lines have it: with nothing that a terminal would obey. Callers and servers choose much of what lines say,
//! and logs are read on terminals. JSON itself wants only what is below U+0020 escaped.

use std::io;

use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

/// Writes a value as JSON in which DEL and the C1 control characters are escaped too.
pub(super) fn to_writer(bytes: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(bytes, Escaping))
}

struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        escape(writer, fragment)
    }

    /// Of JSON that is there already. It has such characters within texts only.
    fn write_raw_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        escape(writer, fragment)
    }
}

fn is_control(character: char) -> bool {
    matches!(character, '\u{7f}'..='\u{9f}')
}

fn escape<W: ?Sized + io::Write>(writer: &mut W, text: &str) -> io::Result<()> {
    let mut rest = text;
    // Nearly all texts have nothing beyond ASCII.
    if text.bytes().any(|byte| byte >= 0x7f) {
        while let Some((at, control)) = rest.char_indices().find(|(_, character)| is_control(*character)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(control))?;
            rest = &rest[at + control.len_utf8()..];
        }
    }
    writer.write_all(rest.as_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, value::RawValue};

    use super::*;

    fn written(value: &impl Serialize) -> String {
        let mut bytes = Vec::new();
        to_writer(&mut bytes, value).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_the_json_stays_the_same() {
        let value = json!({"a\u{9b}31m": ["\u{7f}x\u{80}\u{9f}", "größe \u{a0}", "\u{1b}[2J\n", 1, null]});
        let text = written(&value);
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(
            text.contains(r"\u007fx\u0080\u009f") && text.contains("größe \u{a0}"),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn so_it_is_in_json_that_is_there_already() {
        let raw = RawValue::from_string("[\"\u{9b}\u{9b}31m\"]".to_owned()).unwrap();
        assert_eq!(written(&raw), r#"["\u009b\u009b31m"]"#);
    }
}
