//! A look at one message from a server: what it is, to whom it belongs, and where the parts lie that a gateway
//! rewrites. The rest of it is passed on unread.
//!
//! Servers are read as clients read them, with unknown members and in any order. But what two clients could read
//! differently, such as a member twice, is no message.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::{Number, value::RawValue};

use super::{
    Kind,
    part::{Members, Part},
};

/// No JSON-RPC message, or one that can be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON-RPC message")]
pub struct Malformed;

/// A message. Borrows from the body; its parts know where in the body they are.
#[derive(Clone, Debug)]
pub struct Peek<'a> {
    /// What kind of message it is.
    pub kind: Kind,
    /// The id. `None` for a notification; null in an error that answers nothing that could be read.
    pub id: Option<Part<'a>>,
    /// The method; `None` for a response.
    pub method: Option<Cow<'a, str>>,
    body: &'a str,
    params: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
}

/// What `params` says.
#[derive(Clone, Debug, Default)]
pub struct Params<'a> {
    /// `uri`: the resource that was updated.
    pub uri: Option<Part<'a>>,
    /// `progressToken`: whose progress is told.
    pub progress_token: Option<Part<'a>>,
    /// `_meta.progressToken`: how the server wants to be told of progress.
    pub wanted_progress: Option<Part<'a>>,
    /// `requestId`: what is cancelled.
    pub request_id: Option<Part<'a>>,
    /// `level`: how grave what is logged is.
    pub level: Option<Part<'a>>,
    /// `taskId`: the task whose state is told.
    pub task_id: Option<Part<'a>>,
    /// `_meta["io.modelcontextprotocol/subscriptionId"]`: the id of the listen request that it belongs to.
    pub subscription_id: Option<Part<'a>>,
    /// `_meta["io.modelcontextprotocol/related-task"].taskId`.
    pub related_task: Option<Part<'a>>,
}

/// What a result says.
#[derive(Clone, Debug)]
pub struct ResultPeek<'a> {
    /// The result as a whole.
    pub whole: Part<'a>,
    /// Where members can be inserted; `None` where it is no object.
    pub members: Option<Members>,
    /// Whether the answer is in it.
    pub kind: ResultKind,
    /// Whether it says its type (`resultType`).
    pub is_typed: bool,
    /// `isError`: the tool ran and failed.
    pub is_error: bool,
    /// The id of the task that it tells of: `taskId`, or up to 2025-11-25 `task.taskId`.
    pub task_id: Option<Part<'a>>,
    /// As in [`Params::related_task`].
    pub related_task: Option<Part<'a>>,
}

/// The type of a result (`resultType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultKind {
    /// The answer, said or (up to 2025-11-25) taken for granted.
    Complete,
    /// Questions to the client, which is to ask again with its answers.
    InputRequired,
    /// A task that will have the answer.
    Task,
    /// One that is not known here.
    Other,
}

/// Whether a message answers the request with this id.
pub fn answers(message: &[u8], asked: Option<&Id>) -> bool {
    Peek::new(message).is_ok_and(|message| message.answers(asked))
}

/// Whether a message is a response.
pub fn is_response(message: &[u8]) -> bool {
    Peek::new(message).is_ok_and(|message| message.kind == Kind::Response)
}

/// Whether a message answers with questions to the client.
pub fn is_input_required(message: &[u8]) -> bool {
    let kind = |message: Peek<'_>| Some(message.result().ok()??.kind);
    Peek::new(message).ok().and_then(kind) == Some(ResultKind::InputRequired)
}

impl<'a> Peek<'a> {
    /// Looks at a message.
    pub fn new(body: &'a [u8]) -> Result<Self, Malformed> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Message<'a> {
            #[serde(borrow, deserialize_with = "present")]
            id: Option<&'a RawValue>,
            #[serde(borrow)]
            method: Option<&'a RawValue>,
            #[serde(borrow)]
            params: Option<&'a RawValue>,
            #[serde(borrow, deserialize_with = "present")]
            result: Option<&'a RawValue>,
            #[serde(borrow)]
            error: Option<&'a RawValue>,
        }
        let body = std::str::from_utf8(body).map_err(|_| Malformed)?;
        if !body.trim_ascii_start().starts_with('{') {
            return Err(Malformed);
        }
        let message: Message<'a> = serde_json::from_str(body).map_err(|_| Malformed)?;
        if !message.id.is_none_or(is_id) {
            return Err(Malformed);
        }
        // Some servers write null for what is not there.
        let result = message
            .result
            .filter(|result| message.error.is_none() || !is_null(result));
        let (kind, id) = match (message.method, result, message.error) {
            (Some(_), None, None) => match message.id.filter(|id| !is_null(id)) {
                Some(id) => (Kind::Request, Some(id)),
                None => (Kind::Notification, None),
            },
            (None, Some(_), None) | (None, None, Some(_)) => (Kind::Response, message.id),
            _ => return Err(Malformed),
        };
        let method = message.method.map(|method| text(method).ok_or(Malformed)).transpose()?;
        Ok(Self {
            kind,
            id: id.map(|id| part(body, id)),
            method,
            body,
            params: message.params,
            result,
            error: message.error,
        })
    }

