//! What clients hear unasked: that lists and resources changed, what servers log, and what they ask.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::broadcast::error::RecvError;

use super::{
    super::{
        exchange::Body,
        refused::Refused,
        relay::Relay,
        rewrite::{Rewrite, Rewriter, Rewritten},
    },
    Call, answer, forward,
    legacy::Changes,
    limits::{MAX_EVENT_BYTES, MAX_SUBSCRIPTIONS},
    link::{self, Link},
    modern,
    session::Session,
    stream::{Change, EventBody, Feed},
    view::{Kind as List, Seen},
};
use crate::{
    discovery::{Change as Changed, ChangeKind},
    mcp::{
        Envelope, Kind,
        error::code,
        message::Peek,
        method::Method,
        splice::{Splice, json_string},
        sse::{self, Event, Line, Parser},
        version::{Era, Revision},
    },
    proxy::Shared,
    resources::ObjectName,
    upstream::{Behalf, Upstream},
};

const LAST_EVENT_ID: &str = "last-event-id";
const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// The id of an event at the gateway: whose it is, and the server's own id.
pub(super) fn event_id(server: &ObjectName, id: &Line) -> Option<Line> {
    Line::new(format!("{server} {}", id.as_str()?))
}

/// What [`event_id`] put together.
fn origin_of(id: &HeaderValue) -> Option<(ObjectName, HeaderValue)> {
    let (server, id) = id.to_str().ok()?.split_once(' ')?;
    Some((ObjectName::parse(server)?, HeaderValue::from_str(id).ok()?))
}

/// The stream of a legacy client.
pub(super) async fn stream(call: &Call<'_>) -> Result<Response<Body>, Refused> {
    let session = call.session();
    if let Some(last) = call.head.headers.get(LAST_EVENT_ID) {
        return resume(call, &session, last).await;
    }
    let (feed, body, gone) = EventBody::new();
    let change: Change = {
        let (sealer, owner) = (call.gateway.sealer.clone(), session.owner);
        Arc::new(move |link: &Arc<Link>, event: Event| {
            let mut changes = Changes::of_stream(sealer.clone(), owner, Arc::clone(link));
            changed(&mut changes, event)
        })
    };
    session.outlet.open(feed.clone(), change, gone.clone());
    for link in session.open_links() {
        session.outlet.attach(&link);
    }
    let servers = servers(call);
    let changes = call.shared.discovery.changes();
    tokio::spawn(async move {
        gone.run_until_cancelled(tell(changes, servers, feed, None)).await;
    });
    Ok(answer::events(Body::events(body)))
}

/// One event, changed for the client.
fn changed(changes: &mut Changes, event: Event) -> Option<Bytes> {
    let data = event.data?;
    // The ids of a server's stream mean nothing to the client: its stream has several sources.
    match changes.message(&data) {
        Rewritten::Drop => None,
        Rewritten::Keep => Some(sse::event(&data, None, None)),
        Rewritten::Replace(data) => Some(sse::event(&data, None, None)),
    }
}

/// Resumes the stream of a call, at the server that the last event came from.
async fn resume(call: &Call<'_>, session: &Arc<Session>, last: &HeaderValue) -> Result<Response<Body>, Refused> {
    let unknown = || {
        let message = "No stream can be resumed behind this event";
        Refused::new(StatusCode::NOT_FOUND, "last_event_id", message)
    };
    let (server, last) = origin_of(last).ok_or_else(unknown)?;
    let link = session.open_link(&server).ok_or_else(unknown)?;
    let response = link
        .listen(Some(&last))
        .await
        .map_err(|error| forward::unreachable(&server, &error))?;
    if !response.status().is_success() {
        return Err(unknown());
    }
    let (head, body) = response.into_parts();
    let changes = Changes::of_stream(call.gateway.sealer.clone(), session.owner, link);
    let rewriter = Rewriter::new(&head.headers, changes);
    let relay = Relay::new(body.without_call_deadline(), None).rewriting(Some(rewriter));
    Ok(answer::events(Body::relay(relay)))
}

