//! The envelope of a JSON-RPC message: who asks for what.
//!
//! It is read once, in place, and strictly: what two parsers could read differently is refused, so that the
//! server cannot understand another call than the one that was decided.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::{
    error::code,
    members::{Any, Read, Seen, Skip, Text, looks_like},
};

/// The method that calls a tool.
pub const TOOLS_CALL: &str = "tools/call";

/// Members of an envelope.
const ENVELOPE: [&str; 6] = ["jsonrpc", "method", "id", "params", "result", "error"];
/// Members of the `params` of a tool call.
const PARAMS: [&str; 3] = ["name", "arguments", "_meta"];

/// What a body asks for. Borrows from the body.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// What kind of message it is.
    pub kind: Kind,
    /// The method; `None` for a response.
    pub method: Option<Cow<'a, str>>,
    /// The id, as it was written: a string, a number or null.
    pub id: Option<&'a RawValue>,
    params: Params<'a>,
}

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Has a method and an id.
    Request,
    /// Has a method and no id.
    Notification,
    /// Has no method, but a result or an error: the client answers the server.
    Response,
}

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is no JSON, not UTF-8, nested too deeply, or has bytes after its end.
    #[error("Parse error: {0}")]
    Syntax(String),
    /// It is an array: batches are not accepted.
    #[error("Invalid request: JSON-RPC batches are not supported")]
    Batch,
    /// It is neither object nor array.
    #[error("Invalid request: a JSON-RPC message is an object")]
    NotAnObject,
    /// A key occurs twice; the word is `message`, `params` or `params._meta`.
    #[error("Invalid request: duplicate key in {0}")]
    DuplicateKey(&'static str),
    /// A key differs from a known one by its case only, so that some parsers take one for the other.
    #[error("Invalid request: a key in {0} differs from a known one by its case only")]
    AmbiguousKey(&'static str),
    /// `jsonrpc` is missing or not `"2.0"`.
    #[error("Invalid request: `jsonrpc` must be \"2.0\"")]
    Version,
    /// `method` is not a string.
    #[error("Invalid request: `method` must be a string")]
    Method,
    /// `id` is not a string, a number or null.
    #[error("Invalid request: `id` must be a string, a number or null")]
    Id,
    /// The message has a method and a result or error, or none of them.
    #[error("Invalid request: a message has either a method or a result or an error")]
    Shape,
    /// A tool call without a name.
    #[error("Invalid params: tools/call needs a string `params.name`")]
    ToolName,
}

impl EnvelopeError {
    /// The JSON-RPC error code.
    pub fn code(&self) -> i64 {
        match self {
            Self::Syntax(_) => code::PARSE_ERROR,
            Self::ToolName => code::INVALID_PARAMS,
            _ => code::INVALID_REQUEST,
        }
    }

    /// The word for it in metrics and in the audit line.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "invalid_json",
            Self::Batch => "batch",
            Self::DuplicateKey(_) => "duplicate_key",
            Self::AmbiguousKey(_) => "ambiguous_key",
            Self::NotAnObject | Self::Version | Self::Method | Self::Id | Self::Shape | Self::ToolName => {
                "invalid_envelope"
            }
        }
    }
}

/// A refused body.
#[derive(Debug)]
pub struct Refused<'a> {
    /// Why.
    pub error: EnvelopeError,
    /// The id to answer to, where it is known beyond doubt.
    pub id: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Reads the envelope of a request body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Refused<'a>> {
        let members = read(body).map_err(|error| Refused { error, id: None })?;
        let kind = members.classify().map_err(|error| Refused { error, id: members.id })?;
        Ok(Self {
            kind,
            method: members.method,
            id: members.id,
            params: members.params,
        })
    }

    /// The tool that is called, whether by request or (against the specification) by notification.
    pub fn tool(&self) -> Option<&str> {
        if self.method.as_deref() == Some(TOOLS_CALL) {
            self.params.name.as_deref()
        } else {
            None
        }
    }

    /// What the header `Mcp-Name` must say about this message; `None` where there is nothing to say.
    pub fn subject(&self) -> Option<&str> {
        match self.method.as_deref()? {
            TOOLS_CALL | "prompts/get" => self.params.name.as_deref(),
            "resources/read" => self.params.uri.as_deref(),
            method if method.starts_with("tasks/") => self.params.task_id.as_deref(),
            _ => None,
        }
    }
}

fn read(body: &[u8]) -> Result<Members<'_>, EnvelopeError> {
    let mut defect = None;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = Any(ReadEnvelope(&mut defect)).deserialize(&mut deserializer);
    match read.and_then(|members| deserializer.end().map(|()| members)) {
        Ok(members) => members.ok_or(EnvelopeError::NotAnObject),
        Err(error) => Err(defect.unwrap_or_else(|| EnvelopeError::Syntax(error.to_string()))),
    }
}

