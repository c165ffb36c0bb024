//! Updates of resources, and of tasks: heard at a server, and passed on to the client that subscribed to them.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use super::{
    hearing::Hearing,
    limits::{ACKNOWLEDGE_TIMEOUT, FEED_TIMEOUT, MAX_EVENT_BYTES, OPEN_TIMEOUT, RETRY},
    link, modern,
    session::Session,
    shares::{Listening, Share},
    stream::Feed,
    tasks::EXTENSION,
};
use crate::{
    mcp::{
        Kind,
        message::Peek,
        method::Method,
        splice::{Splice, json_string},
        sse::Parser,
        version::Revision,
    },
    resources::ObjectName,
    shares::Payer,
    upstream::{Behalf, Upstream, UpstreamBody},
};

/// The member of `_meta` that says which subscription a notification belongs to.
pub(super) const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// A task that a client wants to hear of.
pub(super) struct TaskId {
    /// As the server has it.
    pub(super) own: String,
    /// As the client does.
    pub(super) sealed: String,
}

/// Resources and tasks of one modern server that a client wants to hear of.
pub(super) struct Subscription {
    pub(super) server: ObjectName,
    /// As the server has them.
    pub(super) uris: Vec<String>,
    /// Of a server that knows no sessions.
    pub(super) tasks: Vec<TaskId>,
    pub(super) payer: Payer,
    pub(super) behalf: Option<Behalf>,
    /// What the client may hear.
    pub(super) hearing: Arc<Hearing>,
}

/// Who is told.
pub(super) enum Listener {
    /// A modern client, on the stream of its subscription with this id.
    Stream(Feed, Box<RawValue>),
    /// A legacy client, on whichever stream its session has then.
    Session(Weak<Session>),
}

impl Listener {
    /// Tells of an update; `false` if there is nobody any more.
    async fn tell(&self, uri: &str) -> bool {
        let uri = String::from_utf8(json_string(uri)).unwrap_or_default();
        let message = |meta: &str| {
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{{meta}"uri":{uri}}}}}"#)
        };
        match self {
            Self::Stream(feed, id) => {
                let meta = format!(r#""_meta":{{"{SUBSCRIPTION_ID}":{id}}},"#);
                feed.message(message(&meta).as_bytes()).await
            }
            Self::Session(session) => {
                let Some(session) = session.upgrade() else { return false };
                // A client that is about to open its stream, or to open it anew, is waited for.
                if let Ok(feed) = timeout(FEED_TIMEOUT, session.outlet.feed()).await {
                    feed.message(message("").as_bytes()).await;
                }
                true
            }
        }
    }
}

/// Resources of a server with sessions that a client wants to hear of.
pub(super) struct Common {
    pub(super) share: Arc<Share>,
    /// As the server has them.
    pub(super) uris: Vec<String>,
    /// What the client may hear.
    pub(super) hearing: Arc<Hearing>,
}

/// What a modern client wants to hear of, of one server.
pub(super) enum Wished {
    /// Of a modern server.
    Own(Subscription),
    /// Of one with sessions.
    Shared(Common),
}

/// What it hears.
pub(super) enum Opened {
    Own(Subscription, Box<Updates>),
    Shared(Common, Listening),
}

impl Wished {
    /// Subscribes, if the server takes that soon.
    pub(super) async fn open(self) -> Result<Opened, String> {
        let open = async {
            Ok(match self {
                Self::Own(subscription) => {
                    let updates = subscription.open().await?;
                    Opened::Own(subscription, Box::new(updates))
                }
                Self::Shared(common) => {
                    let listening = Arc::clone(&common.share).listen(&common.uris).await?;
                    Opened::Shared(common, listening)
                }
            })
        };
        let late = || "it did not take the subscription soon enough".to_owned();
        timeout(ACKNOWLEDGE_TIMEOUT, open).await.unwrap_or_else(|_| Err(late()))
    }
}

impl Opened {
    /// The URIs by which the client knows what it hears of.
    pub(super) fn uris(&self) -> Vec<String> {
        match self {
            Self::Own(subscription, _) => subscription.shown(),
            Self::Shared(common, listening) => common.hearing.shown(common.share.server(), listening.uris()),
        }
    }

    /// Whether it hears of the task that the client knows by this id.
    pub(super) fn hears_of_task(&self, sealed: &str) -> bool {
        match self {
            Self::Own(subscription, updates) => {
                let tasks = &mut subscription.tasks.iter();
                tasks.any(|task| task.sealed == sealed && updates.tells_of(&task.own))
            }
            Self::Shared(..) => false,
        }
    }