fn servers(call: &Call<'_>) -> Vec<ObjectName> {
    call.view
        .servers
        .iter()
        .map(|seen| seen.server.name().clone())
        .collect()
}

/// Tells a client which lists changed. `subscription` is the id of the request that asked for it, in the modern era.
async fn tell(
    mut changes: tokio::sync::broadcast::Receiver<Changed>,
    servers: Vec<ObjectName>,
    feed: Feed,
    subscription: Option<Wanted>,
) {
    loop {
        let kinds = match changes.recv().await {
            Ok(change) if !servers.contains(&change.server) => continue,
            Ok(change) => vec![change.kind],
            // Some changes went by unheard: any list may be another.
            Err(RecvError::Lagged(_)) => vec![ChangeKind::Tools, ChangeKind::Prompts, ChangeKind::Resources],
            Err(RecvError::Closed) => return,
        };
        for kind in kinds {
            let (list, method) = match kind {
                ChangeKind::Tools => (List::Tools, "notifications/tools/list_changed"),
                ChangeKind::Prompts => (List::Prompts, "notifications/prompts/list_changed"),
                ChangeKind::Resources => (List::Resources, "notifications/resources/list_changed"),
            };
            let message = match &subscription {
                None => format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#),
                Some(wanted) if wanted.filter.wants(list) => {
                    let id = &wanted.id;
                    format!(
                        r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"_meta":{{"{SUBSCRIPTION_ID}":{id}}}}}}}"#
                    )
                }
                Some(_) => continue,
            };
            if !feed.message(message.as_bytes()).await {
                return;
            }
        }
    }
}

/// `resources/subscribe` and `resources/unsubscribe` of a legacy client.
pub(super) async fn subscribe(
    call: &Call<'_>,
    id: &RawValue,
    envelope: &Envelope<'_>,
) -> Result<Response<Body>, Refused> {
    let refused = |refused: Refused| refused.to(Some(id));
    let uri = envelope.subject().unwrap_or_default();
    let on = envelope.method.as_deref().map(Method::of) == Some(Method::Subscribe);
    let seen = call.view.owner_of(uri).ok_or_else(|| {
        let message = format!("Resource not found: {uri}");
        refused(Refused::protocol(
            StatusCode::OK,
            code::RESOURCE_NOT_FOUND,
            "unknown_name",
            message,
        ))
    })?;
    let server = seen.server.name();
    let upstream = call
        .shared
        .upstreams
        .get(server)
        .ok_or_else(|| refused(Refused::gone(server)))?;
    let session = call.session();
    if seen.catalogue.speaks.legacy.is_none() {
        session.listens.change(call.shared, &session, upstream, uri, on);
        return Ok(answer::ok(answer::empty(id)));
    }
    let link = session
        .link(&upstream)
        .await
        .map_err(|error| refused(forward::unanswered(server, &error)))?;
    let method = if on {
        "resources/subscribe"
    } else {
        "resources/unsubscribe"
    };
    let answered = link.ask(method, serde_json::json!({ "uri": uri })).await;
    let message = answered.map_err(|error| refused(forward::unanswered(server, &error)))?;
    let Ok(peek) = Peek::new(&message) else {
        return Err(refused(Refused::gone(server)));
    };
    if !peek.is_error() {
        link.subscribed(uri, on);
    }
    let mut splice = Splice::new(&message);
    if let Some(part) = &peek.id {
        splice.replace(part.span(), id.get().as_bytes().to_vec());
    }
    Ok(answer::ok(splice.finish()))
}

/// What a modern client wants to hear.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    tools_list_changed: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    prompts_list_changed: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    resources_list_changed: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resource_subscriptions: Vec<String>,
}

impl Filter {
    fn wants(&self, list: List) -> bool {
        match list {
            List::Tools => self.tools_list_changed,
            List::Prompts => self.prompts_list_changed,
            List::Resources | List::Templates => self.resources_list_changed,
        }
    }
}

/// A subscription: the id of its request, and what it wants.
#[derive(Clone)]
struct Wanted {
    id: Box<RawValue>,
    filter: Filter,
}

