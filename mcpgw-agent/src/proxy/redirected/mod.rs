//! Calls that dialled a server's own address: they go to the address that they dialled, as they are.
//!
//! ```text
//! mod      one request: which server, which path, on to MCP or not
//! post     one message: session, headers, decision, on to the server
//! batch    several messages in one body, of the one revision that has them
//! lists    what a caller may not have, taken out of lists
//! session  the sealed session id, and sessions that a server has lost
//! http_sse the transport of 2024-11-05
//! standing a stream, decided again as the request that opened it
//! forward  the request for the server
//! ```

mod batch;
mod forward;
mod http_sse;
mod lists;
mod post;
mod session;
mod standing;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response, StatusCode, header,
    request::Parts,
    uri::{Authority, PathAndQuery},
};
use hyper::body::Incoming;

pub(super) use session::Known;

use super::{
    Shared, authenticate,
    body::Share,
    carries::Carries,
    exchange::{self, Body},
    observed::Answers,
    pending::StreamKey,
    refused::Refused,
    relay::Relay,
    request,
    room::Turn,
    route::{self, Route},
};
use crate::{
    identity::Caller,
    policy::{Plan, Server},
    resources::{Capture, Transport},
    shares::Payer,
    upstream::{Endpoint, Upstream},
};

/// A request on its way to the server that it dialled.
struct Dialled<'a> {
    shared: &'a Arc<Shared>,
    caller: &'a Arc<Caller>,
    payer: Payer,
    plan: &'a Arc<Plan>,
    server: &'a Arc<Server>,
    upstream: Arc<Upstream>,
    endpoint: Endpoint,
    head: &'a Parts,
    /// The path to ask the server for; what was written, unless it was an odd spelling of a known one.
    path: String,
    /// Path and query instead of the request's own.
    target: Option<PathAndQuery>,
    /// The answers to a caller that is only observed.
    seen: Option<&'a Answers>,
    /// The stream on which the answers of an HTTP+SSE session come.
    stream: Option<StreamKey>,
    received: Instant,
    /// When its body was complete.
    read: Instant,
}

/// Answers one request that was redirected. All that is decided about it is decided by one plan. Of a caller that is
/// only observed it is a copy, and so is the answer, in `seen`: then nothing is sent anywhere.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    caller: &mut Arc<Caller>,
    turn: &mut Turn,
    plan: &Arc<Plan>,
    request: Request<Incoming>,
    seen: Option<&Answers>,
) -> Result<Response<Body>, Refused> {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    let unproven = Arc::clone(caller);
    let mut found = judge(shared, caller, plan, &head).await?;
    exchange::admitted(shared, caller, turn).await?;
    let (body, share) = match head.method {
        Method::POST => turn.read(body).await?,
        _ => (Bytes::new(), Share::default()),
    };
    // While it came, another plan may have: then that decides everything anew.
    let newest = match head.method {
        Method::POST => shared.plan.load_full(),
        _ => Arc::clone(plan),
    };
    if !Arc::ptr_eq(&newest, plan) {
        *caller = unproven;
        found = judge(shared, caller, &newest, &head).await?;
    }
    let (caller, plan, route) = (&*caller, &newest, found.route);
    let mut dialled = found.dialled(shared, caller, plan, &head, received);
    dialled.seen = seen;
    if dialled.server.wanted.transport == Transport::Sse
        && (&head.method, route) == (&Method::POST, Route::Mcp)
        && !caller.observed
    {
        dialled = dialled.unsealed()?;
    }
    dialled.read = Instant::now();
    match (&head.method, route) {
        (_, Route::Open) => dialled.pass(body, share).await,
        (&Method::POST, _) => dialled.post(body, share).await,
        (&Method::GET, _) => dialled.get().await,
        _ => dialled.delete().await,
    }
}

/// The server of a request, and the way there.
struct Found<'a> {
    server: &'a Arc<Server>,
    route: Route,
    upstream: Arc<Upstream>,
    endpoint: Endpoint,
    path: String,
}

/// Finds the server and what its path is, and checks who calls.
async fn judge<'a>(
    shared: &Arc<Shared>,
    caller: &mut Arc<Caller>,
    plan: &'a Plan,
    head: &Parts,
) -> Result<Found<'a>, Refused> {
    request::check(head)?;
    let destination = caller.destination;
    let servers = plan.at(destination);
    let path = route::normal(head.uri.path()).ok_or_else(Refused::ambiguous_path)?;
    // The kernel refuses such dials; this connection is older than that.
    if servers
        .iter()
        .any(|server| server.wanted.capture == Capture::GatewayOnly)
    {
        return Err(Refused::gateway_only());
    }
    let find = || {
        meant(servers, &head.headers).find_map(|server| {
            let route = route::route(&server.wanted, &head.method, &path);
            (route != Route::Closed).then_some((server, route))
        })
    };
    let (server, route) = match (find(), servers) {
        (Some(found), _) => found,
        (None, []) => {
            let message = format!("{destination} is no longer a governed MCP server");
            return Err(Refused::new(StatusCode::BAD_GATEWAY, "not_governed", message));
        }
        (None, _) => return Err(Refused::path()),
    };
    // What is open to be read is so for every caller that the kernel knows.
    if route == Route::Mcp {
        authenticate::redirected(shared, plan, server, caller, &head.headers).await?;
    }
    let upstream = shared
        .upstreams
        .of(&server.wanted)
        .ok_or_else(|| Refused::gone(server.name()))?;
    let endpoint = upstream
        .dialled(destination, Payer::of(caller))
        .map_err(|error| super::gateway::unreachable(server.name(), &error))?;
    let path = match route::is_plain(head.uri.path()) {
        true => head.uri.path().to_owned(),
        false => path.into_owned(),
    };
    Ok(Found {
        server,
        route,
        upstream,
        endpoint,
        path,
    })
}

