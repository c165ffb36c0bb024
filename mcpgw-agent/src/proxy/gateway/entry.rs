//! What comes to the gateway: what is at its path, and whether its caller may ask for it.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request::Parts};
use hyper::body::Incoming;

use super::{
    super::{
        Shared, authenticate, challenge,
        exchange::{self, Body},
        refused::{Refused, json},
        room::Turn,
        route,
    },
    arrived::Arrived,
    request,
};
use crate::{identity::Caller, mcp::headers, policy::Plan, proxy, resources};

/// What a path at the gateway is.
pub(super) enum Place<'a> {
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
pub(in crate::proxy) async fn serve(
    shared: &Arc<Shared>,
    caller: &mut Arc<Caller>,
    turn: &mut Turn,
    plan: &Arc<Plan>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    proxy::request::check(&head)?;
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
pub(super) async fn admit<'p>(
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
