//! What `params` says, as far as requests are decided, routed or rewritten by it.

use super::{
    envelope::EnvelopeError,
    members::{Seen, known, looks_like},
    method::Method,
    part::{Part, Text},
    scan::Scanner,
};

/// What `params` says; empty where there is none. What has another type than it should is absent.
#[derive(Clone, Debug, Default)]
pub struct Params<'a> {
    /// The whole of it, be it null.
    pub whole: Option<Part<'a>>,
    /// `name`: a tool or a prompt.
    pub name: Option<Text<'a>>,
    /// `uri`: a resource.
    pub uri: Option<Text<'a>>,
    /// `taskId`.
    pub task_id: Option<Text<'a>>,
    /// `cursor`: a page of a list.
    pub cursor: Option<Text<'a>>,
    /// `ref`: what a completion is for.
    pub reference: Option<Reference<'a>>,
    /// `arguments`, not looked into.
    pub arguments: Option<Part<'a>>,
    /// `requestId`: what is cancelled.
    pub request_id: Option<Part<'a>>,
    /// `progressToken`: whose progress is told. What a request wants to be told of is in [`Params::meta`].
    pub progress_token: Option<Part<'a>>,
    /// `protocolVersion` of `initialize`.
    pub protocol_version: Option<Text<'a>>,
    /// `clientInfo` of `initialize`.
    pub client_info: Option<Part<'a>>,
    /// `capabilities` of `initialize`.
    pub capabilities: Option<Part<'a>>,
    /// `level` of `logging/setLevel`.
    pub level: Option<Part<'a>>,
    /// `requestState`: a request that is asked again.
    pub request_state: Option<Part<'a>>,
    /// `inputResponses`: answers to the questions of an earlier result.
    pub input_responses: Option<Part<'a>>,
    /// `task`: the call is to become a task (2025-11-25).
    pub task: Option<Part<'a>>,
    /// `_meta`.
    pub meta: Meta<'a>,
    pub(super) look_alike: bool,
}

/// What a completion is for.
#[derive(Clone, Debug, Default)]
pub struct Reference<'a> {
    /// `type`: `ref/prompt` or `ref/resource`.
    pub kind: Option<Text<'a>>,
    /// `name`, of a prompt.
    pub name: Option<Text<'a>>,
    /// `uri`, of a resource or a template.
    pub uri: Option<Text<'a>>,
}

/// What a completion is for, by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'p> {
    /// The prompt of this name.
    Prompt(&'p Text<'p>),
    /// The resource of this URI, or the template.
    Resource(&'p Text<'p>),
}

/// A member of `_meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaKey {
    /// `io.modelcontextprotocol/protocolVersion`
    ProtocolVersion,
    /// `io.modelcontextprotocol/clientCapabilities`
    ClientCapabilities,
    /// `io.modelcontextprotocol/clientInfo`
    ClientInfo,
    /// `io.modelcontextprotocol/logLevel`
    LogLevel,
    /// `io.modelcontextprotocol/related-task`: the task that the message belongs to (2025-11-25).
    RelatedTask,
    /// `progressToken`
    ProgressToken,
    /// `traceparent`
    Traceparent,
    /// `tracestate`
    Tracestate,
    /// `baggage`
    Baggage,
}

/// What `_meta` says.
#[derive(Clone, Debug, Default)]
pub struct Meta<'a> {
    /// The whole of it, be it null.
    pub whole: Option<Part<'a>>,
    members: [Option<Part<'a>>; META.len()],
}

/// Members of `params`, over all methods.
const PARAMS: [&str; 16] = [
    "name",
    "arguments",
    "_meta",
    "uri",
    "taskId",
    "cursor",
    "ref",
    "requestId",
    "progressToken",
    "protocolVersion",
    "clientInfo",
    "capabilities",
    "level",
    "requestState",
    "inputResponses",
    "task",
];
/// Members of `params.ref`.
const REFERENCE: [&str; 3] = ["type", "name", "uri"];
/// Members of `_meta`, in the order of [`MetaKey`].
const META: [&str; 9] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/related-task",
    "progressToken",
    "traceparent",
    "tracestate",
    "baggage",
];

impl MetaKey {
    /// The key.
    pub const fn as_str(self) -> &'static str {
        META[self as usize]
    }
}

impl<'a> Meta<'a> {
    /// The value of a member, if it is there.
    pub fn get(&self, key: MetaKey) -> Option<Part<'a>> {
        self.members[key as usize]
    }
}

