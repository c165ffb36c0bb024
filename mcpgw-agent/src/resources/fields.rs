//! Walks a tree of nodes by a schema, and reports what does not fit with the path of the field.

use std::{ops::RangeInclusive, sync::Arc};

use super::{
    problem::{At, Problem, quote},
    yaml::{Node, Value},
};

/// The fields of a mapping.
pub(super) struct Schema {
    /// Fields that are read.
    pub known: &'static [&'static str],
    /// Fields that the design names and nothing implements yet: refused, never ignored.
    pub later: &'static [&'static str],
}

/// Where the problems of one document go.
pub(super) struct Sink<'a> {
    pub file: &'a Arc<str>,
    /// Kind and name, as messages show them.
    pub object: String,
    pub problems: &'a mut Vec<Problem>,
}

impl Sink<'_> {
    pub fn report(&mut self, at: At, field: &str, reason: impl Into<String>) {
        self.problems.push(Problem {
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            object: self.object.clone(),
            field: field.to_owned(),
            reason: reason.into(),
        });
    }
}

/// A value and the path that leads to it.
#[derive(Clone)]
pub(super) struct Field<'a> {
    pub path: String,
    pub node: &'a Node,
}

impl<'a> Field<'a> {
    /// The document itself.
    pub fn root(node: &'a Node) -> Self {
        Self {
            path: String::new(),
            node,
        }
    }

    pub fn report(&self, sink: &mut Sink, reason: impl Into<String>) {
        sink.report(self.node.at, &self.path, reason);
    }

