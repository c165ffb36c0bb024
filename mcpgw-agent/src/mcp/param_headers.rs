//! Arguments of a tool that headers repeat (`Mcp-Param-*`), as the tool's `inputSchema` says by `x-mcp-header`.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value, value::RawValue};

use super::headers::{decoded, encoded};

const ANNOTATION: &str = "x-mcp-header";
const PREFIX: &str = "mcp-param-";
/// Annotated arguments of one tool.
const MAX_PARAMETERS: usize = 64;

/// Which arguments go into which headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamHeaders(Vec<Parameter>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameter {
    header: HeaderName,
    /// Names of the properties, from the root.
    path: Vec<String>,
}

/// Annotations that the specification does not allow: the tool cannot be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("x-mcp-header stands where it must not, or names no header")]
pub struct BadAnnotation;

impl ParamHeaders {
    /// By the annotations of an `inputSchema`; `None` if it has none.
    pub fn of_schema(schema: &RawValue) -> Result<Option<Self>, BadAnnotation> {
        // Nearly all schemas have none.
        if !schema.get().contains(ANNOTATION) {
            return Ok(None);
        }
        let Ok(Value::Object(schema)) = serde_json::from_str(schema.get()) else {
            return Ok(None);
        };
        if is_misplaced(&schema, false) {
            return Err(BadAnnotation);
        }
        let mut found = Vec::new();
        find(&schema, &mut Vec::new(), &mut found)?;
        let mut names = HashSet::new();
        let distinct = found.iter().all(|parameter| names.insert(parameter.header.clone()));
        match (distinct && found.len() <= MAX_PARAMETERS, found.is_empty()) {
            (false, _) => Err(BadAnnotation),
            (true, true) => Ok(None),
            (true, false) => Ok(Some(Self(found))),
        }
    }

    /// Whether the headers say what the arguments say; else the name of the one that does not.
    pub fn check(&self, headers: &HeaderMap, arguments: Option<&RawValue>) -> Result<(), String> {
        let arguments = arguments.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        for Parameter { header, path } in &self.0 {
            let value = arguments.as_ref().and_then(|arguments| at(arguments, path));
            let mut said = headers.get_all(header).iter();
            let agrees = match (value, said.next(), said.next()) {
                (None | Some(Value::Null), None, _) => true,
                (Some(value), Some(said), None) => decoded(said).is_some_and(|said| is_same(value, &said)),
                _ => false,
            };
            if !agrees {
                return Err(header.to_string());
            }
        }
        Ok(())
    }

    /// Writes the headers for these arguments.
    pub fn write(&self, arguments: Option<&RawValue>, headers: &mut HeaderMap) {
        let Some(arguments) = arguments.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok()) else {
            return;
        };
        for Parameter { header, path } in &self.0 {
            let text = match at(&arguments, path) {
                Some(Value::String(text)) => text.clone(),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
                _ => continue,
            };
            if let Some(value) = encoded(&text) {
                headers.insert(header.clone(), value);
            }
        }
    }
}

fn at<'a>(arguments: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(arguments, |value, key| value.get(key))
}

/// Whether a header says a value. Numbers are compared as numbers: `1` and `1.0` are the same.
fn is_same(value: &Value, said: &str) -> bool {
    match value {
        Value::String(text) => text == said,
        Value::Bool(value) => said == if *value { "true" } else { "false" },
        Value::Number(number) => match (number.as_i64(), said.parse::<i64>()) {
            (Some(number), Ok(said)) => number == said,
            _ => said.parse::<f64>().is_ok_and(|said| number.as_f64() == Some(said)),
        },
        _ => false,
    }
}

