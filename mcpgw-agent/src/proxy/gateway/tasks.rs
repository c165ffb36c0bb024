//! Tasks: what a client takes for the id of a task is sealed. It finds the task's server, and is of no use to others.

use std::{borrow::Cow, collections::HashMap};

use bytes::{BufMut, Bytes};
use http::{Response, StatusCode};
use memchr::memmem;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Call,
    answer::{self, Form},
    forward::{self, unanswered},
    settle,
    view::Seen,
};
use crate::{
    mcp::{
        Envelope, Kind,
        error::{Rejection, code},
        governed::{Governed, Kind as Governs},
        message::{self, Peek},
        params::MetaKey,
        part::Part,
        seal::{Cursor, ListKind, Owner, Sealer, Task, Token as _},
        splice::{Splice, json_string},
        version::Era,
    },
    proxy::{
        call::Decided,
        exchange::Body,
        now,
        refused::Refused,
        rewrite::{Rewrite, Rewritten},
    },
    resources::ObjectName,
};

/// The extension of the modern era that has tasks.
pub(super) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// Seals the ids of one server's tasks for one owner.
#[derive(Clone)]
pub(super) struct TaskIds {
    sealer: Sealer,
    server: String,
    owner: Owner,
}

impl TaskIds {
    pub(super) fn new(sealer: Sealer, server: &ObjectName, owner: Owner) -> Self {
        Self {
            sealer,
            server: server.to_string(),
            owner,
        }
    }

    /// Seals what a message of the server says of tasks.
    pub(super) fn seal(&self, message: &[u8], peek: &Peek<'_>, splice: &mut Splice<'_>) {
        // All names of members that hold such an id have this in them.
        if memmem::find(message, b"ask").is_none() {
            return;
        }
        let parts = match peek.kind {
            Kind::Response => peek
                .result()
                .ok()
                .flatten()
                .map(|result| [result.task_id, result.related_task]),
            Kind::Request | Kind::Notification => {
                let params = peek.params().ok();
                params.map(|params| [params.task_id, params.related_task])
            }
        };
        for part in parts.into_iter().flatten().flatten() {
            if let Some(sealed) = self.sealed(part) {
                splice.replace(part.span(), sealed);
            }
        }
    }

    /// As JSON. An id that is too long to be sealed is no use to the client.
    fn sealed(&self, part: Part<'_>) -> Option<Vec<u8>> {
        let task = Task {
            server: self.server.clone(),
            task: part.text()?.into_owned(),
            owner: self.owner,
        };
        Some(json_string(&task.seal(&self.sealer).unwrap_or_default()))
    }

    /// A task as a list has it, with its id sealed.
    fn listed<'t>(&self, task: &'t RawValue) -> Cow<'t, [u8]> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Listed<'a> {
            #[serde(borrow)]
            task_id: &'a RawValue,
        }
        let text = task.get();
        let Ok(Listed { task_id }) = serde_json::from_str(text) else {
            return Cow::Borrowed(b"null");
        };
        let part = message::part(text, task_id);
        let Some(sealed) = self.sealed(part) else {
            return Cow::Borrowed(b"null");
        };
        let (start, end) = (part.span().start, part.span().end);
        Cow::Owned([&text.as_bytes()[..start], &sealed, &text.as_bytes()[end..]].concat())
    }
}

impl Rewrite for TaskIds {
    fn message(&mut self, message: &Bytes) -> Rewritten {
        let Ok(peek) = Peek::new(message) else {
            return Rewritten::Keep;
        };
        let mut splice = Splice::new(message);
        self.seal(message, &peek, &mut splice);
        match splice.is_empty() {
            true => Rewritten::Keep,
            false => Rewritten::Replace(splice.finish()),
        }
    }
}

/// Whether a client may speak of tasks: a modern one says with each request that it knows them.
pub(super) fn are_known_to(era: Era, envelope: &Envelope<'_>) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Capabilities<'a> {
        #[serde(borrow)]
        extensions: HashMap<Cow<'a, str>, IgnoredAny>,
    }
    let said = envelope.params.meta.get(MetaKey::ClientCapabilities);
    let said: Option<Capabilities<'_>> = said.and_then(|part| serde_json::from_str(part.get()).ok());
    era == Era::Legacy || said.is_some_and(|said| said.extensions.contains_key(EXTENSION))
}

/// What a client is told that does not.
pub(super) fn not_declared() -> Rejection {
    let required = serde_json::json!({ "extensions": { EXTENSION: {} } });
    Rejection::missing_capability(&serde_json::value::to_raw_value(&required).unwrap_or_default())
}