impl<'a> Params<'a> {
    /// Reads `params`. Where it is no object, only that is known.
    pub(super) fn read(scanner: &mut Scanner<'a>) -> Result<Self, EnvelopeError> {
        let mut params = Self::default();
        if scanner.peek()? != b'{' {
            params.whole = Some(scanner.skip()?);
            return Ok(params);
        }
        let mut seen = Seen::default();
        let whole = scanner.members(|scanner, key| {
            let key = key.decode()?;
            match &*key {
                "name" => params.name = scanner.text()?,
                "arguments" => params.arguments = Some(scanner.skip()?),
                "_meta" => params.meta = Meta::read(scanner)?,
                "uri" => params.uri = scanner.text()?,
                "taskId" => params.task_id = scanner.text()?,
                "cursor" => params.cursor = scanner.text()?,
                "ref" => params.reference = Reference::read(scanner)?,
                "requestId" => params.request_id = Some(scanner.skip()?),
                "progressToken" => params.progress_token = Some(scanner.skip()?),
                "protocolVersion" => params.protocol_version = scanner.text()?,
                "clientInfo" => params.client_info = Some(scanner.skip()?),
                "capabilities" => params.capabilities = Some(scanner.skip()?),
                "level" => params.level = Some(scanner.skip()?),
                "requestState" => params.request_state = Some(scanner.skip()?),
                "inputResponses" => params.input_responses = Some(scanner.skip()?),
                "task" => params.task = Some(scanner.skip()?),
                other => {
                    params.look_alike |= looks_like(other, &PARAMS);
                    scanner.skip()?;
                }
            }
            match seen.insert(known(&key, &PARAMS), key) {
                true => Ok(()),
                false => Err(EnvelopeError::DuplicateKey("params")),
            }
        })?;
        params.whole = Some(whole);
        Ok(params)
    }

    /// Checks types and lengths, for a message with this method.
    pub(super) fn check(&self, method: Method<'_>) -> Result<(), EnvelopeError> {
        let object = |whole: Option<Part<'_>>| whole.is_none_or(|whole| whole.is_null() || whole.members().is_some());
        if !object(self.whole) {
            return Err(EnvelopeError::Params("params"));
        }
        if !object(self.meta.whole) {
            return Err(EnvelopeError::Params("params._meta"));
        }
        // Of a method that is nobody's, no more is decided than whether it may pass.
        if self.look_alike && (method.is_known() || method.subject().is_some()) {
            return Err(EnvelopeError::AmbiguousKey("params"));
        }
        let reference = self.reference.as_ref();
        for (member, text, limit) in [
            ("params.name", &self.name, Self::MAX_NAME),
            ("params.uri", &self.uri, Self::MAX_URI),
            ("params.taskId", &self.task_id, Self::MAX_URI),
            ("params.cursor", &self.cursor, Self::MAX_CURSOR),
            (
                "params.ref.name",
                reference.map_or(&None, |it| &it.name),
                Self::MAX_NAME,
            ),
            ("params.ref.uri", reference.map_or(&None, |it| &it.uri), Self::MAX_URI),
        ] {
            if text.as_ref().is_some_and(|text| text.value.len() > limit) {
                return Err(EnvelopeError::TooLong(member, limit));
            }
        }
        Ok(())
    }

    /// Bytes of the name of a tool or a prompt, after decoding.
    pub const MAX_NAME: usize = 1024;
    /// Bytes of a URI or of the id of a task, after decoding: they have to fit into a header.
    pub const MAX_URI: usize = 8 * 1024;
    /// Bytes of a cursor, after decoding: ours seal those of several servers.
    pub const MAX_CURSOR: usize = 32 * 1024;
}

impl<'a> Reference<'a> {
    /// What it means; `None` if its type is not known, or what it needs is missing.
    pub fn target(&self) -> Option<Target<'_>> {
        match self.kind.as_deref()? {
            "ref/prompt" => self.name.as_ref().map(Target::Prompt),
            "ref/resource" => self.uri.as_ref().map(Target::Resource),
            _ => None,
        }
    }

    fn read(scanner: &mut Scanner<'a>) -> Result<Option<Self>, EnvelopeError> {
        if scanner.peek()? != b'{' {
            scanner.skip()?;
            return Ok(None);
        }
        let mut reference = Self::default();
        let mut seen = Seen::default();
        scanner.members(|scanner, key| {
            let key = key.decode()?;
            match &*key {
                "type" => reference.kind = scanner.text()?,
                "name" => reference.name = scanner.text()?,
                "uri" => reference.uri = scanner.text()?,
                other if looks_like(other, &REFERENCE) => return Err(EnvelopeError::AmbiguousKey("params.ref")),
                _ => scanner.skip().map(drop)?,
            }
            match seen.insert(known(&key, &REFERENCE), key) {
                true => Ok(()),
                false => Err(EnvelopeError::DuplicateKey("params.ref")),
            }
        })?;
        Ok(Some(reference))
    }
}

impl<'a> Meta<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, EnvelopeError> {
        let mut meta = Self::default();
        if scanner.peek()? != b'{' {
            meta.whole = Some(scanner.skip()?);
            return Ok(meta);
        }
        let mut seen = Seen::default();
        let whole = scanner.members(|scanner, key| {
            let key = key.decode()?;
            let value = scanner.skip()?;
            let known = known(&key, &META);
            match known {
                Some(known) => meta.members[known] = Some(value),
                None if looks_like(&key, &META) => return Err(EnvelopeError::AmbiguousKey("params._meta")),
                None => {}
            }
            match seen.insert(known, key) {
                true => Ok(()),
                false => Err(EnvelopeError::DuplicateKey("params._meta")),
            }
        })?;
        meta.whole = Some(whole);
        Ok(meta)
    }
}

#[cfg(test)]
#[path = "params_tests.rs"]
mod tests;