fn find(schema: &Map<String, Value>, path: &mut Vec<String>, found: &mut Vec<Parameter>) -> Result<(), BadAnnotation> {
    let Some(Value::Object(properties)) = schema.get("properties") else {
        return Ok(());
    };
    for (name, property) in properties {
        let Value::Object(property) = property else { continue };
        path.push(name.clone());
        if let Some(annotation) = property.get(ANNOTATION) {
            let header = annotation
                .as_str()
                .filter(|header| !header.is_empty())
                .ok_or(BadAnnotation)?;
            let primitive = matches!(
                property.get("type").and_then(Value::as_str),
                Some("string" | "integer" | "boolean")
            );
            if !primitive {
                return Err(BadAnnotation);
            }
            found.push(Parameter {
                header: format!("{PREFIX}{header}").parse().map_err(|_| BadAnnotation)?,
                path: path.clone(),
            });
        }
        find(property, path, found)?;
        path.pop();
    }
    Ok(())
}

/// Whether an annotation stands where no chain of `properties` leads from the root; `annotatable` if it may stand
/// here.
fn is_misplaced(schema: &Map<String, Value>, annotatable: bool) -> bool {
    schema.iter().any(|(key, value)| match (key.as_str(), value) {
        (ANNOTATION, _) => !annotatable,
        ("properties", Value::Object(properties)) => properties.values().any(|property| {
            property
                .as_object()
                .is_some_and(|property| is_misplaced(property, true))
        }),
        // Data, not schemas.
        ("default" | "const" | "enum" | "examples", _) => false,
        (_, value) => has_annotation(value),
    })
}

fn has_annotation(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(key, value)| key == ANNOTATION || has_annotation(value)),
        Value::Array(items) => items.iter().any(has_annotation),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn compiled() -> ParamHeaders {
        let schema = r#"{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "inner":{"type":"object","properties":{"size":{"type":"integer","x-mcp-header":"Size"}}}}}"#;
        ParamHeaders::of_schema(&raw(schema)).unwrap().unwrap()
    }

    #[test]
    fn headers_are_compared_with_the_arguments_by_value() {
        let arguments = raw(r#"{"region":"größe","inner":{"size":10}}"#);
        let mut headers = HeaderMap::new();
        compiled().write(Some(&arguments), &mut headers);
        assert_eq!(headers["mcp-param-region"], "=?base64?Z3LDtsOfZQ==?=");
        assert_eq!(compiled().check(&headers, Some(&arguments)), Ok(()));
        headers.insert("mcp-param-size", "10.0".parse().unwrap());
        assert_eq!(compiled().check(&headers, Some(&arguments)), Ok(()));
        headers.insert("mcp-param-size", "11".parse().unwrap());
        assert_eq!(
            compiled().check(&headers, Some(&arguments)),
            Err("mcp-param-size".to_owned())
        );
    }

    #[test]
    fn a_header_without_its_argument_and_an_argument_without_its_header_are_refused() {
        let mut headers = HeaderMap::new();
        assert_eq!(compiled().check(&headers, None), Ok(()));
        assert!(compiled().check(&headers, Some(&raw(r#"{"region":"eu"}"#))).is_err());
        headers.insert("mcp-param-region", "eu".parse().unwrap());
        assert!(compiled().check(&headers, None).is_err());
        headers.append("mcp-param-region", "eu".parse().unwrap());
        assert!(compiled().check(&headers, Some(&raw(r#"{"region":"eu"}"#))).is_err());
    }

    #[test]
    fn annotations_that_are_not_allowed_make_the_tool_useless() {
        for schema in [
            r#"{"x-mcp-header":"A","properties":{}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":""}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"a b"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":1}}}"#,
            r#"{"properties":{"a":{"type":"object","x-mcp-header":"A"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}"#,
            r#"{"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}}"#,
            r#"{"$defs":{"a":{"type":"string","x-mcp-header":"A"}}}"#,
        ] {
            assert_eq!(ParamHeaders::of_schema(&raw(schema)), Err(BadAnnotation), "{schema}");
        }
        for schema in [r#"{"type":"object"}"#, r#"{"default":{"x-mcp-header":"A"}}"#, "true"] {
            assert_eq!(ParamHeaders::of_schema(&raw(schema)), Ok(None), "{schema}");
        }
    }
}