/// The task that a client means, if it is one of its own at a server that it sees.
pub(super) fn find<'c>(call: &'c Call<'_>, sealed: &str) -> Option<(&'c Seen, String)> {
    let task = Task::open(&call.gateway.sealer, sealed, call.owner, now()).ok()?;
    let seen = call
        .view
        .servers
        .iter()
        .find(|seen| seen.server.name().to_string() == task.server)?;
    Some((seen, task.task))
}

/// `tasks/list` of a legacy client: the pages of each server that has such a list, one server after the other.
pub(super) async fn list(call: &Call<'_>, id: &RawValue, envelope: &Envelope<'_>) -> Result<Response<Body>, Refused> {
    let refused = |refused: Refused| refused.to(Some(id));
    let bad_cursor = || {
        refused(Refused::protocol(
            StatusCode::OK,
            code::INVALID_PARAMS,
            "cursor",
            "Invalid cursor",
        ))
    };
    let position = match envelope.params.cursor.as_deref() {
        None => None,
        Some(text) => {
            let list = (ListKind::Tasks, call.catalog);
            let cursor = Cursor::open_for(list, &call.gateway.sealer, text, call.owner, now());
            Some(cursor.map_err(|_| bad_cursor())?.position)
        }
    };
    // The server whose turn it is, and where in its list.
    let (turn, within) = match &position {
        Some(position) => position.split_once(' ').ok_or_else(bad_cursor)?,
        None => ("", ""),
    };
    let mut servers = call
        .view
        .servers
        .iter()
        .filter(|seen| seen.catalogue.features.tasks.list && seen.catalogue.speaks.legacy.is_some())
        .skip_while(|seen| !turn.is_empty() && seen.server.name().to_string() != turn);
    let Some(seen) = servers.next() else {
        return Ok(answer::ok(answer::with_members(id, Form::Legacy, |result| {
            result.put_slice(br#""tasks":[]"#);
        })));
    };
    let asked = Governed {
        method: "tasks/list",
        kind: Governs::Task,
        name: "",
    };
    let next_server = servers.next().map(|next| format!("{} ", next.server.name()));
    let page = match forward::decided(call, Some(id), seen, asked, "", envelope, false).await {
        // As if it had none.
        Decided::Denied(_) => Page::default(),
        Decided::Allowed(mut record) => {
            let page = page(call, seen, within).await.map_err(refused)?;
            settle(&mut record, id, StatusCode::OK, &answer::empty(id));
            page
        }
    };
    let next = match page.next {
        Some(cursor) => Some(format!("{} {cursor}", seen.server.name())),
        None => next_server,
    };
    let next = next.map(|position| {
        let cursor = Cursor {
            kind: ListKind::Tasks,
            catalog: call.catalog.map(ToOwned::to_owned),
            owner: call.owner,
            position,
            issued: now(),
        };
        cursor.seal(&call.gateway.sealer)
    });
    let next = next.transpose().map_err(|error| refused(Refused::no_cursor(&error)))?;
    Ok(answer::ok(answer::with_members(id, Form::Legacy, |result| {
        result.put_slice(br#""tasks":["#);
        result.put_slice(&page.tasks.join(&b","[..]));
        result.put_u8(b']');
        if let Some(next) = next {
            result.put_slice(br#","nextCursor":"#);
            result.put_slice(&json_string(&next));
        }
    })))
}

#[derive(Default)]
struct Page {
    tasks: Vec<Vec<u8>>,
    next: Option<String>,
}

/// One page of a server's list.
async fn page(call: &Call<'_>, seen: &Seen, cursor: &str) -> Result<Page, Refused> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        result: Option<Listed<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Listed<'a> {
        #[serde(borrow, default)]
        tasks: Vec<&'a RawValue>,
        next_cursor: Option<String>,
    }
    let server = seen.server.name();
    let upstream = call
        .shared
        .upstreams
        .of(&seen.server.wanted)
        .ok_or_else(|| Refused::gone(server))?;
    let session = call.session();
    let link = session.link(&upstream).await;
    let link = link.map_err(|error| unanswered(server, &error))?;
    let params = match cursor {
        "" => serde_json::json!({}),
        cursor => serde_json::json!({ "cursor": cursor }),
    };
    let message = link.ask("tasks/list", params).await;
    let message = message.map_err(|error| unanswered(server, &error))?;
    let answer: Result<Answer<'_>, _> = serde_json::from_slice(&message);
    let Ok(Answer { result: Some(listed) }) = answer else {
        let message = format!("MCP server {server} gave no list of its tasks");
        return Err(Refused::new(StatusCode::BAD_GATEWAY, "upstream_answer", message));
    };
    let ids = TaskIds::new(call.gateway.sealer.clone(), server, call.owner);
    Ok(Page {
        tasks: listed.tasks.iter().map(|task| ids.listed(task).into_owned()).collect(),
        next: listed.next_cursor,
    })
}
