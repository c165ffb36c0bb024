//! What clients hear unasked: that lists and resources changed, what servers log, and what they ask.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    super::{
        call::{Asked, Decided, decide},
        carries::Carries,
        exchange::Body,
        listened::Listened,
        refused::Refused,
        relay::Relay,
        rewrite::{Rewrite, Rewriter, Rewritten},
        subscribed,
    },
    Call, answer,
    changes::Changes,
    forward,
    hearing::{Hearing, Promise, subscription, watching},
    limits::MAX_SUBSCRIPTIONS,
    link::Link,
    listens::Listens,
    owner::Owner,
    resumption::{self, Places},
    session::{Key, Session},
    settle,
    stream::{Change, EventBody},
    tasks::{self, TaskIds},
    tell::Lists,
    updates::{Common, Listener, Opened, SUBSCRIPTION_ID, Subscription, TaskId, Wished},
    uris::Uris,
    view::Seen,
};
use crate::{
    discovery::ChangeKind,
    mcp::{
        Envelope,
        error::code,
        governed::{Governed, LONG_URI, MAX_SUBSCRIBED_URI},
        message::Peek,
        method::Method,
        splice::Splice,
        sse::{self, Event},
    },
    resources::ObjectName,
    telemetry::Outcome,
};

const LAST_EVENT_ID: &str = "last-event-id";

/// The stream of a legacy client.
pub(super) async fn stream(call: &Call<'_>) -> Result<Response<Body>, Refused> {
    let session = call.session()?;
    if let Some(last) = call.head.headers.get(LAST_EVENT_ID) {
        return resume(call, &session, last).await;
    }
    let hearing = Hearing::of(call);
    let (feed, body, gone) = EventBody::new(call.payer);
    let change: Change = {
        let hearing = Arc::clone(&hearing);
        let (sealer, owner) = (call.gateway.sealer.clone(), session.owner);
        let session = Arc::downgrade(&session);
        let tasks = TaskIds::new(call.gateway, &ObjectName::default(), owner);
        Arc::new(move |link: &Arc<Link>, event: Event| {
            let mut changes = Changes::of_stream(
                sealer.clone(),
                tasks.at(link.server()),
                Weak::clone(&session),
                owner,
                Arc::clone(link),
                Arc::clone(&hearing),
            );
            changed(&mut changes, event)
        })
    };
    session
        .outlet
        .open(feed.clone(), change, Arc::clone(&hearing), gone.clone());
    for link in session.open_links() {
        session.outlet.attach(&session, link.server());
    }
    Listens::renew(&session, &hearing);
    let lease = call.lease(&hearing, Vec::new());
    let lists = Lists::now(call.shared, &hearing);
    tokio::spawn(async move {
        gone.run_until_cancelled(lists.tell(feed, None)).await;
    });
    Ok(answer::events(Body::events(body.leased(lease))))
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
    let (link, last, of) = resumption::place(call, session, last).ok_or_else(unknown)?;
    let left = of.left().ok_or_else(unknown)?;
    let server = link.server().clone();
    let hearing = Hearing::of(call);
    if !hearing.sees(&server) {
        return Err(unknown());
    }
    let response = link
        .listen(Some(&last))
        .await
        .map_err(|error| forward::unreachable(&server, &error))?;
    if !response.status().is_success() {
        return Err(unknown());
    }
    let (head, body) = response.into_parts();
    let tasks = TaskIds::new(call.gateway, &server, session.owner);
    let lease = call.lease(&hearing, Vec::new());
    let mut changes = Changes::of_stream(
        call.gateway.sealer.clone(),
        tasks,
        Arc::downgrade(session),
        session.owner,
        link,
        hearing,
    );
    let request = of.request();
    changes.carries = Carries::one(request.clone());
    changes.places = Places::of(&call.gateway.sealer, session, of);
    changes.uris = Uris::of(&call.view, &server);
    let rewriter = Rewriter::new(&head.headers, call.payer, changes);
    let mut relay = Relay::new(body.within(left), None)
        .rewriting(Some(rewriter))
        .leased(Some(lease));
    if let (Key::Own(nonce), Some(request)) = (session.key, request) {
        // The record of the call is still open.
        relay = relay.looking_for(&call.shared.pending, nonce, Carries::One(request));
    }
    Ok(answer::events(Body::relay(relay)))
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
    let owner = call.view.owner_of(uri);
    let Owner { seen, own } = owner.ok_or_else(|| call.unknown(subscription(uri), id, envelope))?;
    let mut record = None;
    if on && uri.len() > MAX_SUBSCRIBED_URI {
        return Err(refused(long_uri()));
    }
    if on {
        match forward::decided(call, Some(id), seen, subscription(&own), uri, envelope, false).await {
            Decided::Allowed(open) => record = Some(open),
            Decided::Denied(answer) => return Ok(answer),
        }
    }
    let answered = subscribe_at(call, id, seen, &own, on).await;
    match (answered, record) {
        (Ok(answer), Some(mut record)) => {
            settle(&mut record, id, StatusCode::OK, &answer);
            Ok(answer::ok(answer))
        }
        (Ok(answer), None) => Ok(answer::ok(answer)),
        (Err(error), record) => refused(error).ending(Some(id), record),
    }
}