/// Those of the servers at one address that a request may be for. Behind an address that DNS gave for several hosts
/// the `Host` header tells which; to servers that were given the address itself it tells nothing.
fn meant<'a>(servers: &'a [Arc<Server>], headers: &HeaderMap) -> impl Iterator<Item = &'a Arc<Server>> {
    let authority = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok()?.parse::<Authority>().ok());
    let alone = servers
        .iter()
        .all(|server| server.wanted.host() == servers[0].wanted.host());
    servers.iter().filter(move |server| {
        let asked = || {
            authority
                .as_ref()
                .is_some_and(|asked| server.wanted.is_host(asked.host()))
        };
        server.wanted.host().is_none() || alone || asked()
    })
}

impl<'a> Found<'a> {
    fn dialled(
        self,
        shared: &'a Arc<Shared>,
        caller: &'a Arc<Caller>,
        plan: &'a Arc<Plan>,
        head: &'a Parts,
        received: Instant,
    ) -> Dialled<'a> {
        Dialled {
            shared,
            caller,
            payer: Payer::of(caller),
            plan,
            server: self.server,
            upstream: self.upstream,
            endpoint: self.endpoint,
            head,
            path: self.path,
            target: None,
            seen: None,
            stream: None,
            received,
            read: received,
        }
    }
}

impl Dialled<'_> {
    /// Passes a request that is no MCP.
    async fn pass(&self, body: Bytes, share: Share) -> Result<Response<Body>, Refused> {
        let response = self.send(self.request(body, None), None).await?;
        drop(share);
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, Body::relay(Relay::new(body, None))))
    }

    /// The stream of what the client did not ask for.
    async fn get(&self) -> Result<Response<Body>, Refused> {
        if self.server.wanted.transport == Transport::Sse {
            return self.http_sse_stream().await;
        }
        let session = self.session()?;
        let request = self.request(Bytes::new(), session.as_ref());
        let response = self.send(request, session.as_ref()).await?;
        let (mut head, body) = response.into_parts();
        let body = body.without_call_deadline();
        let endpoint = session.as_ref().map_or(&self.endpoint, |session| &session.endpoint);
        let (rewriter, lease) = self.watched(&mut head, endpoint, None, Vec::new())?;
        let mut relay = Relay::new(body, None).rewriting(rewriter).leased(lease);
        if let Some(session) = &session {
            self.shared.redirected.taint(&session.key());
            relay = relay.looking_for(&self.shared.pending, session.key(), Carries::Any);
        }
        Ok(Response::from_parts(head, Body::relay(relay)))
    }

    /// The end of the client's session.
    async fn delete(&self) -> Result<Response<Body>, Refused> {
        let session = self.session()?;
        let response = self
            .send(self.request(Bytes::new(), session.as_ref()), session.as_ref())
            .await?;
        if let Some(session) = session.filter(|_| response.status().is_success()) {
            self.shared.redirected.end(&session.key());
            self.shared.pending.abandon(&session.key());
        }
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, Body::relay(Relay::new(body, None))))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::resources::{self, Backend, Desired, HostAddresses, ObjectName};

    #[test]
    fn behind_an_address_of_several_hosts_the_request_says_which() {
        let at: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let named = |name: &str| ObjectName {
            namespace: "tools".into(),
            name: name.into(),
        };
        let host = |name: &str| {
            let backend = Backend::Host {
                name: format!("{name}.example").into(),
                port: 80,
                h2c: false,
            };
            Arc::new(resources::Server {
                backend,
                ..resources::Server::at(named(name), vec![])
            })
        };
        let given = || Arc::new(resources::Server::at(named("z"), vec![at]));
        let found = |servers: Vec<Arc<resources::Server>>, asked: &str| -> Vec<String> {
            let places = |server: &Arc<resources::Server>| Some(((server.host()?.clone(), 80), vec![at]));
            let hosts: HostAddresses = servers.iter().filter_map(places).collect();
            let desired = Desired {
                servers,
                ..Desired::default()
            };
            let plan = Plan::compile(&desired).with_hosts(&hosts);
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, asked.parse().unwrap());
            let meant = meant(plan.at(at), &headers);
            meant.map(|server| server.name().name.to_string()).collect()
        };
        // One host alone is meant, by whatever name: it cannot be got round by another.
        assert_eq!(found(vec![host("a")], "other"), ["a"]);
        assert_eq!(found(vec![host("a"), host("b")], "B.example.:80"), ["b"]);
        assert_eq!(found(vec![host("a"), host("b")], "other"), [""; 0]);
        // Who was given the address comes first, whoever else DNS puts there.
        assert_eq!(found(vec![host("a"), given()], "a.example"), ["z", "a"]);
        assert_eq!(found(vec![host("a"), given()], "10.0.0.1:80"), ["z"]);
    }
}