/// `subscriptions/listen` of a modern client.
pub(super) fn listen(call: &Call<'_>, id: &RawValue, envelope: &Envelope<'_>) -> Result<Response<Body>, Refused> {
    #[derive(Deserialize)]
    struct Request {
        params: Params,
    }
    #[derive(Deserialize)]
    struct Params {
        #[serde(default)]
        notifications: Filter,
    }
    let bad = |message: String| Refused::protocol(StatusCode::OK, code::INVALID_PARAMS, "listen", message).to(Some(id));
    let Request { params } =
        serde_json::from_slice(call.body).map_err(|error| bad(format!("Invalid params: {error}")))?;
    debug_assert!(envelope.id.is_some());
    let mut filter = params.notifications;
    if filter.resource_subscriptions.len() > MAX_SUBSCRIPTIONS {
        return Err(bad(format!(
            "At most {MAX_SUBSCRIPTIONS} resources can be subscribed to at once"
        )));
    }
    let mut by_server: HashMap<ObjectName, (&Seen, Vec<String>)> = HashMap::new();
    filter
        .resource_subscriptions
        .retain(|uri| match call.view.owner_of(uri) {
            Some(seen) => {
                let (_, uris) = by_server
                    .entry(seen.server.name().clone())
                    .or_insert((seen, Vec::new()));
                uris.push(uri.clone());
                true
            }
            None => false,
        });
    let wanted = Wanted {
        id: id.to_owned(),
        filter,
    };
    let (feed, body, gone) = EventBody::new();
    let servers = servers(call);
    let changes = call.shared.discovery.changes();
    let sources: Vec<Source> = by_server
        .into_values()
        .filter_map(|(seen, uris)| {
            let upstream = call.shared.upstreams.get(seen.server.name())?;
            let session = (!seen.catalogue.speaks.modern).then(|| call.session());
            Some(Source {
                upstream,
                uris,
                session,
                behalf: call.behalf(),
            })
        })
        .collect();
    tokio::spawn(async move {
        let heard = async {
            let filter = serde_json::to_string(&wanted.filter).unwrap_or_default();
            let acknowledged = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"{SUBSCRIPTION_ID}":{}}},"notifications":{filter}}}}}"#,
                wanted.id
            );
            if !feed.message(acknowledged.as_bytes()).await {
                return;
            }
            let updates = sources.into_iter().map(|source| source.hear(&feed, &wanted.id));
            let updates = futures_util::future::join_all(updates);
            let lists = tell(changes, servers, feed.clone(), Some(wanted.clone()));
            tokio::join!(updates, lists);
        };
        gone.run_until_cancelled(heard).await;
    });
    debug_assert!(call.era == Era::Modern);
    Ok(answer::events(Body::events(body)))
}

/// A server whose resources a modern client wants to hear of.
struct Source {
    upstream: Arc<Upstream>,
    uris: Vec<String>,
    /// Where the server knows sessions.
    session: Option<Arc<Session>>,
    behalf: Option<Behalf>,
}

impl Source {
    async fn hear(self, feed: &Feed, id: &RawValue) {
        let heard = match &self.session {
            Some(session) => self.in_session(session, feed, id).await,
            None => hear_modern(&self.upstream, &self.uris, self.behalf.clone(), feed, Some(id)).await,
        };
        if let Err(why) = heard {
            tracing::debug!(server = %self.upstream.server().name, why, "updates of resources are not heard");
        }
    }

    async fn in_session(&self, session: &Arc<Session>, feed: &Feed, id: &RawValue) -> Result<(), String> {
        let link = session.link(&self.upstream).await.map_err(|error| error.to_string())?;
        for uri in &self.uris {
            let asked = link.ask("resources/subscribe", serde_json::json!({ "uri": uri })).await;
            asked.map_err(|error| error.to_string())?;
            link.subscribed(uri, true);
        }
        let response = link.listen(None).await.map_err(|error| error.to_string())?;
        updates(response, feed, Some(id)).await
    }
}

