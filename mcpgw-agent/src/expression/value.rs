//! Values, and how they compare.

use std::{borrow::Cow, cmp::Ordering};

use serde_json::{Map, Number, Value as Json};

use super::node::Type;

/// A value. What comes from JSON is borrowed.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number: wide enough for all that JSON and CEL have.
    Int(i128),
    /// Any other number.
    Double(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// A list that the expression makes.
    List(Vec<Value<'a>>),
    /// A list in JSON.
    Array(&'a [Json]),
    /// An object in JSON.
    Object(&'a Map<String, Json>),
}

impl<'a> Value<'a> {
    /// A string.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// A value in JSON.
    pub fn of_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => of_number(number),
            Json::String(text) => Self::Text(Cow::Borrowed(text)),
            Json::Array(elements) => Self::Array(elements),
            Json::Object(members) => Self::Object(members),
        }
    }

    /// The same, borrowed.
    pub(super) fn again(&'a self) -> Self {
        match self {
            Self::Text(text) => Self::Text(Cow::Borrowed(text)),
            other => other.clone(),
        }
    }

    pub(super) fn kind(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) | Self::Double(_) => Type::Number,
            Self::Text(_) => Type::Text,
            Self::List(_) | Self::Array(_) => Type::List,
            Self::Object(_) => Type::Map,
        }
    }

    /// The elements of a list; `None` where it is none.
    pub(super) fn elements(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Self::List(elements) => Some(elements.clone()),
            Self::Array(elements) => Some(elements.iter().map(Value::of_json).collect()),
            _ => None,
        }
    }

    /// How many elements, members or characters it has.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.chars().count()),
            Self::List(elements) => Some(elements.len()),
            Self::Array(elements) => Some(elements.len()),
            Self::Object(members) => Some(members.len()),
            _ => None,
        }
    }
}

fn of_number<'a>(number: &Number) -> Value<'a> {
    match (number.as_i128(), number.as_f64()) {
        (Some(whole), _) => Value::Int(whole),
        (None, Some(other)) => Value::Double(other),
        // A number of JSON is one of the two.
        (None, None) => Value::Double(f64::NAN),
    }
}

/// The order of two numbers, by their values whatever their form; `None` where one of them is no number.
pub(super) fn compare(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Double(b)) => mixed(*a, *b),
        (Value::Double(a), Value::Int(b)) => mixed(*b, *a).map(Ordering::reverse),
        _ => None,
    }
}

/// Exact: a whole number is not rounded to be compared.
fn mixed(whole: i128, other: f64) -> Option<Ordering> {
    if other.is_nan() {
        return None;
    }
    let floor = other.floor();
    // The conversion saturates far outside of what the other side can be.
    let ordering = whole.cmp(&(floor as i128));
    Some(ordering.then_with(|| 0.0_f64.total_cmp(&(other - floor))))
}
