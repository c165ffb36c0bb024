//! Arguments that are mirrored into headers, by which they can be routed without reading the body: a tool says
//! `x-mcp-header` in its `inputSchema`, and calls then carry `Mcp-Param-…`.
//!
//! Such headers are claims like all others. They are compared with the arguments where we stand in for a server, and
//! written where we are the client.

use std::{borrow::Cow, collections::HashSet};

use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value, value::RawValue};

use super::{
    envelope::EnvelopeError,
    error::Rejection,
    headers::{decoded_strictly, encoded},
    members::Seen,
    part::Part,
    scan::Scanner,
};

/// The member of a schema.
const ANNOTATION: &str = "x-mcp-header";
/// What the names of the headers begin with.
const PREFIX: &str = "mcp-param-";
/// Annotated arguments of one tool.
const MAX_ANNOTATED: usize = 64;

/// The headers that calls of one tool carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamHeaders {
    headers: Vec<ParamHeader>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ParamHeader {
    name: HeaderName,
    /// From the arguments down to the value.
    path: Vec<String>,
}

/// An annotation that the specification does not allow. A tool with one is not shown to anybody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnnotation {
    /// The schema is no JSON object.
    #[error("inputSchema is no object")]
    Schema,
    /// It is not a string, or not one that can be part of a header's name.
    #[error("x-mcp-header of {0} is not the name of a header")]
    Name(String),
    /// Another argument has the same, case aside.
    #[error("x-mcp-header of {0} is there twice")]
    Twice(String),
    /// What is annotated is neither string nor integer nor boolean.
    #[error("x-mcp-header of {0}: only strings, integers and booleans can be mirrored")]
    Type(String),
    /// It is not reached by `properties` alone.
    #[error("x-mcp-header where no single argument is meant")]
    Place,
    /// There are more than 64.
    #[error("more than {MAX_ANNOTATED} arguments have an x-mcp-header")]
    Many,
}

impl ParamHeaders {
    /// Reads the annotations of an `inputSchema`; `None` if it has none.
    pub fn of_schema(schema: &RawValue) -> Result<Option<Self>, BadAnnotation> {
        // Without the word there is no annotation, unless it is written with escapes.
        if !schema.get().contains(ANNOTATION) && !schema.get().contains('\\') {
            return Ok(None);
        }
        let Ok(Value::Object(schema)) = serde_json::from_str(schema.get()) else {
            return Err(BadAnnotation::Schema);
        };
        let mut found = Found::default();
        found.schema(&schema, Some(&mut Vec::new()))?;
        let headers = found.headers;
        Ok((!headers.is_empty()).then_some(Self { headers }))
    }

