//! The envelope of a JSON-RPC message: who asks for what.
//!
//! It is read once, in place, and strictly: what two parsers could read differently is refused, so that the
//! server cannot understand another call than the one that was decided.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::{
    batch::MAX_BATCH,
    error::code,
    locate::Located,
    members::{Any, Read, Seen, Skip, Text, looks_like},
    method::Method,
};

/// The method that calls a tool.
pub const TOOLS_CALL: &str = "tools/call";

/// Names the revision, in `params._meta`, from 2026-07-28 on.
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Tells what the client can do, in `params._meta`, from 2026-07-28 on.
pub const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Longest name of a tool, prompt or task, in bytes.
pub const MAX_NAME: usize = 1024;
/// Longest URI, in bytes.
pub const MAX_URI: usize = 8 * 1024;

/// Members of an envelope.
const ENVELOPE: [&str; 6] = ["jsonrpc", "method", "id", "params", "result", "error"];
/// Members of `params` by which something is decided or routed.
const PARAMS: [&str; 8] = [
    "name",
    "arguments",
    "uri",
    "taskId",
    "cursor",
    "ref",
    "requestId",
    "_meta",
];

/// What a body asks for. Borrows from the body.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// What kind of message it is.
    pub kind: Kind,
    /// The method; `None` for a response.
    pub method: Option<Cow<'a, str>>,
    /// The id, as it was written: a string, a number or null.
    pub id: Option<&'a RawValue>,
    /// What `params` says; empty where it is absent or no object.
    pub params: Params<'a>,
    body: &'a [u8],
}

/// What `params` says.
#[derive(Debug, Default)]
pub struct Params<'a> {
    /// `name`: of a tool or prompt.
    pub name: Option<Cow<'a, str>>,
    /// `uri`: of a resource.
    pub uri: Option<Cow<'a, str>>,
    /// `taskId`
    pub task_id: Option<Cow<'a, str>>,
    /// `cursor`: of a list.
    pub cursor: Option<Cow<'a, str>>,
    /// `protocolVersion`: what `initialize` asks for.
    pub protocol_version: Option<Cow<'a, str>>,
    /// `ref`: what is to be completed.
    pub reference: Option<Reference<'a>>,
    /// `_meta`
    pub meta: Meta<'a>,
    look_alike: bool,
}

/// What `params._meta` says.
#[derive(Debug, Default)]
pub struct Meta<'a> {
    /// `io.modelcontextprotocol/protocolVersion`
    pub protocol_version: Option<Cow<'a, str>>,
    /// `io.modelcontextprotocol/clientCapabilities` is there.
    pub has_capabilities: bool,
    /// `traceparent`
    pub traceparent: Option<Cow<'a, str>>,
}

