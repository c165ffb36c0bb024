//! The gateway: many servers behind one `/mcp`, and a choice of them behind each `/mcp/<catalog>`.
//!
//! ```text
//! view       what one kind of caller sees: servers, names, lists ready to be sent
//! list       one of its lists
//! kind       the kinds of lists
//! owner      whose a URI is
//! template   which URIs a resource template stands for
//! uris       URIs that two servers have
//! reach      whether a caller sees a server, by the plan alone
//! views      views, made once for each kind of caller
//! personal   servers that offer something else to each principal
//! batch      several requests in one body
//! arrived    what arrives with a request
//! request    one request: which era, which session, on to its method
//! told       what clients tell their servers, and wait for no answer
//! introduce  initialize and server/discover
//! lists      tools/list and its kin
//! tasks      ids of tasks, sealed; tasks/list
//! forward    a request on its way to its server, in the server's era
//! legacy     … to a server that knows sessions
//! decline    what servers ask where no client can be asked
//! changes    what changes in such a server's messages on their way to the client
//! modern     … to a server that knows none
//! errors     error codes, from one era to the other
//! interact   a legacy client asks a modern server
//! asked      … by a request that may have to be sent again
//! converse   … which may want to know something in between
//! hearing    what clients may hear, as things are now
//! resumption streams that end before the answer, for their client to resume them
//! standing   a stream, decided again as the request that opened it
//! session    what is open at servers on behalf of one client
//! sessions   all of them: which one a request names, or shares
//! calls      calls that wait for their answers, and how each is taken back
//! place      where the session at one server is, or will be
//! link       one session at one server
//! hear       what a server says unasked in a session
//! aside      … and what it says while it answers the gateway
//! stream     event streams that are written here
//! listen     what clients hear unasked
//! tell       which of a client's lists changed
//! listens    … of modern servers, for legacy clients
//! shares     … of servers with sessions, for modern clients
//! updates    updates of resources, heard at a server and passed on
//! collect    waits for the one answer to a request
//! answer     writes the gateway's own answers
//! limits     every bound of the gateway, by name
//! ```

mod answer;
mod arrived;
mod aside;
mod asked;
mod batch;
mod calls;
mod changes;
mod collect;
mod converse;
mod decline;
mod errors;
mod forward;
mod hear;
mod hearing;
mod interact;
mod introduce;
mod kind;
mod legacy;
pub(super) mod limits;
mod link;
mod list;
mod listen;
mod listens;
mod lists;
mod modern;
mod owner;
mod personal;
mod place;
mod reach;
mod request;
mod resumption;
mod session;
mod sessions;
mod shares;
mod standing;
mod stream;
mod tasks;
mod tell;
mod template;
mod told;
mod updates;
mod uris;
mod view;
mod views;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request::Parts};
use hyper::body::Incoming;
use serde_json::value::RawValue;

pub(super) use answer::end_of_listening;
pub(super) use forward::unreachable;
pub(super) use stream::EventBody;

use super::{
    Shared, authenticate,
    call::{barred, undecided, unknown},
    challenge,
    exchange::{self, Body},
    refused::{Refused, json},
    room::Turn,
    route,
};
use crate::{
    discovery::Principal,
    identity::Caller,
    mcp::{
        AnswerObserver, Envelope,
        governed::{Governed, Kind},
        headers,
        seal::{GatewaySession, Memo, Owner, Sealer},
        version::Era,
    },
    policy::Plan,
    resources,
    shares::Payer,
    telemetry::{CallStart, Carried, Client, Keeping, Path, Record},
    upstream::Behalf,
};
use arrived::Arrived;
use session::Session;
use sessions::{Ended, Sessions};
use tasks::TaskOwners;
use view::View;
use views::Views;

/// What the gateway keeps between requests.
pub(super) struct Gateway {
    pub(super) sealer: Sealer,
    opened: Memo<GatewaySession>,
    sessions: Sessions,
    ended: Ended,
    tasks: Arc<TaskOwners>,
    views: Views,
}

impl Gateway {
    pub(super) fn new(sealer: Sealer) -> Self {
        Self {
            sealer,
            opened: Memo::default(),
            sessions: Sessions::default(),
            ended: Ended::default(),
            tasks: Arc::default(),
            views: Views::default(),
        }
    }

