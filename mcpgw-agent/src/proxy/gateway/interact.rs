//! A legacy client asks a modern server. Who reads no event streams, or shares a session, is never asked anything.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    super::{body::Share, exchange::Body, is_events, refused::Refused},
    Call, answer,
    asked::{Asked, introduced},
    calls::{Cancel, InFlight},
    collect,
    converse::{ASKED_TOO_OFTEN, CANNOT_BE_ASKED, Conversation, Next, Questions},
    errors,
    forward::{self, Forwarded},
    limits::MAX_ROUNDS,
    modern,
    session::Session,
    settle,
    stream::{EventBody, Feed},
    uris::Uris,
};
use crate::{
    mcp::{
        Envelope,
        error::{self, code},
        media::reads_events,
        message::{self, Id},
        version::Era,
    },
    telemetry::Record,
    upstream::Endpoint,
};

/// Asks a modern server on behalf of a legacy client.
pub(super) async fn ask(
    call: &Call<'_>,
    envelope: &Envelope<'_>,
    forwarded: Forwarded<'_>,
) -> Result<Response<Body>, Refused> {
    let Forwarded {
        seen,
        id,
        method,
        subject,
        mut headers,
        body,
        record,
        share,
    } = forwarded;
    let server = seen.server.name();
    let refuse = |refused: Refused, record| refused.ending(Some(id), record);
    let Some(upstream) = call.shared.upstreams.of(&seen.server.wanted) else {
        return refuse(Refused::gone(server), record);
    };
    let session = match call.session() {
        Ok(session) => session,
        Err(refused) => return refuse(refused, record),
    };
    modern::route(&mut headers, method, subject.as_deref());
    if let Some(entry) = envelope.tool().and_then(|tool| call.view.tools.get(tool))
        && let Some(parameters) = &seen.catalogue.tools[entry.item].param_headers
    {
        let written = parameters.write(envelope.params.arguments, &mut headers);
        if let Err(rejection) = written {
            return refuse(Refused::rejection(rejection), record);
        }
    }
    let asked = Asked {
        upstream,
        payer: call.payer,
        behalf: call.behalf(),
        headers,
        body: introduced(&body, &session),
        id: id.to_owned(),
        uris: Uris::of(&call.view, server),
        reads: method == "resources/read",
    };
    let (feed, body, gone) = EventBody::new(call.payer);
    let (head, begun) = oneshot::channel();
    let talks = reads_events(&call.head.headers);
    let work = Work {
        asked,
        session: Arc::clone(&session),
        feed,
        record,
        talks,
        _share: share,
    };
    tokio::spawn(work.run(head, gone));
    match begun.await {
        Ok(Begun::Whole(answer)) => *answer,
        Ok(Begun::Stream) => Ok(answer::events(Body::events(body))),
        // The client has cancelled the call, and waits for nothing.
        Err(_) if talks => Ok(answer::events(Body::events(body))),
        Err(_) => Ok(answer::ok(taken_back(id))),
    }
}

/// How an answer begins.
enum Begun {
    /// It is whole, or there is none.
    Whole(Box<Result<Response<Body>, Refused>>),
    /// What else there is to say comes as events.
    Stream,
}

/// A call on its way. It goes on without the client, to its own deadline: a legacy client that goes away has not
/// cancelled.
struct Work {
    asked: Asked,
    session: Arc<Session>,
    feed: Feed,
    record: Option<Record>,
    /// Whether the client reads event streams.
    talks: bool,
    /// The body may have to be sent again, so that it counts to the end.
    _share: Share,
}

impl Work {
    /// Until the answer has come, the call is cancelled, or the client has `gone` and too many others have, too.
    async fn run(self, head: oneshot::Sender<Begun>, gone: CancellationToken) {
        let cancelled = CancellationToken::new();
        let session = Arc::clone(&self.session);
        let _in_flight = InFlight::begin(&session, &self.asked.id, Era::Legacy, Cancel::token(&cancelled));
        let orphaned = async {
            gone.cancelled().await;
            match session.rooms.orphans.take(session.payer) {
                Ok(_room) => std::future::pending().await,
                Err(_) => tracing::debug!("too many calls go on without their clients: one ends with its client"),
            }
        };
        tokio::select! {
            () = self.answer(head) => {}
            () = orphaned => {}
            () = cancelled.cancelled() => {}
        }
    }