/// Listens to a modern server for updates of these resources.
pub(super) async fn hear_modern(
    upstream: &Arc<Upstream>,
    uris: &[String],
    behalf: Option<Behalf>,
    feed: &Feed,
    id: Option<&RawValue>,
) -> Result<(), String> {
    let version = Revision::MODERN.as_str();
    let body = serde_json::json!({
        "jsonrpc": "2.0", "id": "listen", "method": "subscriptions/listen",
        "params": {
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": version,
                "io.modelcontextprotocol/clientInfo": {"name": "mcpgw", "version": env!("CARGO_PKG_VERSION")},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
            "notifications": {"resourceSubscriptions": uris},
        },
    });
    let mut headers = HeaderMap::new();
    modern::route(&mut headers, "subscriptions/listen", None);
    let endpoint = upstream.pick().map_err(|error| error.explain())?;
    let request = link::post(upstream, body.to_string().into(), &headers, behalf);
    let response = upstream
        .send(&endpoint, request)
        .await
        .map_err(|error| error.explain())?;
    updates(response, feed, id).await
}

/// Passes on the updates of resources on a server's stream, under the id of the client's subscription.
async fn updates(
    response: Response<crate::upstream::UpstreamBody>,
    feed: &Feed,
    id: Option<&RawValue>,
) -> Result<(), String> {
    if !response.status().is_success() {
        return Err(format!("HTTP {}", response.status()));
    }
    let mut body = response.into_body().without_call_deadline();
    let mut parser = Parser::new(MAX_EVENT_BYTES);
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|error| error.to_string())?.into_data() else {
            continue;
        };
        parser.feed(&chunk);
        for event in parser.by_ref() {
            let event = event.map_err(|_| "too large an event".to_owned())?;
            let Some(data) = event.data else { continue };
            let updated = Peek::new(&data).ok().and_then(|message| {
                let is_update = message.kind == Kind::Notification
                    && message.method.as_deref() == Some("notifications/resources/updated");
                let uri = is_update.then(|| message.params().ok()?.uri?.text()).flatten()?;
                Some(uri.into_owned())
            });
            let Some(uri) = updated else { continue };
            let uri = String::from_utf8(json_string(&uri)).unwrap_or_default();
            let meta = id
                .map(|id| format!(r#""_meta":{{"{SUBSCRIPTION_ID}":{id}}},"#))
                .unwrap_or_default();
            let message = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{{meta}"uri":{uri}}}}}"#
            );
            if !feed.message(message.as_bytes()).await {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What a session listens to at modern servers, for a legacy client that subscribed there.
#[derive(Default)]
pub(super) struct Listens(std::sync::Mutex<HashMap<ObjectName, Listening>>);

#[derive(Default)]
struct Listening {
    uris: Vec<String>,
    task: Option<tokio_util::sync::DropGuard>,
}

impl Listens {
    /// Adds a resource or takes one away, and listens anew.
    fn change(&self, _: &Shared, session: &Arc<Session>, upstream: Arc<Upstream>, uri: &str, on: bool) {
        let mut listens = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let listening = listens.entry(upstream.server().name.clone()).or_default();
        listening.uris.retain(|known| known != uri);
        if on && listening.uris.len() < MAX_SUBSCRIPTIONS {
            listening.uris.push(uri.to_owned());
        }
        // The task of before ends.
        listening.task = None;
        if listening.uris.is_empty() {
            return;
        }
        let stop = tokio_util::sync::CancellationToken::new();
        listening.task = Some(stop.clone().drop_guard());
        let (uris, session) = (listening.uris.clone(), Arc::downgrade(session));
        tokio::spawn(async move {
            let hearing = async {
                let known = session.upgrade();
                let behalf = known.as_ref().and_then(|session| session.voice.behalf());
                let Some(feed) = known.and_then(|session| session.outlet.feed()) else {
                    return;
                };
                if let Err(why) = hear_modern(&upstream, &uris, behalf, &feed, None).await {
                    tracing::debug!(server = %upstream.server().name, why, "updates of resources are not heard");
                }
            };
            stop.run_until_cancelled(hearing).await;
        });
    }
}
