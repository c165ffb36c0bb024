//! What a tool is, as its server defines it: the part of a list's element that clients, and the models behind them,
//! go by. In a canonical form, so that neither the order of its members nor white space makes another one of it.

use std::{
    fmt::{self, Write},
    str::FromStr,
    sync::Arc,
};

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{envelope::EnvelopeError, members::looks_like, part::Part};

/// The members that make a definition. One that only looks like one of these counts too: some clients take it for it.
const MEMBERS: [&str; 6] = [
    "name",
    "title",
    "description",
    "inputSchema",
    "outputSchema",
    "annotations",
];
/// Size of a definition in its canonical form, in bytes.
pub const MAX_DEFINITION: usize = 256 * 1024;

/// Why a tool has no definition that could be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undefined {
    /// It is no object, or one that can be read in two ways.
    #[error("it cannot be read in one way only: {0}")]
    Unreadable(#[from] EnvelopeError),
    /// It is too large.
    #[error("its definition is larger than {MAX_DEFINITION} bytes")]
    TooLarge,
}

/// The definition of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    digest: Digest,
    json: Arc<str>,
}

impl Definition {
    /// That of a tool, as it stands in a list.
    pub fn of_tool(json: &[u8]) -> Result<Self, Undefined> {
        let Value::Object(mut tool) = Part::of_body(json)?.value()? else {
            return Err(EnvelopeError::NotAnObject.into());
        };
        tool.retain(|key, _| MEMBERS.contains(&&**key) || looks_like(key, &MEMBERS));
        let mut text = String::new();
        canonical(&Value::Object(tool), &mut text);
        if text.len() > MAX_DEFINITION {
            return Err(Undefined::TooLarge);
        }
        Ok(Self {
            digest: Digest::of(text.as_bytes()),
            json: text.into(),
        })
    }

    /// Tells it from every other one.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// In its canonical form.
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// Writes JSON with the members of objects in the order of their names, and without white space.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            let mut separator = '{';
            for (key, value) in members {
                text.push(separator);
                separator = ',';
                quoted(key, text);
                text.push(':');
                canonical(value, text);
            }
            text.push_str(if separator == '{' { "{}" } else { "}" });
        }
        Value::Array(array) => {
            let mut separator = '[';
            for value in array {
                text.push(separator);
                separator = ',';
                canonical(value, text);
            }
            text.push_str(if separator == '[' { "[]" } else { "]" });
        }
        Value::String(string) => quoted(string, text),
        // Writing to a string cannot fail.
        simple => drop(write!(text, "{simple}")),
    }
}

fn quoted(string: &str, text: &mut String) {
    let _ = write!(text, "{}", Value::from(string));
}

/// SHA-256 over a canonical definition; written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// No digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is written sha256: and 64 hexadecimal digits")]
pub struct NoDigest;

const ALGORITHM: &str = "sha256:";