    /// Passes on what is heard for as long as somebody listens.
    pub(super) async fn follow(self, listener: &Listener) {
        let (common, listening) = match self {
            Self::Own(subscription, updates) => return subscription.follow(*updates, listener).await,
            Self::Shared(common, listening) => (common, listening),
        };
        let mut listening = Some(listening);
        let hear = || common.hear(listening.take(), listener);
        common.hearing.while_seen(common.share.server(), hear).await;
    }
}

impl Common {
    async fn hear(&self, listening: Option<Listening>, listener: &Listener) {
        let mut listening = match listening {
            Some(listening) => listening,
            None => loop {
                match Arc::clone(&self.share).listen(&self.uris).await {
                    Ok(listening) => break listening,
                    Err(why) => tracing::debug!(server = %self.share.server(), why, "subscribing again"),
                }
                sleep(RETRY.1).await;
            },
        };
        loop {
            let changed = listening.next().await;
            if changed.is_empty() {
                return;
            }
            for own in changed {
                let is_promised = || self.uris.iter().any(|uri| **uri == *own);
                let shown = self.hearing.hears(self.share.server(), &own, is_promised);
                if let Some(shown) = shown
                    && !listener.tell(&shown).await
                {
                    return;
                }
            }
        }
    }
}

/// What is heard at a server.
enum Heard {
    /// From now on it tells, also of the tasks with these ids.
    Acknowledged(Vec<String>),
    /// The resource with this URI changed.
    Updated(String),
    /// A task is in another state, which this message says.
    Task(Bytes),
}

/// A server's stream.
pub(super) struct Updates {
    /// The server as it was then.
    upstream: Arc<Upstream>,
    body: UpstreamBody,
    parser: Parser,
    heard: VecDeque<Heard>,
    /// The tasks that it tells of.
    tasks: Vec<String>,
}

impl Subscription {
    /// The URIs by which the client knows what it is for.
    fn shown(&self) -> Vec<String> {
        let own = self.uris.iter().map(String::as_str);
        self.hearing.shown(&self.server, own)
    }

    /// Subscribes; what changes from now on is heard.
    pub(super) async fn open(&self) -> Result<Updates, String> {
        let limit = || format!("it did not take the subscription within {} s", OPEN_TIMEOUT.as_secs());
        timeout(OPEN_TIMEOUT, self.ask()).await.unwrap_or_else(|_| Err(limit()))
    }