    /// The string here; anything else is reported.
    pub fn text(&self, sink: &mut Sink) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            other @ (Value::Bool(_) | Value::Number(_)) => {
                self.report(
                    sink,
                    format!("must be a string, but is {}; put it in quotes", other.describe()),
                );
                None
            }
            other => {
                self.report(sink, format!("must be a string, but is {}", other.describe()));
                None
            }
        }
    }

    /// The port here: a number from 1 to 65535.
    pub fn port(&self, sink: &mut Sink) -> Option<u16> {
        let reason = match &self.node.value {
            Value::Number(number) => match number.and_then(|number| u16::try_from(number).ok()) {
                Some(port) if port > 0 => return Some(port),
                _ => "is no port; ports are 1 to 65535".to_owned(),
            },
            other => format!("must be a number, but is {}", other.describe()),
        };
        self.report(sink, reason);
        None
    }

    /// The whole number here, if it is in `range`.
    pub fn number(&self, range: RangeInclusive<u64>, sink: &mut Sink) -> Option<u64> {
        let reason = match &self.node.value {
            Value::Number(number) => match *number {
                Some(number) if range.contains(&number) => return Some(number),
                _ => format!("must be a whole number from {} to {}", range.start(), range.end()),
            },
            other => format!("must be a number, but is {}", other.describe()),
        };
        self.report(sink, reason);
        None
    }

    /// The `true` or `false` here.
    pub fn flag(&self, sink: &mut Sink) -> Option<bool> {
        if let Value::Bool(flag) = self.node.value {
            return Some(flag);
        }
        let reason = format!("must be true or false, but is {}", self.node.value.describe());
        self.report(sink, reason);
        None
    }

    /// One of `choices`, by its name; anything else is reported. `later` are known and not supported yet.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)], later: &[&str], sink: &mut Sink) -> Option<T> {
        let text = self.text(sink)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        if later.contains(&text) {
            self.report(sink, format!("{} is not supported yet", quote(text)));
        } else {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.report(sink, format!("{} is not one of {}", quote(text), names.join(", ")));
        }
        None
    }

    /// The items of the list here. A list that is empty says nothing that its absence does not say more
    /// clearly, so it is reported, with `when_absent` as advice; so is one over `max`.
    pub fn list(&self, max: usize, when_absent: &str, sink: &mut Sink) -> Option<Vec<Self>> {
        let Value::List(items) = &self.node.value else {
            self.report(sink, format!("must be a list, but is {}", self.node.value.describe()));
            return None;
        };
        if items.is_empty() {
            self.report(sink, format!("must not be empty; {when_absent}"));
            return None;
        }
        if items.len() > max {
            self.report(sink, format!("has {} entries; at most {max} are allowed", items.len()));
            return None;
        }
        let item = |(index, node)| Self {
            path: format!("{}[{index}]", self.path),
            node,
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// The entries of the mapping here, whose keys the writer chooses, by key. As with lists, an empty mapping and
    /// one over `max` are reported.
    pub fn entries(&self, max: usize, when_absent: &str, sink: &mut Sink) -> Option<Vec<(&'a str, Self)>> {
        let Value::Map(entries) = &self.node.value else {
            self.report(
                sink,
                format!("must be a mapping, but is {}", self.node.value.describe()),
            );
            return None;
        };
        if entries.is_empty() {
            self.report(sink, format!("must not be empty; {when_absent}"));
            return None;
        }
        if entries.len() > max {
            self.report(
                sink,
                format!("has {} entries; at most {max} are allowed", entries.len()),
            );
            return None;
        }
        let entry = |(key, node): &'a (Node, Node)| match &key.value {
            Value::Text(name) => Some((
                name.as_str(),
                Self {
                    path: join(&self.path, name),
                    node,
                },
            )),
            other => {
                let reason = format!("a field's name must be a string, not {}", other.describe());
                sink.report(key.at, &self.path, reason);
                None
            }
        };
        Some(entries.iter().filter_map(entry).collect())
    }

    /// What the mapping here, whose keys the writer chooses, has at `key`; nothing is reported.
    pub fn entry(&self, key: &str) -> Option<Self> {
        let Value::Map(entries) = &self.node.value else {
            return None;
        };
        let mut values = entries.iter();
        let (_, node) = values.find(|(name, _)| matches!(&name.value, Value::Text(name) if name == key))?;
        let path = join(&self.path, key);
        Some(Self { path, node })
    }

    /// The mapping here. Fields that `schema` does not know or support are reported.
    pub fn fields(&self, schema: &Schema, sink: &mut Sink) -> Option<Fields<'a>> {
        let Value::Map(entries) = &self.node.value else {
            self.report(
                sink,
                format!("must be a mapping, but is {}", self.node.value.describe()),
            );
            return None;
        };
        let mut fields = Fields {
            path: self.path.clone(),
            at: self.node.at,
            entries: Vec::new(),
        };
        for (key, value) in entries {
            let Value::Text(name) = &key.value else {
                sink.report(
                    key.at,
                    &self.path,
                    format!("a field's name must be a string, not {}", key.value.describe()),
                );
                continue;
            };
            if schema.known.contains(&name.as_str()) {
                fields.entries.push((name, value));
            } else if schema.later.contains(&name.as_str()) {
                sink.report(key.at, &join(&self.path, name), "not supported yet");
            } else {
                let known = schema.known.join(", ");
                let reason = format!("unknown field {}; known here: {known}", quote(name));
                sink.report(key.at, &self.path, reason);
            }
        }
        Some(fields)
    }
}

/// A mapping whose field names were checked.
pub(super) struct Fields<'a> {
    path: String,
    at: At,
    entries: Vec<(&'a str, &'a Node)>,
}

impl<'a> Fields<'a> {
    /// A field that may be absent; an empty value (`field:`) is absent.
    pub fn optional(&self, name: &str) -> Option<Field<'a>> {
        let (_, node) = self.entries.iter().find(|(known, _)| *known == name)?;
        (node.value != Value::Null).then(|| Field {
            path: join(&self.path, name),
            node,
        })
    }

    /// A field that must be there.
    pub fn required(&self, name: &str, sink: &mut Sink) -> Option<Field<'a>> {
        let field = self.optional(name);
        if field.is_none() {
            self.report_missing(name, sink, "is required");
        }
        field
    }

    /// Reports a field that is not there.
    pub fn report_missing(&self, name: &str, sink: &mut Sink, reason: impl Into<String>) {
        sink.report(self.at, &join(&self.path, name), reason);
    }

    /// Whether a field with a value is there.
    pub fn has(&self, name: &str) -> bool {
        self.optional(name).is_some()
    }

    /// Reports something about the mapping as a whole.
    pub fn report(&self, sink: &mut Sink, reason: impl Into<String>) {
        sink.report(self.at, &self.path, reason);
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
