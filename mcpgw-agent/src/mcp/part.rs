//! Values in a body, and where in the body they are.

use std::{
    borrow::Cow,
    ops::{Deref, Range},
};

use serde_json::{Map, Value, value::RawValue};

use super::{envelope::EnvelopeError, message::Id, scan::Scanner};

/// A value in a body, as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    json: &'a str,
    start: usize,
}

/// A string in a body, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// What it says.
    pub value: Cow<'a, str>,
    /// Where in the body it stands, with its quotes.
    pub span: Range<usize>,
}

/// Where members can be inserted into an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Members {
    /// Behind the opening brace.
    pub at: usize,
    /// There are none yet, so that no comma follows.
    pub empty: bool,
}

impl<'a> Part<'a> {
    /// `json`, which is a value and begins at `start`.
    pub(super) fn new(json: &'a str, start: usize) -> Self {
        Self { json, start }
    }

    /// The one value that `body` is.
    pub fn of_body(body: &'a [u8]) -> Result<Self, EnvelopeError> {
        let mut scanner = Scanner::new(body)?;
        let part = scanner.skip()?;
        scanner.end()?;
        Ok(part)
    }

    /// As it was written.
    pub fn get(&self) -> &'a str {
        self.json
    }

    /// As it was written, for what is written with `serde_json`. Reads it once more.
    pub fn raw(&self) -> Option<&'a RawValue> {
        serde_json::from_str(self.json).ok()
    }

    /// Where in the body it is.
    pub fn span(&self) -> Range<usize> {
        self.start..self.start + self.json.len()
    }

    /// The string that it is, decoded; `None` for another type.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let inside = self.json.strip_prefix('"')?.strip_suffix('"')?;
        match inside.contains('\\') {
            true => serde_json::from_str(self.json).ok().map(Cow::Owned),
            false => Some(Cow::Borrowed(inside)),
        }
    }

    /// The id that it is; `None` for null and for another type.
    pub fn id(&self) -> Option<Id> {
        Id::of(self.raw()?)
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.json == "null"
    }

    /// What it says, with everything in it. A key that is there twice, at whatever depth, is refused: the server
    /// could take the other one.
    pub fn value(&self) -> Result<Value, EnvelopeError> {
        read_value(&mut Scanner::of(*self))
    }

    /// Where members can be inserted into it; `None` where it is no object.
    pub fn members(&self) -> Option<Members> {
        let inside = self.json.strip_prefix('{')?;
        Some(Members {
            at: self.start + 1,
            empty: inside.trim_ascii_start().starts_with('}'),
        })
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.value
    }
}

fn read_value(scanner: &mut Scanner<'_>) -> Result<Value, EnvelopeError> {
    match scanner.peek()? {
        b'{' => {
            let mut object = Map::new();
            scanner.members(|scanner, key| {
                let key = key.decode()?.into_owned();
                match object.insert(key, read_value(scanner)?) {
                    None => Ok(()),
                    Some(_) => Err(EnvelopeError::DuplicateKey("a value")),
                }
            })?;
            Ok(Value::Object(object))
        }
        b'[' => {
            let mut array = Vec::new();
            scanner.elements(|scanner| {
                array.push(read_value(scanner)?);
                Ok::<_, EnvelopeError>(())
            })?;
            Ok(Value::Array(array))
        }
        b'"' => Ok(scanner.text()?.map_or(Value::Null, |text| Value::from(text.value))),
        // Of the simple types both readers read the same.
        _ => Ok(serde_json::from_str(scanner.skip()?.get()).unwrap_or_default()),
    }
}