    async fn answer(mut self, head: oneshot::Sender<Begun>) {
        // Nobody may be waiting for it any more.
        let begin = |begun| drop(head.send(begun));
        let answered = |answer| Begun::Whole(Box::new(answer));
        let next = match self.ask().await {
            Ok(Asking::Goes(next)) => next,
            Ok(Asking::Answered(whole, needs_input)) => {
                let answer = done(&self.asked, whole, self.record, needs_input);
                return begin(answered(Ok(answer)));
            }
            Err(refused) => return begin(answered(refused.ending(Some(&self.asked.id), self.record))),
        };
        begin(Begun::Stream);
        let conversation = Conversation {
            asked: &self.asked,
            session: &self.session,
            feed: self.feed,
            record: self.record,
        };
        conversation.run(next).await;
    }

    /// Asks the server, and waits for what can be told at once.
    async fn ask(&mut self) -> Result<Asking, Refused> {
        let server = &self.asked.upstream.server().name;
        let record = &mut self.record;
        let sent_to = |endpoint: &Endpoint| {
            if let Some(record) = record {
                record.sent_to(endpoint.address());
                record.leaving();
            }
        };
        let unreachable = |error| forward::unreachable(server, &error);
        let mut response = self.asked.send(0, &[], sent_to).await.map_err(unreachable)?;
        if let Some(record) = &mut self.record {
            record.answered(response.version());
        }
        for round in 0..MAX_ROUNDS {
            let id = self.asked.sent_id(round);
            if self.talks && is_events(response.headers()) {
                return Ok(Asking::Goes(Next::Stream(response.into_body(), Id::parse(&id))));
            }
            let whole = collect::answer(response, &id)
                .await
                .map_err(|error| forward::unanswered(server, &error.into()))?;
            if !message::is_input_required(&whole) {
                let whole = match round {
                    0 => whole,
                    _ => self.asked.named(whole),
                };
                return Ok(Asking::Answered(whole, false));
            }
            let questions = Questions::of(&whole).ok();
            let state = questions.and_then(|questions| questions.only_state());
            if self.talks && (!self.session.shared || state.is_some()) {
                return Ok(Asking::Goes(Next::Answer(whole)));
            }
            let Some(state) = state else {
                return Ok(Asking::Answered(whole, true));
            };
            let members = [("requestState", state.get().as_bytes())];
            response = self
                .asked
                .send(round + 1, &members, |_| {})
                .await
                .map_err(unreachable)?;
        }
        let message = format!("MCP server {server}: {ASKED_TOO_OFTEN}");
        Err(Refused::new(StatusCode::BAD_GATEWAY, "upstream_answer", message))
    }
}

/// What has come of asking the server.
enum Asking {
    /// The answer, and whether it is a question.
    Answered(Bytes, bool),
    /// It goes on with this.
    Goes(Next),
}

/// What a client gets that has cancelled its call and reads no event streams.
fn taken_back(id: &RawValue) -> Bytes {
    error::body::<()>(Some(id), code::TAKEN_BACK, "The call was cancelled by its client", None)
}

/// The answer, whole. Modern servers say some things by the HTTP status that legacy clients look for in the body.
fn done(asked: &Asked, whole: Bytes, record: Option<Record>, needs_input: bool) -> Response<Body> {
    let body = match needs_input {
        false => errors::to_legacy(asked.told(whole), asked.reads),
        true => error::body::<()>(Some(&asked.id), code::INPUT_REQUIRED, CANNOT_BE_ASKED, None),
    };
    if let Some(mut record) = record {
        settle(&mut record, &asked.id, StatusCode::OK, &body);
    }
    answer::ok(body)
}
