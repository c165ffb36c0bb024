//! The copy of the requests, taken through the same decisions as those of governed workloads, up to where they would
//! be sent; their answers are read from the copy of the answers. What would be refused is recorded as `would_deny`.

use std::{convert::Infallible, future::poll_fn, sync::Arc};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::{
    Answers,
    tap::{Reader, Tap},
};
use crate::{
    identity::Caller,
    proxy::{
        Shared,
        exchange::Body,
        limits::READ_BUFFER,
        passthrough,
        preface::{self, First, Hello, name_in_hello},
        redirected,
        room::{Room, Turn},
        secured::{Secured, secured, takes_name},
    },
    shares::Payer,
    telemetry::{Outcome, Path},
};

/// Watches a connection until its copies end, or nothing more can be found out from them.
pub(super) async fn watch(requests: Tap, answers: Tap, caller: Arc<Caller>, room: Room, shared: Arc<Shared>) {
    look(requests.clone(), answers.clone(), caller, room, shared).await;
    requests.close();
    answers.close();
}

async fn look(requests: Tap, answers: Tap, caller: Arc<Caller>, room: Room, shared: Arc<Shared>) {
    let first = poll_fn(|cx| requests.poll_first(cx, preface::is_enough)).await;
    let would_refuse = |reason| shared.telemetry.would_refuse(reason, &caller, Path::Redirected);
    match preface::classify(&first) {
        First::End => {}
        First::Http => http(requests, answers, &caller, &room, &shared).await,
        First::Tls => tls(requests, &caller, &shared).await,
        // Nobody looks into it here, and so nothing is known of what would be refused.
        First::Http2 => would_refuse("http2_unobserved"),
        First::NotHttp => would_refuse("not_http"),
    }
}

async fn http(requests: Tap, answers: Tap, caller: &Arc<Caller>, room: &Room, shared: &Arc<Shared>) {
    let answers = Answers::new(answers);
    let service = service_fn(|request| {
        Box::pin(one(
            Arc::clone(shared),
            Arc::clone(caller),
            room.clone(),
            answers.clone(),
            request,
        ))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(READ_BUFFER)
        // A client may have said all that it has to say.
        .half_close(true)
        .serve_connection(TokioIo::new(Reader::new(requests)), service);
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let reason = match ended {
        Ok(()) => {
            let parts = connection.into_parts();
            // Behind a request that was not read to its end there may be others.
            if parts.read_buf.is_empty() && !parts.io.into_inner().has_more().await {
                return;
            }
            "unobserved"
        }
        Err(error) if error.is_parse_too_large() => "headers_too_large",
        Err(error) if error.is_parse() => "bad_http",
        Err(error) => {
            tracing::debug!(%error, "an observed connection is watched no longer");
            "unobserved"
        }
    };
    shared.telemetry.would_refuse(reason, caller, Path::Redirected);
}

/// Looks at one request. What it gives back goes nowhere.
async fn one(
    shared: Arc<Shared>,
    mut caller: Arc<Caller>,
    room: Room,
    answers: Answers,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    answers.expect(request.method()).await;
    shared.telemetry.room(&caller).await;
    let plan = shared.plan.load_full();
    let mut turn = Turn::of(&room, Payer::of_sender(&caller));
    let seen = redirected::serve(&shared, &mut caller, &mut turn, &plan, request, Some(&answers)).await;
    Ok(seen.unwrap_or_else(|refused| {
        shared.telemetry.would_refuse(refused.reason, &caller, Path::Redirected);
        Response::default()
    }))
}

/// TLS cannot be looked into. Who may connect at all can be decided, where that is all that is asked.
async fn tls(requests: Tap, caller: &Arc<Caller>, shared: &Shared) {
    let plan = shared.plan.load_full();
    let servers = plan.at(caller.destination);
    let name = match takes_name(servers) {
        true => {
            let is_enough = |bytes: &[u8]| name_in_hello(bytes) != Hello::Begun;
            match name_in_hello(&poll_fn(|cx| requests.poll_first(cx, is_enough)).await) {
                Hello::Begun => None,
                Hello::Names(name) => name,
            }
        }
        false => None,
    };
    let would_refuse = |reason| {
        shared.telemetry.would_refuse(reason, caller, Path::Redirected);
        None
    };
    let record = match secured(servers, name.as_deref()) {
        Secured::Refused(reason) => would_refuse(reason),
        Secured::Here(..) => would_refuse("tls_unobserved"),
        Secured::Through(server) => passthrough::meant(server, &plan, caller, shared),
        Secured::Elsewhere(server, name) => Some(passthrough::elsewhere(server, name, &plan, caller, shared)),
    };
    if let Some(mut record) = record {
        record.sent_to(caller.destination);
        record.leaving();
        let ended = tokio::io::copy(&mut Reader::new(requests), &mut tokio::io::sink()).await;
        record.outcome(ended.map_or(Outcome::Error, |_| Outcome::Ok), None);
    }
}
