//! JSON that has one reading only: no name twice in any object, however it is written.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::mcp::scan::{Fault, Scanner};

/// A JSON object in which no object has a name twice; `None` for anything else.
pub(super) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut scanner = Scanner::new(bytes).ok()?;
    unique(&mut scanner).ok()?;
    scanner.end().ok()?;
    serde_json::from_slice(bytes).ok()
}

/// What is no JSON, or says something twice.
struct Ambiguous;

impl From<Fault> for Ambiguous {
    fn from(_: Fault) -> Self {
        Self
    }
}

/// Reads one value. The scanner bounds how deep it goes.
fn unique(scanner: &mut Scanner<'_>) -> Result<(), Ambiguous> {
    match scanner.peek()? {
        b'{' => {
            let mut names = HashSet::new();
            scanner.members(|scanner, name| match names.insert(name.decode()?) {
                true => unique(scanner),
                false => Err(Ambiguous),
            })?;
        }
        b'[' => {
            scanner.elements(unique)?;
        }
        _ => {
            scanner.skip()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_twice_makes_it_no_object_at_any_depth() {
        assert!(object(br#" {"a":{"b":[{"c":1},{"c":2}]},"b":null} "#).is_some());
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[[{"b":1,"b":2}]]}"#,
            r#"{"a":1}x"#,
            r#"{"a":1}{"#,
            "[]",
            "1",
            "",
            "{",
        ] {
            assert!(object(text.as_bytes()).is_none(), "{text}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_none());
        assert!(object("[".repeat(10_000).as_bytes()).is_none());
    }
}