    /// Checks that the headers of a call say what its arguments say. Headers that the tool does not speak of are
    /// nobody's claim.
    pub fn check(&self, headers: &HeaderMap, arguments: Option<Part<'_>>) -> Result<(), Rejection> {
        for header in &self.headers {
            let name = header.name.as_str();
            let mut said = headers.get_all(&header.name).iter();
            let value = header.value(arguments)?;
            match (said.next(), value.as_ref().and_then(rendered)) {
                (None, None) => {}
                (None, Some(_)) => return Err(Rejection::header(name, "is missing")),
                (Some(_), None) => return Err(Rejection::header(name, "stands for an argument that is not there")),
                (Some(_), Some(_)) if said.next().is_some() => {
                    return Err(Rejection::header(name, "is there more than once"));
                }
                (Some(said), Some(text)) => {
                    let said = decoded_strictly(said).ok_or_else(|| Rejection::header(name, "cannot be decoded"))?;
                    let number = value.as_ref().and_then(number);
                    if said != text && (number.is_none() || whole(&said) != number) {
                        return Err(Rejection::header(name, "does not match the request body"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes the headers of a call with these arguments, and takes away those that stand for nothing.
    pub fn write(&self, arguments: Option<Part<'_>>, headers: &mut HeaderMap) -> Result<(), Rejection> {
        for header in &self.headers {
            let value = header.value(arguments)?;
            match value.as_ref().and_then(rendered).and_then(|text| encoded(&text)) {
                Some(value) => headers.insert(&header.name, value),
                None => headers.remove(&header.name),
            };
        }
        Ok(())
    }
}

impl ParamHeader {
    /// The value at the path. Arguments were not looked into so far: a key that is there twice on the way is found
    /// here.
    fn value<'a>(&self, arguments: Option<Part<'a>>) -> Result<Option<Part<'a>>, Rejection> {
        let mut at = arguments;
        for step in &self.path {
            let Some(object) = at.filter(|at| at.members().is_some()) else {
                return Ok(None);
            };
            let mut seen = Seen::default();
            let mut next = None;
            let read = Scanner::of(object).members::<EnvelopeError>(|scanner, key| {
                let key = key.decode()?;
                let value = scanner.skip()?;
                if *key == **step {
                    next = Some(value);
                }
                match seen.insert(None, key) {
                    true => Ok(()),
                    false => Err(EnvelopeError::DuplicateKey("params.arguments")),
                }
            });
            read.map_err(|error| Rejection::invalid_request(error.to_string()))?;
            at = next;
        }
        Ok(at)
    }
}

/// The text that stands for a value in a header; `None` for null and for what is never mirrored.
fn rendered<'a>(value: &Part<'a>) -> Option<Cow<'a, str>> {
    match value.get().as_bytes().first()? {
        b'"' => value.text(),
        b'{' | b'[' | b'n' => None,
        _ => Some(match number(value) {
            Some(number) => Cow::Owned(number.to_string()),
            None => Cow::Borrowed(value.get()),
        }),
    }
}

/// The whole number that a value is.
fn number(value: &Part<'_>) -> Option<i64> {
    match value.get().as_bytes().first()? {
        b'-' | b'0'..=b'9' => whole(value.get()),
        _ => None,
    }
}

/// The whole number that a text says, up to what JavaScript can tell apart: `42` and `42.0` are one. It is not
/// rounded, and has no exponent.
fn whole(text: &str) -> Option<i64> {
    const SAFE: i64 = (1 << 53) - 1;

    let (digits, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    let decimal = !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
    let whole = !fraction.is_empty() && fraction.bytes().all(|byte| byte == b'0');
    if !decimal || !whole {
        return None;
    }
    digits.parse().ok().filter(|number| (-SAFE..=SAFE).contains(number))
}

/// The annotations of one schema.
#[derive(Default)]
struct Found {
    headers: Vec<ParamHeader>,
    names: HashSet<HeaderName>,
}

impl Found {
    /// Looks through a schema. `path` leads to the value that it describes, if that is one value, reached by
    /// `properties` alone.
    fn schema(&mut self, schema: &Map<String, Value>, mut path: Option<&mut Vec<String>>) -> Result<(), BadAnnotation> {
        for (key, value) in schema {
            match key.as_str() {
                ANNOTATION => self.annotation(value, schema, path.as_deref())?,
                "properties" => {
                    for (name, property) in value.as_object().into_iter().flatten() {
                        let Some(path) = path.as_deref_mut() else {
                            self.elsewhere(property)?;
                            continue;
                        };
                        path.push(name.clone());
                        if let Value::Object(property) = property {
                            self.schema(property, Some(path))?;
                        }
                        path.pop();
                    }
                }
                // From names to schemas: the names are no keywords.
                "$defs" | "definitions" | "dependentSchemas" | "patternProperties" => {
                    value
                        .as_object()
                        .into_iter()
                        .flatten()
                        .try_for_each(|(_, schema)| self.elsewhere(schema))?;
                }
                // Values, no schemas.
                "default" | "const" | "enum" | "examples" => {}
                _ => self.elsewhere(value)?,
            }
        }
        Ok(())
    }

    /// Looks through what describes no single argument.
    fn elsewhere(&mut self, value: &Value) -> Result<(), BadAnnotation> {
        match value {
            Value::Object(schema) => self.schema(schema, None),
            Value::Array(schemas) => schemas.iter().try_for_each(|schema| self.elsewhere(schema)),
            _ => Ok(()),
        }
    }

    fn annotation(
        &mut self,
        annotation: &Value,
        schema: &Map<String, Value>,
        path: Option<&Vec<String>>,
    ) -> Result<(), BadAnnotation> {
        let path = path.filter(|path| !path.is_empty()).ok_or(BadAnnotation::Place)?;
        let argument = || path.join(".");
        let name = annotation
            .as_str()
            .filter(|name| !name.is_empty())
            .and_then(|name| HeaderName::try_from([PREFIX, name].concat()).ok())
            .ok_or_else(|| BadAnnotation::Name(argument()))?;
        let kind = schema.get("type").and_then(Value::as_str);
        if !matches!(kind, Some("string" | "integer" | "boolean")) {
            return Err(BadAnnotation::Type(argument()));
        }
        if !self.names.insert(name.clone()) {
            return Err(BadAnnotation::Twice(argument()));
        }
        if self.headers.len() == MAX_ANNOTATED {
            return Err(BadAnnotation::Many);
        }
        self.headers.push(ParamHeader {
            name,
            path: path.clone(),
        });
        Ok(())
    }
}

#[cfg(test)]
#[path = "param_headers_tests.rs"]
mod tests;