/// No resource with such a URI can be subscribed to.
fn long_uri() -> Refused {
    Refused::protocol(StatusCode::OK, code::INVALID_PARAMS, "listen", LONG_URI)
}

/// Subscribes to a resource of a server, or no longer; the answer to the client.
async fn subscribe_at(call: &Call<'_>, id: &RawValue, seen: &Seen, uri: &str, on: bool) -> Result<Bytes, Refused> {
    let server = seen.server.name();
    let session = call.session()?;
    if seen.catalogue.speaks.legacy.is_none() {
        if !on {
            session.listens.remove(&session, server, uri, &Hearing::of(call)).await;
            return Ok(answer::empty(id));
        }
        let added = session.listens.add(&session, server, uri, &Hearing::of(call)).await;
        return added.map(|()| answer::empty(id)).map_err(|why| {
            let message = format!("MCP server {server} cannot be subscribed to: {why}");
            Refused::new(StatusCode::BAD_GATEWAY, "upstream_answer", message)
        });
    }
    let upstream = call
        .shared
        .upstreams
        .of(&seen.server.wanted)
        .ok_or_else(|| Refused::gone(server))?;
    let method = if on {
        "resources/subscribe"
    } else {
        "resources/unsubscribe"
    };
    let params = serde_json::json!({ "uri": uri });
    let answered = session.ask_server(&upstream, method, params).await;
    let message = answered.map_err(|error| forward::unanswered(server, &error))?;
    let Ok(peek) = Peek::new(&message) else {
        return Err(Refused::gone(server));
    };
    match (peek.is_error(), on) {
        (true, _) => {}
        (false, true) => {
            if session.subscribed(server, uri).is_err() {
                // What is not kept could not be subscribed to again where the server loses the session.
                let undo = serde_json::json!({ "uri": uri });
                let _ = session.ask_server(&upstream, "resources/unsubscribe", undo).await;
                return Err(Refused::no_subscriptions());
            }
        }
        (false, false) => session.unsubscribed(server, uri),
    }
    let mut splice = Splice::new(&message);
    if let Some(part) = &peek.id {
        splice.replace(part.span(), id.get().as_bytes().to_vec());
    }
    Ok(splice.finish())
}

/// What a modern client wants to hear.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    tools_list_changed: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    prompts_list_changed: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    resources_list_changed: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resource_subscriptions: Vec<String>,
    /// Of the extension that has tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    task_ids: Vec<String>,
}

impl Filter {
    /// Whether it wants to hear that a list changed.
    pub(super) fn wants(&self, kind: ChangeKind) -> bool {
        match kind {
            ChangeKind::Tools => self.tools_list_changed,
            ChangeKind::Prompts => self.prompts_list_changed,
            ChangeKind::Resources => self.resources_list_changed,
        }
    }
}

/// A subscription: the id of its request, and what it wants.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) id: Box<RawValue>,
    pub(super) filter: Filter,
}

