//! Tasks: what a client takes for the id of a task is sealed. It finds the task's server, and is of no use to others.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{BufMut, Bytes};
use http::{Response, StatusCode};
use memchr::memmem;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Call, Gateway,
    answer::{self, Form},
    forward::{self, unanswered},
    limits::MAX_KNOWN_TASKS,
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

/// Whose tasks are, as far as is known. To a server the gateway is one client, so that it may speak to each caller of
/// the tasks of all: no caller is given the id of a task that is not its own.
#[derive(Default)]
pub(super) struct TaskOwners(Mutex<Owned>);

#[derive(Default)]
struct Owned {
    owners: HashMap<TaskKey, Owner>,
    order: VecDeque<TaskKey>,
}

/// A digest of a server's name and its own id of a task.
type TaskKey = [u8; 32];

impl TaskOwners {
    /// Whether a task is this owner's. One that nobody had is from now on, if this is how its owner hears of it.
    fn is_of(&self, owner: Owner, server: &str, task: &str, first: bool) -> bool {
        let mut key = TaskKey::default();
        // The name of a server has no line end.
        let text = format!("{server}\n{task}");
        key.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        let mut owned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match owned.owners.get(&key) {
            Some(known) => *known == owner,
            None if first => {
                owned.owners.insert(key, owner);
                owned.order.push_back(key);
                if owned.order.len() > MAX_KNOWN_TASKS
                    && let Some(oldest) = owned.order.pop_front()
                {
                    owned.owners.remove(&oldest);
                }
                true
            }
            None => false,
        }
    }
}

/// Seals the ids of one server's tasks for one owner.
#[derive(Clone)]
pub(super) struct TaskIds {
    sealer: Sealer,
    owners: Arc<TaskOwners>,
    server: String,
    owner: Owner,
}

impl TaskIds {
    pub(super) fn new(gateway: &Gateway, server: &ObjectName, owner: Owner) -> Self {
        Self {
            sealer: gateway.sealer.clone(),
            owners: Arc::clone(&gateway.tasks),
            server: server.to_string(),
            owner,
        }
    }

    /// The same for another server.
    pub(super) fn at(&self, server: &ObjectName) -> Self {
        Self {
            server: server.to_string(),
            ..self.clone()
        }
    }

    /// Seals what a message of the server says of tasks.
    pub(super) fn seal(&self, message: &[u8], peek: &Peek<'_>, splice: &mut Splice<'_>) {
        // All names of members that hold such an id have this in them.
        if memmem::find(message, b"ask").is_none() {
            return;
        }
        // An answer to whoever asked is how the owner of a task hears of it first.
        let (parts, first) = match peek.kind {
            Kind::Response => {
                let result = peek.result().ok().flatten();
                (result.map(|result| [result.task_id, result.related_task]), true)
            }
            Kind::Request | Kind::Notification => {
                let params = peek.params().ok();
                (params.map(|params| [params.task_id, params.related_task]), false)
            }
        };
        for part in parts.into_iter().flatten().flatten() {
            if let Some(text) = part.text() {
                splice.replace(part.span(), self.sealed(&text, first).unwrap_or(json_string("")));
            }
        }
    }

    /// As JSON; `None` for the id of a task that is somebody else's, and for one that is too long to be sealed.
    fn sealed(&self, id: &str, first: bool) -> Option<Vec<u8>> {
        if !self.owners.is_of(self.owner, &self.server, id, first) {
            return None;
        }
        let task = Task {
            server: self.server.clone(),
            task: id.to_owned(),
            owner: self.owner,
        };
        Some(json_string(&task.seal(&self.sealer).ok()?))
    }

    /// A task as a list has it, with its id sealed; `None` for one that is none of the owner's.
    fn listed(&self, task: &RawValue) -> Option<Vec<u8>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Listed<'a> {
            #[serde(borrow)]
            task_id: &'a RawValue,
        }
        let text = task.get();
        let Listed { task_id } = serde_json::from_str(text).ok()?;
        let part = message::part(text, task_id);
        let sealed = self.sealed(&part.text()?, false)?;
        let (start, end) = (part.span().start, part.span().end);
        Some([&text.as_bytes()[..start], &sealed, &text.as_bytes()[end..]].concat())
    }
}

impl Rewrite for TaskIds {
    fn message(&mut self, message: &Bytes) -> Rewritten {
        let Ok(peek) = Peek::new(message) else {
            return Rewritten::Keep;
        };
        let mut splice = Splice::new(message);
        self.seal(message, &peek, &mut splice);
        Rewritten::by(splice)
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
    // Also where that was forgotten: it was sealed for its owner.
    call.gateway.tasks.is_of(call.owner, &task.server, &task.task, true);
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
    let session = call.session()?;
    let params = match cursor {
        "" => serde_json::json!({}),
        cursor => serde_json::json!({ "cursor": cursor }),
    };
    let message = session.ask_server(&upstream, "tasks/list", params).await;
    let message = message.map_err(|error| unanswered(server, &error))?;
    let answer: Result<Answer<'_>, _> = serde_json::from_slice(&message);
    let Ok(Answer { result: Some(listed) }) = answer else {
        let message = format!("MCP server {server} gave no list of its tasks");
        return Err(Refused::new(StatusCode::BAD_GATEWAY, "upstream_answer", message));
    };
    let ids = TaskIds::new(call.gateway, server, call.owner);
    Ok(Page {
        tasks: listed.tasks.iter().filter_map(|task| ids.listed(task)).collect(),
        next: listed.next_cursor,
    })
}
