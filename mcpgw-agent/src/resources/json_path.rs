//! Places in a JSON value, by the part of JSONPath (RFC 9535) whose cost is bounded by the size of the value: names,
//! indexes, wildcards and at most one descent. Filters, slices and unions are refused: callers choose the values that
//! these would be evaluated over.

use serde_json::Value;

use crate::mcp::members::looks_like;

/// Longest path, in bytes.
const MAX_BYTES: usize = 256;

/// Which places of a value are meant, whatever the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath {
    steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// `..`: at any depth.
    descends: bool,
    to: To,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum To {
    Name(Box<str>),
    Index(usize),
    All,
}

/// Why a text is no path that can be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonPathError {
    /// It is too long.
    #[error("is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// It is not relative to the whole value.
    #[error("must begin with $")]
    NoRoot,
    /// It says where to go below all that it has gone below.
    #[error("has more than one \"..\"")]
    Descents,
    /// Something is not as the part of JSONPath has it that is known here.
    #[error("cannot be read at {0:?}: known are .name, ['name'], [0], [*], .* and one ..name")]
    Unknown(String),
}

impl JsonPath {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        if text.len() > MAX_BYTES {
            return Err(JsonPathError::TooLong);
        }
        let mut rest = text.strip_prefix('$').ok_or(JsonPathError::NoRoot)?;
        let mut steps: Vec<Step> = Vec::new();
        while !rest.is_empty() {
            let (step, behind) = Step::parse(rest).ok_or_else(|| JsonPathError::Unknown(rest.to_owned()))?;
            if step.descends && steps.iter().any(|step| step.descends) {
                return Err(JsonPathError::Descents);
            }
            steps.push(step);
            rest = behind;
        }
        Ok(Self { steps: steps.into() })
    }

    /// Puts `stand_in` in place of everything that is meant. A value of `n` parts takes no more than `n` times the
    /// path's steps.
    pub fn replace(&self, value: &mut Value, stand_in: &Value) {
        replace(&self.steps, value, stand_in);
    }
}

fn replace(steps: &[Step], value: &mut Value, stand_in: &Value) {
    let Some((step, behind)) = steps.split_first() else {
        value.clone_from(stand_in);
        return;
    };
    let child = |is_meant: bool, child: &mut Value| {
        if is_meant {
            replace(behind, child, stand_in);
        }
        // What was replaced is a text, and has no children.
        if step.descends {
            replace(steps, child, stand_in);
        }
    };
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                child(step.to.is_member(name), member);
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                child(step.to.is_element(index), element);
            }
        }
        _ => {}
    }
}

impl Step {
    /// The step at the beginning of a text, and what is behind it.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let step = |descends, to| Self { descends, to };
        if let Some(text) = text.strip_prefix("..") {
            let (to, rest) = To::bracketed(text).or_else(|| To::short(text))?;
            return Some((step(true, to), rest));
        }
        let (to, rest) = match text.strip_prefix('.') {
            Some(text) => To::short(text)?,
            None => To::bracketed(text)?,
        };
        Some((step(false, to), rest))
    }
}

impl To {
    /// `*`, or a name as it may be written without quotes.
    fn short(text: &str) -> Option<(Self, &str)> {
        if let Some(rest) = text.strip_prefix('*') {
            return Some((Self::All, rest));
        }
        let is_first = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || !letter.is_ascii();
        let is_later = |letter: char| is_first(letter) || letter.is_ascii_digit();
        text.chars().next().filter(|letter| is_first(*letter))?;
        let end = text.find(|letter| !is_later(letter)).unwrap_or(text.len());
        Some((Self::Name(text[..end].into()), &text[end..]))
    }

    /// `['name']`, `["name"]`, `[0]` or `[*]`.
    fn bracketed(text: &str) -> Option<(Self, &str)> {
        let inside = text.strip_prefix('[')?.trim_start();
        let (to, rest) = if let Some(rest) = inside.strip_prefix('*') {
            (Self::All, rest)
        } else if let Some(quote) = inside.chars().next().filter(|letter| matches!(letter, '\'' | '"')) {
            let (name, rest) = quoted(&inside[1..], quote)?;
            (Self::Name(name.into()), rest)
        } else {
            let end = inside.find(|letter: char| !letter.is_ascii_digit())?;
            let digits = &inside[..end];
            let is_plain = digits == "0" || !digits.starts_with('0');
            (Self::Index(digits.parse().ok().filter(|_| is_plain)?), &inside[end..])
        };
        Some((to, rest.trim_start().strip_prefix(']')?))
    }

    fn is_member(&self, name: &str) -> bool {
        match self {
            // Some readers of JSON do not look at the case: they would take it for what is meant.
            Self::Name(wanted) => **wanted == *name || looks_like(name, &[wanted]),
            Self::All => true,
            Self::Index(_) => false,
        }
    }

