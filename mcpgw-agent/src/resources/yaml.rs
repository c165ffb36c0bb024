//! Text → a tree of nodes that know where they stand.
//!
//! The schema is checked on this tree and not by typed deserialization: that would stop at the first error,
//! and could not tell an unknown field from one that is only not supported yet.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, MessageFormatter, Spanned, UserMessageFormatter};

use super::{
    SourceText, bounds,
    problem::{At, Problem, quote},
};

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub at: At,
    pub value: Value,
}

/// What YAML can say here. Keys keep their order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// Its value where it is a whole number, and not negative: nothing here takes another.
    Number(Option<u64>),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// What messages call it.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// The documents of a file; empty ones are left out. What cannot be read is reported instead.
pub(super) fn documents(file: &SourceText, problems: &mut Vec<Problem>) -> Vec<Node> {
    let mut report = |at: At, reason: String| {
        problems.push(Problem {
            file: file.name.clone(),
            line: at.line,
            column: at.column,
            object: String::new(),
            field: String::new(),
            reason,
        });
    };
    if file.text.len() > bounds::MAX_FILE_BYTES {
        let reason = format!(
            "is {} bytes long; at most {} are read",
            file.text.len(),
            bounds::MAX_FILE_BYTES
        );
        report(At::default(), reason);
        return Vec::new();
    }
    let mut reader = file.text.as_bytes();
    let mut documents = Vec::new();
    for document in serde_saphyr::read_with_options::<_, Node>(&mut reader, options()) {
        if documents.len() == bounds::MAX_DOCUMENTS {
            report(
                At::default(),
                format!("has more than {} documents", bounds::MAX_DOCUMENTS),
            );
            break;
        }
        match document {
            Ok(node) if node.value == Value::Null => {}
            Ok(node) => documents.push(node),
            Err(error) => {
                let at = error.location().map(At::from).unwrap_or_default();
                let message = UserMessageFormatter
                    .format_message(error.without_snippet())
                    .into_owned();
                let hint = alias(&file.text, at).unwrap_or_default();
                report(at, format!("not valid YAML: {message}{hint}"));
            }
        }
    }
    documents
}

/// What to do where YAML takes for an alias what is most likely a glob.
fn alias(text: &str, at: At) -> Option<String> {
    let line = text.lines().nth(usize::try_from(at.line.checked_sub(1)?).ok()?)?;
    let before = usize::try_from(at.column.checked_sub(1)?).ok()?;
    let rest: String = line.chars().skip(before).take(bounds::MAX_QUOTED).collect();
    let ends = |c: char| c.is_whitespace() || "[]{},".contains(c);
    let glob = rest.split(ends).next().filter(|glob| glob.starts_with('*'))?;
    Some(format!(
        "; a text that begins with \"*\" needs quotes, for in YAML that begins an alias: {}",
        quote(glob)
    ))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: bounds::MAX_DEPTH,
            max_nodes: bounds::MAX_NODES,
            max_reader_input_bytes: Some(bounds::MAX_FILE_BYTES),
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: bounds::MAX_NODES,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        // `mode: off` is a word here.
        strict_booleans: true,
        with_snippet: false,
    }
}

impl From<serde_saphyr::Location> for At {
    fn from(location: serde_saphyr::Location) -> Self {
        Self {
            line: location.line(),
            column: location.column(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            at: spanned.referenced.into(),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(u64::try_from(number).ok()))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Number(u64::try_from(number).ok()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(Some(number)))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Value, E> {
        Ok(Value::Number(u64::try_from(number).ok()))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Number(None))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}