    /// The room for what is subscribed to, on whichever path.
    pub(super) fn subscribed(&self) -> &crate::shares::Shares {
        &self.sessions.rooms.subscribed
    }

    /// Forgets what was not used for long.
    pub(super) fn sweep(&self) {
        self.sessions.sweep();
    }
}

/// One request, with all that is known of it.
struct Call<'a> {
    shared: &'a Arc<Shared>,
    gateway: &'a Gateway,
    caller: &'a Arc<Caller>,
    owner: Owner,
    payer: Payer,
    plan: Arc<Plan>,
    view: Arc<View>,
    catalog: Option<&'a str>,
    head: &'a Parts,
    body: &'a Bytes,
    era: Era,
    received: Instant,
    /// When its body was complete.
    read: Instant,
    /// The client's own session; without one it shares that of its owner.
    session: Option<Arc<Session>>,
}

impl Call<'_> {
    /// The session that servers are asked in.
    fn session(&self) -> Result<Arc<Session>, Refused> {
        let session = match &self.session {
            Some(session) => Arc::clone(session),
            None => self.gateway.shared_session((self.owner, self.payer))?,
        };
        if let Some(behalf) = self.behalf() {
            session.voice.lend(behalf);
        }
        Ok(session)
    }

    /// The refusal of what nobody is known to have, which is recorded: where it could be a server's that wants to know
    /// more of its callers, that is what they are told.
    fn unknown(&self, asked: Governed<'_>, id: &RawValue, envelope: &Envelope<'_>) -> Refused {
        let start = self.start(asked.method, id, envelope);
        if let Some((server, lacks)) = self.view.lacks(asked.kind, asked.name) {
            let path = self.catalog.map_or("/mcp".into(), |catalog| format!("/mcp/{catalog}"));
            let refused = authenticate::lacking(&self.plan, &path, lacks);
            return barred(&self.shared.telemetry, asked, server, refused, start);
        }
        // It may be there, so that the client is not to take it for gone.
        let could_have = self.view.could_have().filter(|_| asked.kind == Kind::Resource);
        if let Some(server) = could_have {
            return undecided(&self.shared.telemetry, asked, server, start);
        }
        unknown(&self.shared.telemetry, asked, self.era, self.view.denial_status, start)
    }

    /// What the record of a request begins with, where no one server is concerned.
    fn start<'e>(&'e self, method: &'e str, id: &'e RawValue, envelope: &'e Envelope<'_>) -> CallStart<'e> {
        let carried = Carried {
            headers: &self.head.headers,
            version: self.head.version,
            meta: &envelope.params.meta,
        };
        let caller = Arc::clone(self.caller);
        CallStart {
            request_id: Some(id),
            catalog: self.catalog,
            read: self.read,
            request_bytes: self.body.len() as u64,
            client: Client::of(envelope),
            ..CallStart::new(
                caller,
                Path::Gateway,
                method,
                self.received,
                carried,
                Keeping::by(&self.plan.settings.audit),
            )
        }
    }

    /// On whose behalf servers are asked, where there is one that wants to know.
    fn behalf(&self) -> Option<Behalf> {
        behalf(&self.plan, self.caller, self.head)
    }

    /// Whose request it is.
    fn principal(&self) -> Principal {
        Principal {
            owner: self.owner,
            behalf: self.behalf(),
        }
    }
}

/// On whose behalf servers are asked for a caller whose request has this head, where there is one that wants to know.
fn behalf(plan: &Plan, caller: &Caller, head: &Parts) -> Option<Behalf> {
    let wanted = plan.exchanges_tokens && caller.token.is_some();
    wanted.then(|| authenticate::behalf(&head.headers)).flatten()
}

/// What a path at the gateway is.
enum Place<'a> {
    /// All servers, or those of a catalog.
    Mcp(Option<&'a str>),
    /// Whether the gateway is there at all.
    Health,
    /// What kind of token the resource at this path wants.
    Metadata(&'a str),
}

fn place<'a>(settings: &resources::Settings, path: &'a str) -> Option<Place<'a>> {
    if let Some(resource) = challenge::resource_of(settings, path) {
        return Some(Place::Metadata(resource));
    }
    match path.trim_end_matches('/') {
        "/mcp" => Some(Place::Mcp(None)),
        "/health" | "/healthz" => Some(Place::Health),
        other => {
            let name = other.strip_prefix("/mcp/")?;
            (!name.contains('/')).then_some(Place::Mcp(Some(name)))
        }
    }
}