/// `subscriptions/listen` of a modern client.
pub(super) async fn listen(call: &Call<'_>, id: &RawValue, envelope: &Envelope<'_>) -> Result<Response<Body>, Refused> {
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
    let mut filter = params.notifications;
    let session = &call.session().map_err(|refused| refused.to(Some(id)))?;
    if filter.resource_subscriptions.len() + filter.task_ids.len() > MAX_SUBSCRIPTIONS {
        return Err(bad(format!(
            "At most {MAX_SUBSCRIPTIONS} resources and tasks can be subscribed to at once"
        )));
    }
    let is_long = |uri: &String| uri.len() > MAX_SUBSCRIBED_URI;
    if filter.resource_subscriptions.iter().any(is_long) {
        return Err(long_uri().to(Some(id)));
    }
    let mut share = call.gateway.subscribed().none(call.payer);
    let wanted = filter.resource_subscriptions.iter().chain(&filter.task_ids);
    if !share.resize(subscribed::cost(wanted)) {
        return Err(Refused::no_subscriptions().to(Some(id)));
    }
    if !filter.task_ids.is_empty() && !tasks::are_known_to(call.era, envelope) {
        return Err(Refused::rejection(tasks::not_declared()).to(Some(id)));
    }
    let mut by_server: HashMap<ObjectName, Wishes<'_>> = HashMap::new();
    let mut promised = Vec::new();
    let mut listened = Listened::new(|| {
        let start = call.start("subscriptions/listen", id, envelope);
        call.shared.telemetry.call(start)
    });
    let mut seen_uris = HashSet::new();
    for uri in std::mem::take(&mut filter.resource_subscriptions) {
        if !seen_uris.insert(uri.clone()) {
            continue;
        }
        // What is left out is not acknowledged, like what nobody has.
        let Some(Owner { seen, own }) = call.view.owner_of(&uri) else {
            let has_line = listened.has_line();
            if has_line {
                drop(call.unknown(subscription(&uri), id, envelope));
            }
            listened.note(&uri, false, has_line);
            continue;
        };
        if hears(call, id, seen, (subscription(&own), &uri), envelope, &mut listened).await {
            Wishes::at(&mut by_server, seen).uris.push(own.clone());
            filter.resource_subscriptions.push(uri.clone());
            let server = seen.server.name().clone();
            promised.push(Promise { uri, server, own });
        }
    }
    for sealed in std::mem::take(&mut filter.task_ids) {
        // Servers of the legacy era tell of tasks in another way, and only those who have a session.
        let found = tasks::find(call, &sealed).filter(|(seen, _)| seen.catalogue.speaks.modern);
        let Some((seen, own)) = found else {
            listened.note(&sealed, false, false);
            continue;
        };
        if hears(call, id, seen, (watching(&own), &sealed), envelope, &mut listened).await {
            filter.task_ids.push(sealed.clone());
            Wishes::at(&mut by_server, seen).tasks.push(TaskId { own, sealed });
        }
    }
    if let Some(mut record) = listened.record() {
        record.status(StatusCode::OK.as_u16());
        record.outcome(Outcome::Ok, None);
    }
    let heard = filter.resource_subscriptions.iter().chain(&filter.task_ids);
    // It is no more than was wanted.
    let _ = share.resize(subscribed::cost(heard));
    let wanted = Wanted {
        id: id.to_owned(),
        filter,
    };
    let (feed, body, gone) = EventBody::new(call.payer);
    let hearing = Hearing::of(call);
    let lease = call.lease(&hearing, promised);
    let body = body.leased(lease.holding(share).saying(&answer::end_of_listening(id)));
    let lists = Lists::now(call.shared, &hearing);
    let wished: Vec<(ObjectName, Wished)> = by_server
        .into_iter()
        .map(|(server, Wishes { seen, uris, tasks })| {
            let upstreams = &call.shared.upstreams;
            let hearing = Arc::clone(&hearing);
            let wished = match seen.catalogue.speaks.modern {
                true => Wished::Own(Subscription {
                    server: server.clone(),
                    uris,
                    tasks,
                    payer: call.payer,
                    behalf: call.behalf(),
                    hearing,
                }),
                false => Wished::Shared(Common {
                    share: session.shares.of(session, upstreams, &server),
                    uris,
                    hearing,
                }),
            };
            (server, wished)
        })
        .collect();
    tokio::spawn(async move {
        let heard = async {
            let mut wanted = wanted;
            let open = |(server, wished): (ObjectName, Wished)| async move {
                let opened = wished.open().await;
                opened
                    .inspect_err(|why| tracing::debug!(%server, why, "updates are not heard"))
                    .ok()
            };
            let opened: Vec<Opened> = join_all(wished.into_iter().map(open))
                .await
                .into_iter()
                .flatten()
                .collect();
            let uris = &mut wanted.filter.resource_subscriptions;
            let heard: HashSet<String> = opened.iter().flat_map(Opened::uris).collect();
            uris.retain(|uri| heard.contains(uri));
            let tasks = &mut wanted.filter.task_ids;
            tasks.retain(|sealed| opened.iter().any(|opened| opened.hears_of_task(sealed)));
            let filter = serde_json::to_string(&wanted.filter).unwrap_or_default();
            let acknowledged = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"{SUBSCRIPTION_ID}":{}}},"notifications":{filter}}}}}"#,
                wanted.id
            );
            if !feed.message(acknowledged.as_bytes()).await {
                return;
            }
            let listener = Listener::Stream(feed.clone(), wanted.id.clone());
            let updates = opened.into_iter().map(|opened| opened.follow(&listener));
            tokio::join!(join_all(updates), lists.tell(feed.clone(), Some(wanted.clone())));
        };
        gone.run_until_cancelled(heard).await;
    });
    Ok(answer::events(Body::events(body)))
}

/// What a client wants to hear from one server.
struct Wishes<'v> {
    seen: &'v Seen,
    uris: Vec<String>,
    tasks: Vec<TaskId>,
}

impl<'v> Wishes<'v> {
    fn at<'w>(by_server: &'w mut HashMap<ObjectName, Self>, seen: &'v Seen) -> &'w mut Self {
        let place = by_server.entry(seen.server.name().clone());
        place.or_insert_with(|| Self {
            seen,
            uris: Vec::new(),
            tasks: Vec::new(),
        })
    }
}

/// Whether the client may hear of a resource, or of a task, which it calls so.
async fn hears(
    call: &Call<'_>,
    id: &RawValue,
    seen: &Seen,
    (asked, called_as): (Governed<'_>, &str),
    envelope: &Envelope<'_>,
    listened: &mut Listened<'_>,
) -> bool {
    let on_record = listened.has_line();
    let asked = Asked {
        on_record,
        ..forward::asked(call, Some(id), seen, asked, called_as, envelope)
    };
    let is_heard = match decide(call.shared, &call.plan, &asked).await {
        Decided::Allowed(mut record) => {
            record.status(StatusCode::OK.as_u16());
            record.outcome(Outcome::Ok, None);
            true
        }
        Decided::Denied(_) => false,
    };
    listened.note(called_as, is_heard, on_record);
    is_heard
}