    /// Looks at `params`, or what there is of them.
    pub fn params(&self) -> Result<Params<'a>, Malformed> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Fields<'a> {
            #[serde(borrow)]
            uri: Option<&'a RawValue>,
            #[serde(borrow)]
            progress_token: Option<&'a RawValue>,
            #[serde(borrow)]
            request_id: Option<&'a RawValue>,
            #[serde(borrow)]
            level: Option<&'a RawValue>,
            #[serde(borrow)]
            task_id: Option<&'a RawValue>,
            #[serde(borrow, rename = "_meta")]
            meta: Option<&'a RawValue>,
        }
        let fields: Fields<'a> = members_of(self.params)?;
        let meta: Meta<'a> = members_of(fields.meta)?;
        let part = |raw: Option<&'a RawValue>| raw.map(|raw| part(self.body, raw));
        Ok(Params {
            uri: part(fields.uri),
            progress_token: part(fields.progress_token),
            wanted_progress: part(meta.progress_token),
            request_id: part(fields.request_id),
            level: part(fields.level),
            task_id: part(fields.task_id),
            subscription_id: part(meta.subscription_id),
            related_task: part(members_of::<Task<'a>>(meta.related_task)?.task_id),
        })
    }

    /// Looks at the result; `None` where there is none.
    pub fn result(&self) -> Result<Option<ResultPeek<'a>>, Malformed> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Fields<'a> {
            #[serde(borrow)]
            result_type: Option<&'a RawValue>,
            #[serde(borrow)]
            is_error: Option<&'a RawValue>,
            #[serde(borrow)]
            task_id: Option<&'a RawValue>,
            #[serde(borrow)]
            task: Option<&'a RawValue>,
            #[serde(borrow, rename = "_meta")]
            meta: Option<&'a RawValue>,
        }
        let Some(result) = self.result else { return Ok(None) };
        let fields: Fields<'a> = members_of(Some(result))?;
        let meta: Meta<'a> = members_of(fields.meta)?;
        let task: Task<'a> = members_of(fields.task)?;
        let kind = match fields.result_type.map(text) {
            None if task.task_id.is_some() => ResultKind::Task,
            None => ResultKind::Complete,
            Some(Some(kind)) => match &*kind {
                "complete" => ResultKind::Complete,
                "input_required" => ResultKind::InputRequired,
                "task" => ResultKind::Task,
                _ => ResultKind::Other,
            },
            Some(None) => ResultKind::Other,
        };
        let part = |raw: Option<&'a RawValue>| raw.map(|raw| part(self.body, raw));
        let whole = self::part(self.body, result);
        Ok(Some(ResultPeek {
            whole,
            members: whole.members(),
            kind,
            is_typed: fields.result_type.is_some(),
            is_error: fields.is_error.is_some_and(|value| value.get() == "true"),
            task_id: part(fields.task_id.or(task.task_id)),
            related_task: part(members_of::<Task<'a>>(meta.related_task)?.task_id),
        }))
    }

    /// Whether it answers the request with this id. A server that could not read a request answers with an error that has
    /// none.
    pub fn answers(&self, asked: Option<&Id>) -> bool {
        let answered = self.id.and_then(|id| id.id());
        self.kind == Kind::Response && (answered.as_ref() == asked || answered.is_none() && self.is_error())
    }

    /// Whether it is an error response.
    pub fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// The code of its error; `None` where there is no error, or no whole number for its code.
    pub fn error_code(&self) -> Option<i64> {
        serde_json::from_str(self.error_code_part()?.get()).ok()
    }

    /// The code of its error as it was written.
    pub fn error_code_part(&self) -> Option<Part<'a>> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Error<'a> {
            #[serde(borrow)]
            code: Option<&'a RawValue>,
        }
        let error: Error<'a> = members_of(self.error).ok()?;
        error.code.map(|code| part(self.body, code))
    }
}

/// A request's id by its value: `1` and `1.0`, `"a"` and `"\u0061"` are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number; whole ones are never kept as floating-point numbers.
    Number(Number),
    /// A string.
    Text(String),
}

impl Id {
    /// `None` for null, and for what cannot be an id.
    pub fn of(raw: &RawValue) -> Option<Self> {
        Self::parse(raw.get())
    }

    /// As [`Self::of`], of what is JSON.
    pub fn parse(json: &str) -> Option<Self> {
        /// Up to here every whole number has a floating-point number of its own.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match serde_json::from_str(json).ok()? {
            Self::Number(number) => {
                let float = number
                    .as_f64()
                    .filter(|float| float.fract() == 0.0 && float.abs() <= EXACT);
                // The conversion is exact: whole, and in range.
                let whole = float.map(|float| Number::from(float as i64));
                Some(Self::Number(whole.unwrap_or(number)))
            }
            text => Some(text),
        }
    }
}

/// Members of `_meta`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/subscriptionId")]
    subscription_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/related-task")]
    related_task: Option<&'a RawValue>,
}

/// What names a task.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Task<'a> {
    #[serde(borrow, rename = "taskId")]
    task_id: Option<&'a RawValue>,
}

/// The members of an object; none where it is absent or another type. (A derived reader takes an array too, by the
/// order of its elements.)
fn members_of<'a, T: Default + Deserialize<'a>>(raw: Option<&'a RawValue>) -> Result<T, Malformed> {
    match raw {
        Some(raw) if raw.get().starts_with('{') => serde_json::from_str(raw.get()).map_err(|_| Malformed),
        _ => Ok(T::default()),
    }
}

/// A member that is there, be it null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

fn is_id(raw: &RawValue) -> bool {
    is_null(raw) || Id::of(raw).is_some()
}

/// The string that `raw` is, decoded.
fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    Part::new(raw.get(), 0).text()
}

/// `raw`, which lies in `body`.
pub fn part<'a>(body: &'a str, raw: &'a RawValue) -> Part<'a> {
    Part::new(raw.get(), raw.get().as_ptr().addr() - body.as_ptr().addr())
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