/// Answers one request that came to the gateway. All that is decided about it is decided by one plan.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    caller: &mut Arc<Caller>,
    turn: &mut Turn,
    plan: &Arc<Plan>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    super::request::check(&head)?;
    let path = route::normal(head.uri.path()).ok_or_else(Refused::ambiguous_path)?;
    let unproven = Arc::clone(caller);
    let place = admit(shared, caller, plan, &head, &path).await?;
    if let Some(Place::Mcp(_)) = place {
        exchange::admitted(shared, caller, turn).await?;
    }
    match (place, &head.method) {
        (Some(Place::Mcp(catalog)), &Method::POST) => {
            headers::check_content(&head.headers).map_err(Refused::headers)?;
            let (body, share) = turn.read(body).await?;
            // While it came, another plan may have: then that decides everything anew.
            let newest = shared.plan.load_full();
            if !Arc::ptr_eq(&newest, plan) {
                *caller = unproven;
                admit(shared, caller, &newest, &head, &path).await?;
            }
            let arrived = Arrived {
                shared,
                caller,
                plan: &newest,
                catalog,
                head: &head,
                received,
            };
            request::post(arrived, body, share).await
        }
        (Some(Place::Mcp(catalog)), method @ (&Method::GET | &Method::DELETE)) => {
            let arrived = Arrived {
                shared,
                caller,
                plan,
                catalog,
                head: &head,
                received,
            };
            match *method {
                Method::GET => request::get(arrived).await,
                _ => request::delete(arrived),
            }
        }
        (Some(Place::Health), &Method::GET | &Method::HEAD) => {
            Ok(json(StatusCode::OK, Bytes::from_static(br#"{"status":"ok"}"#)))
        }
        (Some(Place::Metadata(resource)), &Method::GET | &Method::HEAD) => metadata(plan, resource),
        (Some(Place::Mcp(_) | Place::Metadata(_) | Place::Health), _) => Err(Refused::method("method")),
        (None, _) => Err(Refused::new(
            StatusCode::NOT_FOUND,
            "path",
            "There is nothing at this path",
        )),
    }
}

/// Finds what is at a path, and checks that this caller may ask for it.
async fn admit<'p>(
    shared: &Shared,
    caller: &mut Arc<Caller>,
    plan: &Plan,
    head: &Parts,
    path: &'p str,
) -> Result<Option<Place<'p>>, Refused> {
    let Some(listener) = plan.gateway_at(caller.destination) else {
        return Err(Refused::no_catalog());
    };
    if !request::origin_is_allowed(&head.headers, listener) {
        let message = "Requests from this origin are not allowed";
        return Err(Refused::new(StatusCode::FORBIDDEN, "origin", message));
    }
    let place = place(&plan.settings, path);
    // Whether the gateway is there, and which token it wants, everybody may know.
    if matches!(place, Some(Place::Mcp(_)) | None) {
        let (mode, path) = (listener.authentication, path.trim_end_matches('/'));
        authenticate::at_gateway(shared, plan, mode, caller, &head.headers, path).await?;
    }
    Ok(place)
}

/// What clients are told of the tokens that are good at a path: only where one is wanted, and of no other path.
fn metadata(plan: &Plan, resource: &str) -> Result<Response<Body>, Refused> {
    let known = match resource.strip_prefix("/mcp") {
        None => resource.is_empty(),
        Some("") => true,
        Some(catalog) => catalog
            .strip_prefix('/')
            .is_some_and(|name| plan.catalog(name).is_some()),
    };
    let metadata = challenge::metadata(plan, resource).filter(|_| known);
    metadata
        .map(|metadata| json(StatusCode::OK, metadata))
        .ok_or_else(Refused::no_catalog)
}

/// Closes the record of a call whose answer is held whole.
fn settle(record: &mut Record, id: &RawValue, status: StatusCode, body: &Bytes) {
    // It is whole: nothing is gathered.
    let mut observer = AnswerObserver::of_json(Some(id), Payer::Agent);
    observer.feed(body);
    record.status(status.as_u16());
    record.add_response_bytes(body.len() as u64);
    super::relay::settle(record, status, observer.finish());
}