    fn is_element(&self, index: usize) -> bool {
        match self {
            Self::Index(wanted) => *wanted == index,
            Self::All => true,
            Self::Name(_) => false,
        }
    }
}

/// The text before the closing quote, decoded, and what is behind it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut json = String::from('"');
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => match letters.next()?.1 {
                '\'' if quote == '\'' => json.push('\''),
                '"' if quote == '\'' => return None,
                escaped => json.extend(['\\', escaped]),
            },
            _ if letter == quote => {
                json.push('"');
                return Some((serde_json::from_str(&json).ok()?, &text[at + 1..]));
            }
            '"' => json.push_str("\\\""),
            _ => json.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn without(path: &str, mut value: Value) -> Value {
        JsonPath::parse(path).unwrap().replace(&mut value, &json!("X"));
        value
    }

    #[test]
    fn what_a_path_means_is_replaced_and_nothing_else() {
        let value = json!({"a": {"b": [1, {"c": 2}], "c": 3}, "c": {"c": 4}, "d-e": 5, "ä'\"": 6});
        for (path, expected) in [
            (
                "$.a.c",
                json!({"a": {"b": [1, {"c": 2}], "c": "X"}, "c": {"c": 4}, "d-e": 5, "ä'\"": 6}),
            ),
            (
                "$.a.b[0]",
                json!({"a": {"b": ["X", {"c": 2}], "c": 3}, "c": {"c": 4}, "d-e": 5, "ä'\"": 6}),
            ),
            (
                "$..c",
                json!({"a": {"b": [1, {"c": "X"}], "c": "X"}, "c": "X", "d-e": 5, "ä'\"": 6}),
            ),
            (
                "$.a..c",
                json!({"a": {"b": [1, {"c": "X"}], "c": "X"}, "c": {"c": 4}, "d-e": 5, "ä'\"": 6}),
            ),
            (
                "$.*.c",
                json!({"a": {"b": [1, {"c": 2}], "c": "X"}, "c": {"c": "X"}, "d-e": 5, "ä'\"": 6}),
            ),
            (
                "$['d-e']",
                json!({"a": {"b": [1, {"c": 2}], "c": 3}, "c": {"c": 4}, "d-e": "X", "ä'\"": 6}),
            ),
            (
                "$[ 'ä\\'\"' ]",
                json!({"a": {"b": [1, {"c": 2}], "c": 3}, "c": {"c": 4}, "d-e": 5, "ä'\"": "X"}),
            ),
            (
                "$[\"\\u00e4'\\\"\"]",
                json!({"a": {"b": [1, {"c": 2}], "c": 3}, "c": {"c": 4}, "d-e": 5, "ä'\"": "X"}),
            ),
            (
                "$..[1]",
                json!({"a": {"b": [1, "X"], "c": 3}, "c": {"c": 4}, "d-e": 5, "ä'\"": 6}),
            ),
            (
                "$.a..*",
                json!({"a": {"b": "X", "c": "X"}, "c": {"c": 4}, "d-e": 5, "ä'\"": 6}),
            ),
            (
                "$['D-E']",
                json!({"a": {"b": [1, {"c": 2}], "c": 3}, "c": {"c": 4}, "d-e": "X", "ä'\"": 6}),
            ),
            ("$", json!("X")),
            ("$.nothing[7]", value.clone()),
        ] {
            assert_eq!(without(path, value.clone()), expected, "{path}");
        }
    }

    #[test]
    fn below_what_is_meant_at_some_depth_everything_that_is_meant_goes() {
        let value = json!({"a": {"a": {"b": 1}, "b": 2}, "b": 3});
        let expected = json!({"a": {"a": {"b": "X"}, "b": "X"}, "b": 3});
        assert_eq!(without("$..a.b", value), expected);
    }

    #[test]
    fn what_is_not_bounded_or_not_known_is_refused() {
        for path in [
            "a",
            "",
            "$a",
            "$.",
            "$..",
            "$.a-b",
            "$.1",
            "$[",
            "$[]",
            "$['a",
            "$['a'",
            "$[01]",
            "$[-1]",
            "$[1:2]",
            "$['a','b']",
            "$[?@.a]",
            "$..[?@.a]",
            "$.a ",
            "$['\\\"']",
            "$['\\x']",
            "$[99999999999999999999]",
        ] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
        assert_eq!(JsonPath::parse("$..a..b"), Err(JsonPathError::Descents));
        assert_eq!(
            JsonPath::parse(&format!("$.{}", "a".repeat(255))),
            Err(JsonPathError::TooLong)
        );
    }
}