/// The members of the envelope as they stand.
#[derive(Default)]
struct Members<'a> {
    version: Option<Cow<'a, str>>,
    method: Option<Cow<'a, str>>,
    id: Option<&'a RawValue>,
    params: Params<'a>,
    answers: bool,
}

impl Members<'_> {
    fn classify(&self) -> Result<Kind, EnvelopeError> {
        if self.version.as_deref() != Some("2.0") {
            return Err(EnvelopeError::Version);
        }
        let Some(method) = self.method.as_deref() else {
            return if self.answers {
                Ok(Kind::Response)
            } else {
                Err(EnvelopeError::Shape)
            };
        };
        if self.answers {
            return Err(EnvelopeError::Shape);
        }
        if method == TOOLS_CALL {
            if self.params.look_alike {
                return Err(EnvelopeError::AmbiguousKey("params"));
            }
            if self.params.name.is_none() {
                return Err(EnvelopeError::ToolName);
            }
        }
        Ok(if self.id.is_some() {
            Kind::Request
        } else {
            Kind::Notification
        })
    }
}

/// What `params` says; empty where it is absent or no object.
#[derive(Debug, Default)]
struct Params<'a> {
    name: Option<Cow<'a, str>>,
    uri: Option<Cow<'a, str>>,
    task_id: Option<Cow<'a, str>>,
    look_alike: bool,
}

/// Where a reader leaves the reason when it refuses what is valid JSON.
type Defect = Option<EnvelopeError>;

fn refuse<E: serde::de::Error>(slot: &mut Defect, defect: EnvelopeError) -> E {
    let error = E::custom(&defect);
    *slot = Some(defect);
    error
}

struct ReadEnvelope<'d>(&'d mut Defect);

impl<'de> Read<'de> for ReadEnvelope<'_> {
    type Out = Option<Members<'de>>;

    fn array<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Out, A::Error> {
        Err(refuse(self.0, EnvelopeError::Batch))
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Out, A::Error> {
        let mut members = Members::default();
        let mut seen = Seen::default();
        while let Some(key) = map.next_key_seed(Any(Text))?.flatten() {
            match &*key {
                "jsonrpc" => members.version = map.next_value_seed(Any(Text))?,
                "method" => match map.next_value_seed(Any(Text))? {
                    Some(method) => members.method = Some(method),
                    None => return Err(refuse(self.0, EnvelopeError::Method)),
                },
                "id" => {
                    let id: &'de RawValue = map.next_value()?;
                    if !is_id(id) {
                        return Err(refuse(self.0, EnvelopeError::Id));
                    }
                    members.id = Some(id);
                }
                "params" => members.params = map.next_value_seed(Any(ReadParams(self.0)))?,
                other => {
                    members.answers |= matches!(other, "result" | "error");
                    if looks_like(other, &ENVELOPE) {
                        return Err(refuse(self.0, EnvelopeError::AmbiguousKey("message")));
                    }
                    map.next_value_seed(Any(Skip))?;
                }
            }
            if !seen.insert(key) {
                return Err(refuse(self.0, EnvelopeError::DuplicateKey("message")));
            }
        }
        Ok(Some(members))
    }
}

/// A string, a number or null, and one that `serde_json::Value` can hold.
fn is_id(id: &RawValue) -> bool {
    let scalar = matches!(id.get().as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9' | b'n'));
    scalar
        && Any(Skip)
            .deserialize(&mut serde_json::Deserializer::from_str(id.get()))
            .is_ok()
}

struct ReadParams<'d>(&'d mut Defect);

impl<'de> Read<'de> for ReadParams<'_> {
    type Out = Params<'de>;

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Out, A::Error> {
        let mut params = Params::default();
        let mut seen = Seen::default();
        while let Some(key) = map.next_key_seed(Any(Text))?.flatten() {
            match &*key {
                "name" => params.name = map.next_value_seed(Any(Text))?,
                "uri" => params.uri = map.next_value_seed(Any(Text))?,
                "taskId" => params.task_id = map.next_value_seed(Any(Text))?,
                "_meta" => map.next_value_seed(Any(ReadMeta(self.0)))?,
                other => {
                    params.look_alike |= looks_like(other, &PARAMS);
                    map.next_value_seed(Any(Skip))?;
                }
            }
            if !seen.insert(key) {
                return Err(refuse(self.0, EnvelopeError::DuplicateKey("params")));
            }
        }
        Ok(params)
    }
}

struct ReadMeta<'d>(&'d mut Defect);

impl<'de> Read<'de> for ReadMeta<'_> {
    type Out = ();

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Seen::default();
        while let Some(key) = map.next_key_seed(Any(Text))?.flatten() {
            map.next_value_seed(Any(Skip))?;
            if !seen.insert(key) {
                return Err(refuse(self.0, EnvelopeError::DuplicateKey("params._meta")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