impl Digest {
    fn of(bytes: &[u8]) -> Self {
        let mut value = [0; 32];
        value.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(value)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALGORITHM)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let digits = text.strip_prefix(ALGORITHM).ok_or(NoDigest)?.as_bytes();
        let mut value = [0; 32];
        if digits.len() != 2 * value.len() {
            return Err(NoDigest);
        }
        for (byte, digits) in value.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(NoDigest);
            // Two digits of four bits each.
            *byte = (digit(digits[0])? * 16 + digit(digits[1])?) as u8;
        }
        Ok(Self(value))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    fn digest(tool: &str) -> Digest {
        Definition::of_tool(tool.as_bytes()).unwrap().digest()
    }

    #[test]
    fn neither_order_nor_white_space_nor_spelling_makes_another_definition() {
        let tool = r#"{"name":"add","description":"Adds","inputSchema":{"type":"object","properties":{"a":{"type":"number"},"b":{}}}}"#;
        let same = " {\"inputSchema\" :{\n\"properties\":{\"b\":{ },\"a\":{\"type\":\"num\\u0062er\"}},\"type\":\"object\"},\t\"description\":\"Adds\", \"name\":\"add\"} ";
        assert_eq!(digest(tool), digest(same));
        let definition = Definition::of_tool(same.as_bytes()).unwrap();
        assert_eq!(
            definition.json(),
            r#"{"description":"Adds","inputSchema":{"properties":{"a":{"type":"number"},"b":{}},"type":"object"},"name":"add"}"#
        );
        // Known from elsewhere: sha256sum of the canonical form.
        assert_eq!(definition.digest(), Digest::of(definition.json().as_bytes()));
        assert_eq!(
            Digest::of(b"{}").to_string(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
    }

    #[test]
    fn a_definition_that_was_kept_is_the_same_whatever_its_numbers_are() {
        let numbers =
            "[98446744073709751616,5555555555555255555555555555555555555555555555,0.1,1e-7,1.7976931348623157e308]";
        let definition = Definition::of_tool(format!(r#"{{"inputSchema":{numbers}}}"#).as_bytes()).unwrap();
        assert_eq!(Definition::of_tool(definition.json().as_bytes()).unwrap(), definition);
    }

    #[test]
    fn each_part_of_a_definition_counts_and_nothing_else() {
        let tool = json!({"name": "n", "title": "t", "description": "d", "inputSchema": {"a": [1, {}]},
            "outputSchema": {"b": []}, "annotations": {"readOnlyHint": true}, "icons": [1], "_meta": {"c": 1}});
        let of = |tool: &Value| digest(&tool.to_string());
        for member in MEMBERS {
            let mut other = tool.clone();
            other[member] = json!("other");
            assert_ne!(of(&other), of(&tool), "{member}");
            other.as_object_mut().unwrap().remove(member);
            assert_ne!(of(&other), of(&tool), "{member}");
        }
        let mut deep = tool.clone();
        deep["inputSchema"]["a"][1]["x"] = json!(null);
        assert_ne!(of(&deep), of(&tool));
        let mut shouted = tool.clone();
        shouted["DESCRIPTION"] = json!("for clients that do not look at case");
        assert_ne!(of(&shouted), of(&tool));
        let mut beside = tool.clone();
        beside["icons"] = json!([2]);
        beside["_meta"] = json!(7);
        assert_eq!(of(&beside), of(&tool));
    }

    #[test]
    fn what_can_be_read_in_two_ways_or_is_too_large_has_no_definition() {
        let of = |tool: &str| Definition::of_tool(tool.as_bytes()).unwrap_err();
        for tool in [
            r#"{"name":"a","description":"x","description":"y"}"#,
            r#"{"name":"a","inputSchema":{"b":{"c":1,"c":2}}}"#,
            "7",
            "{",
            r#"{"name":"a"} {}"#,
        ] {
            assert!(matches!(of(tool), Undefined::Unreadable(_)), "{tool}");
        }
        let large = json!({"name": "a", "description": "x".repeat(MAX_DEFINITION)});
        assert_eq!(of(&large.to_string()), Undefined::TooLarge);
    }

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        for bad in [
            "",
            "sha256:",
            "sha256:00",
            &digest.to_string()[7..],
            &format!("{digest}0"),
            &digest.to_string().replace(['a', '0'], "g"),
        ] {
            assert_eq!(bad.parse::<Digest>(), Err(NoDigest), "{bad}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-c\u{e9}\"\\\\\n]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn two_definitions_are_equal_if_and_only_if_they_say_the_same(a in any_json(), b in any_json()) {
            let of = |schema: &Value, pretty| {
                let tool = json!({"name": "t", "inputSchema": schema});
                digest(&if pretty { serde_json::to_string_pretty(&tool).unwrap() } else { tool.to_string() })
            };
            prop_assert_eq!(of(&a, true), of(&a, false));
            prop_assert_eq!(of(&a, true) == of(&b, false), a == b);
        }
    }
}
