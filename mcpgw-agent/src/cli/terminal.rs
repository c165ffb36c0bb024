//! Text on a terminal. Callers, servers and engines choose much of what commands show: none of it may move the cursor,
//! hide what stands beside it, or pass for a line of ours.

use std::{borrow::Cow, fmt::Write};

/// With what a terminal would not show, or would obey, as JSON escapes; line breaks stay. JSON stays the same
/// JSON.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let shows = |c: char| matches!(c, '\n' | '\'' | '"' | '\\') || c.escape_debug().len() == 1;
    if text.chars().all(shows) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::new();
    for character in text.chars() {
        if shows(character) {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    Cow::Owned(escaped)
}

/// The same, on one line.
pub(super) fn on_one_line(text: &str) -> String {
    visible(text).replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_or_hide_is_escaped_and_the_rest_stays() {
        assert_eq!(visible("größe \"1\"\n'ok' \\"), "größe \"1\"\n'ok' \\");
        for (hostile, shown) in [
            ("\u{1b}[2J", "\\u001b[2J"),
            ("a\rb", "a\\u000db"),
            ("\u{9b}31m", "\\u009b31m"),
            ("\u{202e}txt", "\\u202etxt"),
            ("a\u{200b}b", "a\\u200bb"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(visible(hostile), shown);
        }
        assert_eq!(on_one_line("add\nallow (tools/p#1)"), "add\\nallow (tools/p#1)");
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({"a\u{202e}": ["\u{9b}", "x\ny"]});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = visible(&text);
        assert!(!shown.contains('\u{202e}') && !shown.contains('\u{9b}'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