/// What is to be completed: the argument of a prompt, or the variable of a resource template.
#[derive(Debug, Default)]
pub struct Reference<'a> {
    /// The prompt's name.
    pub name: Option<Cow<'a, str>>,
    /// The resource's URI, or its template.
    pub uri: Option<Cow<'a, str>>,
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
    /// It is an array without a message.
    #[error("Invalid request: a batch has one message at least")]
    EmptyBatch,
    /// It is an array of too many messages.
    #[error("Invalid request: a batch has at most {MAX_BATCH} messages")]
    LargeBatch,
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
    /// A request without what it is about.
    #[error("Invalid params: {0} is required, and must be a string")]
    Subject(&'static str),
    /// What a request is about is too long.
    #[error("Invalid params: {0} is too long")]
    TooLong(&'static str),
}

impl EnvelopeError {
    /// The JSON-RPC error code.
    pub fn code(&self) -> i64 {
        match self {
            Self::Syntax(_) => code::PARSE_ERROR,
            Self::Subject(_) | Self::TooLong(_) => code::INVALID_PARAMS,
            _ => code::INVALID_REQUEST,
        }
    }

    /// The word for it in metrics and in the audit line.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "invalid_json",
            Self::Batch | Self::EmptyBatch | Self::LargeBatch => "batch",
            Self::DuplicateKey(_) => "duplicate_key",
            Self::AmbiguousKey(_) => "ambiguous_key",
            Self::TooLong(_) => "name_too_long",
            Self::NotAnObject | Self::Version | Self::Method | Self::Id | Self::Shape | Self::Subject(_) => {
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
            body,
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

    /// What the message is about: what the header `Mcp-Name` must say; `None` where there is nothing to say.
    pub fn subject(&self) -> Option<&str> {
        subject(Method::of(self.method.as_deref()?), &self.params)?.as_deref()
    }

    /// Where the parts stand that a gateway changes or hands on. The body is read once more for them.
    pub fn locate(&self) -> Located<'a> {
        // It has been read before, more strictly.
        Located::in_body(self.body).unwrap_or_default()
    }
}

/// What a request of this method is about, if it is about anything.
fn subject<'p, 'a>(method: Method<'_>, params: &'p Params<'a>) -> Option<&'p Option<Cow<'a, str>>> {
    match method {
        Method::ToolsCall | Method::PromptsGet => Some(&params.name),
        Method::ResourcesRead | Method::Subscribe | Method::Unsubscribe => Some(&params.uri),
        Method::Tasks => Some(&params.task_id),
        _ => None,
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
        self.params.check(Method::of(method))?;
        Ok(if self.id.is_some() {
            Kind::Request
        } else {
            Kind::Notification
        })
    }
}

impl Params<'_> {
    /// Whether it is clear what a message of this method is about.
    fn check(&self, method: Method<'_>) -> Result<(), EnvelopeError> {
        let about = subject(method, self);
        let decides = about.is_some() || method == Method::Complete;
        if decides && self.look_alike {
            return Err(EnvelopeError::AmbiguousKey("params"));
        }
        let name = match method {
            Method::ToolsCall | Method::PromptsGet => "params.name",
            Method::Tasks => "params.taskId",
            _ => "params.uri",
        };
        // `tasks/list` is about all of them.
        if about.is_some_and(Option::is_none) && method != Method::Tasks {
            return Err(EnvelopeError::Subject(name));
        }
        let too_long = |text: &Option<Cow<'_, str>>, max: usize| text.as_ref().is_some_and(|text| text.len() > max);
        if too_long(&self.name, MAX_NAME) || too_long(&self.task_id, MAX_NAME) || too_long(&self.uri, MAX_URI) {
            return Err(EnvelopeError::TooLong(name));
        }
        Ok(())
    }
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
                "cursor" => params.cursor = map.next_value_seed(Any(Text))?,
                "protocolVersion" => params.protocol_version = map.next_value_seed(Any(Text))?,
                "ref" => params.reference = map.next_value_seed(Any(ReadReference(self.0)))?,
                "_meta" => params.meta = map.next_value_seed(Any(ReadMeta(self.0)))?,
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
    type Out = Meta<'de>;

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Meta<'de>, A::Error> {
        let mut meta = Meta::default();
        let mut seen = Seen::default();
        while let Some(key) = map.next_key_seed(Any(Text))?.flatten() {
            match &*key {
                META_VERSION => meta.protocol_version = map.next_value_seed(Any(Text))?,
                META_CAPABILITIES => {
                    meta.has_capabilities = true;
                    map.next_value_seed(Any(Skip))?;
                }
                "traceparent" => meta.traceparent = map.next_value_seed(Any(Text))?,
                _ => map.next_value_seed(Any(Skip))?,
            }
            if !seen.insert(key) {
                return Err(refuse(self.0, EnvelopeError::DuplicateKey("params._meta")));
            }
        }
        Ok(meta)
    }
}

struct ReadReference<'d>(&'d mut Defect);

impl<'de> Read<'de> for ReadReference<'_> {
    type Out = Option<Reference<'de>>;

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Out, A::Error> {
        let mut reference = Reference::default();
        let mut seen = Seen::default();
        while let Some(key) = map.next_key_seed(Any(Text))?.flatten() {
            match &*key {
                "name" => reference.name = map.next_value_seed(Any(Text))?,
                "uri" => reference.uri = map.next_value_seed(Any(Text))?,
                _ => map.next_value_seed(Any(Skip))?,
            }
            if !seen.insert(key) {
                return Err(refuse(self.0, EnvelopeError::DuplicateKey("params.ref")));
            }
        }
        Ok(Some(reference))
    }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
