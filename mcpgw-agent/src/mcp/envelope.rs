//! The envelope of a JSON-RPC message: who asks for what.
//!
//! It is read once, in place, and strictly: what two parsers could read differently is refused, so that the
//! server cannot understand another call than the one that was decided. What may be rewritten on the way is known
//! with its place in the body.

use std::{borrow::Cow, ops::Range};

use serde_json::value::RawValue;

pub use super::{envelope_error::EnvelopeError, params::Params};
use super::{
    members::{Seen, known, looks_like},
    method::{Method, Subject},
    params::MetaKey,
    part::{Members, Part, Text},
    scan::Scanner,
    splice::Splice,
    version::Era,
};

/// The method that calls a tool.
pub const TOOLS_CALL: &str = "tools/call";

/// Bytes of a method, after decoding.
const MAX_METHOD: usize = 256;
/// Bytes of an id, as it was written: those of server requests come back sealed.
const MAX_ID: usize = 8 * 1024;

/// Members of an envelope.
const ENVELOPE: [&str; 6] = ["jsonrpc", "method", "id", "params", "result", "error"];

/// What a body asks for. Borrows from the body.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// What kind of message it is.
    pub kind: Kind,
    /// The method; `None` for a response.
    pub method: Option<Cow<'a, str>>,
    /// The id, as it was written: a string, a number or null.
    pub id: Option<&'a RawValue>,
    /// What it says in `params`.
    pub params: Params<'a>,
    id_part: Option<Part<'a>>,
    members: Members,
    fails: bool,
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
        let message = Message::read(body).map_err(|error| Refused { error, id: None })?;
        let id = message.id.and_then(|id| id.raw());
        let kind = message.classify().map_err(|error| Refused { error, id })?;
        Ok(Self {
            kind,
            method: message.method,
            id,
            params: message.params,
            id_part: message.id,
            members: message.members,
            fails: message.error.is_some_and(|error| !error.is_null()),
        })
    }

    /// The method, among those that are known; `None` for a response.
    pub fn known(&self) -> Option<Method<'_>> {
        self.method.as_deref().map(Method::of)
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
        let subject = match self.known()?.subject()? {
            Subject::Name => &self.params.name,
            Subject::Uri => &self.params.uri,
            Subject::TaskId => &self.params.task_id,
            Subject::Reference => return None,
        };
        subject.as_deref()
    }

    /// The token by which the sender is told of progress, or tells of it.
    pub fn progress_token(&self) -> Option<Part<'a>> {
        match self.known()? {
            Method::Progress => self.params.progress_token,
            _ => self.params.meta.get(MetaKey::ProgressToken),
        }
    }

    /// The id as a part of the body.
    pub fn id_part(&self) -> Option<Part<'a>> {
        self.id_part
    }

    /// Where the id stands in the body.
    pub fn id_span(&self) -> Option<Range<usize>> {
        self.id_part.map(|id| id.span())
    }

    /// Whether it is a response with an error.
    pub fn is_error(&self) -> bool {
        self.fails
    }

    /// Sets members of `params._meta`, each to a value that is JSON: where they are, in place, or else inserted,
    /// with `_meta` and `params` if need be. No key may be set twice.
    pub fn set_meta(&self, splice: &mut Splice<'_>, members: &[(MetaKey, &str)]) {
        let meta = &self.params.meta;
        let mut missing = Vec::with_capacity(members.len());
        for (key, value) in members {
            match meta.get(*key) {
                Some(part) => splice.replace(part.span(), *value),
                None => missing.push((key.as_str(), *value)),
            }
        }
        if missing.is_empty() {
            return;
        }
        if let Some(place) = meta.whole.and_then(|whole| whole.members()) {
            for (key, value) in missing {
                splice.insert_member(place, key, value);
            }
            return;
        }
        let written: Vec<String> = missing
            .iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        let object = format!("{{{}}}", written.join(","));
        if let Some(null) = meta.whole {
            splice.replace(null.span(), object);
        } else if let Some(place) = self.params.whole.and_then(|whole| whole.members()) {
            splice.insert_member(place, "_meta", object);
        } else if let Some(null) = self.params.whole {
            splice.replace(null.span(), format!("{{\"_meta\":{object}}}"));
        } else {
            splice.insert_member(self.members, "params", format!("{{\"_meta\":{object}}}"));
        }
    }
}