    async fn ask(&self) -> Result<Updates, String> {
        let upstream = self.hearing.upstream(&self.server);
        let upstream = upstream.ok_or("it is no longer there")?;
        let version = Revision::MODERN.as_str();
        let (mut notifications, mut capabilities) = (serde_json::Map::new(), serde_json::json!({}));
        if !self.uris.is_empty() {
            notifications.insert("resourceSubscriptions".to_owned(), self.uris.as_slice().into());
        }
        if !self.tasks.is_empty() {
            let ids: Vec<&str> = self.tasks.iter().map(|task| &*task.own).collect();
            notifications.insert("taskIds".to_owned(), ids.into());
            capabilities = serde_json::json!({"extensions": {EXTENSION: {}}});
        }
        let body = serde_json::json!({
            "jsonrpc": "2.0", "id": "listen", "method": "subscriptions/listen",
            "params": {
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": version,
                    "io.modelcontextprotocol/clientInfo": {"name": "mcpgw", "version": env!("CARGO_PKG_VERSION")},
                    "io.modelcontextprotocol/clientCapabilities": capabilities,
                },
                "notifications": notifications,
            },
        });
        let mut headers = HeaderMap::new();
        modern::route(&mut headers, "subscriptions/listen", None);
        let endpoint = upstream.pick(self.payer).map_err(|error| error.explain())?;
        let request = link::post(&upstream, body.to_string().into(), &headers, self.behalf.clone());
        let response = upstream.ask(&endpoint, self.payer, request).await;
        let mut updates = Updates::of(upstream, response.map_err(|error| error.explain())?)?;
        match updates.next().await? {
            Heard::Acknowledged(tasks) => updates.tasks = tasks,
            // As good as a word.
            update @ (Heard::Updated(_) | Heard::Task(_)) => updates.heard.push_front(update),
        }
        Ok(updates)
    }

    /// Passes on what a server says of a task, where that is one that the client wants to hear of, and may; `false` if
    /// there is nobody any more.
    async fn pass(&self, message: &Bytes, listener: &Listener) -> bool {
        // A legacy client can ask for none.
        let Listener::Stream(feed, subscription) = listener else {
            return true;
        };
        match self.task(message, subscription) {
            Some(told) => feed.message(&told).await,
            None => true,
        }
    }

    /// What a server says of a task, as the client is to hear it in the subscription with this id.
    fn task(&self, message: &Bytes, subscription: &RawValue) -> Option<Bytes> {
        let peek = Peek::new(message).ok()?;
        let params = peek.params().ok()?;
        let (id, of) = (params.task_id?, params.subscription_id?);
        let own = id.text()?;
        let task = self.tasks.iter().find(|task| task.own == *own)?;
        if !self.hearing.may_watch(&self.server, &own) {
            return None;
        }
        let mut splice = Splice::new(message);
        splice.replace(id.span(), json_string(&task.sealed));
        splice.replace(of.span(), subscription.get().as_bytes().to_vec());
        Some(splice.finish())
    }

    /// Passes on what is heard for as long as somebody listens, and may; subscribes again where the server breaks off.
    pub(super) async fn follow(self, updates: Updates, listener: &Listener) {
        let mut updates = Some(updates);
        let hear = || self.hear(updates.take(), listener);
        self.hearing.while_seen(&self.server, hear).await;
    }

    async fn hear(&self, mut updates: Option<Updates>, listener: &Listener) {
        let server = &self.server;
        let mut pause = RETRY.0;
        loop {
            let mut heard = match updates.take() {
                Some(updates) => updates,
                None => {
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                    let Ok(updates) = self.open().await else { continue };
                    updates
                }
            };
            let why = loop {
                match heard.next().await {
                    Ok(Heard::Acknowledged(_)) => {}
                    Ok(Heard::Task(message)) => match self.pass(&message, listener).await {
                        true => pause = RETRY.0,
                        false => return,
                    },
                    Ok(Heard::Updated(uri)) => match self.hearing.hears(server, &uri, || self.uris.contains(&uri)) {
                        None => {}
                        Some(shown) if listener.tell(&shown).await => pause = RETRY.0,
                        Some(_) => return,
                    },
                    Err(why) => break why,
                }
            };
            tracing::debug!(%server, why, "subscribing again");
        }
    }
}

impl Updates {
    fn of(upstream: Arc<Upstream>, response: Response<UpstreamBody>) -> Result<Self, String> {
        if !response.status().is_success() {
            return Err(format!("HTTP {}", response.status()));
        }
        let body = response.into_body().without_call_deadline();
        Ok(Self {
            upstream,
            parser: Parser::new(MAX_EVENT_BYTES, body.payer()),
            body,
            heard: VecDeque::new(),
            tasks: Vec::new(),
        })
    }

    /// Whether the server has said that it tells of this task.
    pub(super) fn tells_of(&self, task: &str) -> bool {
        self.tasks.iter().any(|told| told == task)
    }

    async fn next(&mut self) -> Result<Heard, String> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            let frame = tokio::select! {
                frame = self.body.frame() => frame.ok_or("it ended its stream")?,
                () = self.upstream.until_left() => return Err("it is another than it was".to_owned()),
            };
            let Ok(chunk) = frame.map_err(|error| error.to_string())?.into_data() else {
                continue;
            };
            self.parser.feed(&chunk);
            for event in self.parser.by_ref() {
                let event = event.map_err(|_| "too large an event")?;
                self.heard.extend(event.data.as_ref().and_then(heard));
            }
        }
    }
}

fn heard(message: &Bytes) -> Option<Heard> {
    let peek = Peek::new(message).ok()?;
    if peek.kind != Kind::Notification {
        return None;
    }
    match Method::of(peek.method.as_deref()?) {
        Method::Acknowledged => Some(Heard::Acknowledged(acknowledged_tasks(message))),
        Method::TaskChanged => Some(Heard::Task(message.clone())),
        Method::ResourceUpdated => Some(Heard::Updated(peek.params().ok()?.uri?.text()?.into_owned())),
        _ => None,
    }
}

/// The tasks that a server said it would tell of.
fn acknowledged_tasks(message: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Message {
        params: Params,
    }
    #[derive(Deserialize)]
    struct Params {
        notifications: Accepted,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Accepted {
        #[serde(default)]
        task_ids: Vec<String>,
    }
    serde_json::from_slice(message)
        .map(|Message { params }| params.notifications.task_ids)
        .unwrap_or_default()
}