/// The members of the envelope as they stand.
struct Message<'a> {
    version: Option<Text<'a>>,
    method: Option<Cow<'a, str>>,
    id: Option<Part<'a>>,
    params: Params<'a>,
    result: Option<Part<'a>>,
    error: Option<Part<'a>>,
    members: Members,
}

impl<'a> Message<'a> {
    fn read(body: &'a [u8]) -> Result<Self, EnvelopeError> {
        let mut scanner = Scanner::new(body)?;
        match scanner.peek()? {
            b'{' => {}
            b'[' => return Err(EnvelopeError::Batch),
            _ => {
                scanner.skip()?;
                scanner.end()?;
                return Err(EnvelopeError::NotAnObject);
            }
        }
        let mut message = Self {
            version: None,
            method: None,
            id: None,
            params: Params::default(),
            result: None,
            error: None,
            members: Members { at: 0, empty: true },
        };
        let mut seen = Seen::default();
        let whole = scanner.members(|scanner, key| {
            let key = key.decode()?;
            match &*key {
                "jsonrpc" => message.version = scanner.text()?,
                "method" => {
                    let method = scanner.text()?.ok_or(EnvelopeError::Method)?;
                    message.method = Some(method.value);
                }
                "id" => message.id = Some(read_id(scanner)?),
                "params" => message.params = Params::read(scanner)?,
                "result" => message.result = Some(scanner.skip()?),
                "error" => message.error = Some(scanner.skip()?),
                other if looks_like(other, &ENVELOPE) => return Err(EnvelopeError::AmbiguousKey("message")),
                _ => scanner.skip().map(drop)?,
            }
            match seen.insert(known(&key, &ENVELOPE), key) {
                true => Ok(()),
                false => Err(EnvelopeError::DuplicateKey("message")),
            }
        })?;
        scanner.end()?;
        message.members = whole.members().ok_or(EnvelopeError::NotAnObject)?;
        Ok(message)
    }

    fn classify(&self) -> Result<Kind, EnvelopeError> {
        if self.version.as_deref() != Some("2.0") {
            return Err(EnvelopeError::Version);
        }
        let Some(method) = self.method.as_deref() else {
            let present = |part: Option<Part<'_>>| part.is_some_and(|part| !part.is_null());
            return match (self.result, self.error) {
                (None, None) => Err(EnvelopeError::Shape),
                // Some peers write null for what is not there.
                (result, error) if present(result) && present(error) => Err(EnvelopeError::Shape),
                _ => Ok(Kind::Response),
            };
        };
        if self.result.is_some() || self.error.is_some() {
            return Err(EnvelopeError::Shape);
        }
        if method.len() > MAX_METHOD {
            return Err(EnvelopeError::TooLong("method", MAX_METHOD));
        }
        let method = Method::of(method);
        self.params.check(method)?;
        self.check_subject(method)?;
        Ok(if self.id.is_some() {
            Kind::Request
        } else {
            Kind::Notification
        })
    }

    fn check_subject(&self, method: Method<'_>) -> Result<(), EnvelopeError> {
        let params = &self.params;
        let (Some(name), Some(subject)) = (method.name(), method.subject()) else {
            return Ok(());
        };
        let present = match subject {
            Subject::Name => params.name.is_some(),
            Subject::Uri => params.uri.is_some(),
            Subject::TaskId => params.task_id.is_some(),
            Subject::Reference => params.reference.as_ref().is_some_and(|it| it.target().is_some()),
        };
        // A method that is gone is answered as one that is not there, whatever it needed when it was.
        let gone = || {
            let version = params
                .meta
                .get(MetaKey::ProtocolVersion)
                .and_then(|version| version.text());
            version.is_some_and(|version| Era::of_version(&version) == Era::Modern)
                && !method.is_open_to_clients(Era::Modern)
        };
        match present || gone() {
            true => Ok(()),
            false => Err(EnvelopeError::Subject(name, subject.member())),
        }
    }
}

/// Reads a string, a number or null.
fn read_id<'a>(scanner: &mut Scanner<'a>) -> Result<Part<'a>, EnvelopeError> {
    let first = scanner.peek()?;
    let id = scanner.skip()?;
    if !matches!(first, b'"' | b'-' | b'0'..=b'9' | b'n') {
        return Err(EnvelopeError::Id);
    }
    if id.get().len() > MAX_ID {
        return Err(EnvelopeError::TooLong("id", MAX_ID));
    }
    Ok(id)
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
