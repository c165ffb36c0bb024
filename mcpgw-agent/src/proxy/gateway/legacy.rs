//! Requests to servers that know sessions.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use super::{
    super::{
        carries::Carries,
        exchange::Body,
        is_events,
        refused::Refused,
        relay::{Relay, Watch},
        rewrite::Rewriter,
    },
    Call, answer,
    calls::{Cancel, InFlight},
    changes::{Changes, Own},
    collect::{self, CollectError},
    errors,
    forward::{self, Forwarded},
    hearing::Hearing,
    resumption::{self, Places, Resumed},
    session::Key,
    settle,
    tasks::TaskIds,
    uris::Uris,
};
use crate::mcp::{
    AnswerObserver, Envelope, level::Level, media::reads_events, message::Id, params::MetaKey, splice::Splice,
    version::Era,
};

/// Members of `_meta` that a server of the legacy era learns when a session is opened.
const OF_THE_MODERN_ERA: [MetaKey; 4] = [
    MetaKey::ProtocolVersion,
    MetaKey::ClientInfo,
    MetaKey::ClientCapabilities,
    MetaKey::LogLevel,
];

/// Asks a server in the session that it has with this client.
pub(super) async fn ask(call: &Call<'_>, forwarded: Forwarded<'_>) -> Result<Response<Body>, Refused> {
    let Forwarded {
        seen,
        id,
        subject,
        headers,
        body,
        mut record,
        share,
        ..
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
    let mut link = match session.link(&upstream).await {
        Ok(link) => link,
        Err(error) => return refuse(forward::unanswered(server, &error), record),
    };
    let pending = match (session.key, &record) {
        (Key::Own(nonce), Some(_)) if reads_events(&call.head.headers) => {
            match call.shared.pending.begin(call.payer, nonce, id) {
                Some(pending) => Some(pending),
                None => return refuse(Refused::no_streams(), record),
            }
        }
        _ => None,
    };
    let mut again = true;
    let (response, sent_id, own, in_flight) = loop {
        // Callers that share a session may use the same ids, and the same tokens of their progress.
        let (sent_id, sent, own) = match session.shared {
            true => {
                let sent_id = raw(link.next_id());
                let (sent, Wishes { progress, level }) = adapted(&body, &sent_id, call.era);
                if let Some(level) = level.filter(|_| seen.catalogue.features.logging) {
                    link.log_from(level, &mut session.aside()).await;
                }
                let own = Own {
                    sent: sent_id.clone(),
                    id: id.to_owned(),
                    progress,
                    level,
                };
                (sent_id, sent, Some(own))
            }
            false => (id.to_owned(), body.clone(), None),
        };
        if let Some(record) = &mut record {
            record.sent_to(link.address());
            record.leaving();
        }
        let mut in_flight = InFlight::begin(&session, id, call.era, Cancel::notice(&link, &sent_id));
        let response = link.send(sent, &headers, call.behalf()).await;
        let is_lost = match &response {
            // The server has forgotten the session, and so has not taken the call.
            Ok(response) => match response.status() {
                StatusCode::NOT_FOUND => link.has_id(),
                StatusCode::BAD_REQUEST => link.is_lost().await,
                _ => false,
            },
            // The replica that had the session cannot be reached, and so has not taken it either.
            Err(error) => error.is_of_the_way(),
        };
        if is_lost {
            in_flight.over();
        }
        if is_lost && again {
            again = false;
            drop(in_flight);
            link = match session.reopen(&upstream, &link).await {
                Ok(link) => link,
                Err(error) => return refuse(forward::unanswered(server, &error), record),
            };
            continue;
        }
        match response {
            Ok(response) => {
                if !response.status().is_success() {
                    in_flight.over();
                }
                break (response, sent_id, own, in_flight);
            }
            Err(error) => return refuse(forward::unreachable(server, &error), record),
        }
    };
    drop(share);
    if let Some(record) = &mut record {
        record.answered(response.version());
    }
    let mut changes = Changes {
        in_flight: Some(in_flight),
        carries: Carries::one(Id::of(&sent_id)),
        places: None,
        sealer: call.gateway.sealer.clone(),
        session: Arc::downgrade(&session),
        owner: session.owner,
        link: Arc::clone(&link),
        own,
        modern: call.era == Era::Modern,
        reads: forwarded.method == "resources/read",
        answers_questions: !session.shared,
        tasks: TaskIds::new(call.gateway, server, session.owner),
        has_tasks: seen.catalogue.features.tasks.any,
        hearing: Hearing::of(call),
        uris: Uris::of(&call.view, server),
    };
    let status = client_status(response.status());
    let events = is_events(response.headers());
    let streams = events && reads_events(&call.head.headers);
    let limit = seen.server.wanted.timeouts.call;
    if streams {
        let resumed = Resumed::new(forwarded.method, subject.as_deref(), &sent_id, limit);
        changes.places = Places::of(&call.gateway.sealer, &session, resumed);
    }
    let response = match events && changes.places.is_none() {
        true => resumption::resuming(response, &link, &sent_id, limit),
        false => response,
    };
    if streams {
        let (head, body) = response.into_parts();
        let watch = record.map(|record| {
            Watch::new(
                record,
                AnswerObserver::new(Some(&sent_id), &head.headers, call.payer),
                status,
            )
            .waiting(pending)
        });
        let rewriter = Rewriter::new(&head.headers, call.payer, changes);
        let relay = Relay::new(body, watch).rewriting(Some(rewriter));
        let mut response = answer::events(Body::relay(relay));
        *response.status_mut() = status;
        return Ok(response);
    }
    // Held whole: whose answer it is, its last byte may tell.
    let whole = collect::answer_between(response, sent_id.get(), |said| changes.unheard(said)).await;
    let mut changed = |whole| changes.of_answer(whole).ok_or(CollectError::NoRoom);
    let whole = match whole.and_then(&mut changed) {
        Ok(whole) => whole,
        Err(error) => return refuse(forward::unanswered(server, &error.into()), record),
    };
    if let Some(record) = &mut record {
        settle(record, id, status, &whole);
    }
    let status = match call.era {
        Era::Modern => errors::modern_status(&whole, status),
        Era::Legacy => status,
    };
    let mut response = answer::ok(whole);
    *response.status_mut() = status;
    Ok(response)
}

/// What a client gets for a server's HTTP status. The server speaks to the gateway: that it does not like the
/// gateway's credentials is no matter of the client's.
fn client_status(status: StatusCode) -> StatusCode {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => StatusCode::BAD_GATEWAY,
        other => other,
    }
}

fn raw(id: u64) -> Box<RawValue> {
    serde_json::value::to_raw_value(&id).unwrap_or_default()
}

/// What a client wants to hear of its request.
#[derive(Debug, Default)]
struct Wishes {
    /// Its token, if it wants to hear of progress.
    progress: Option<Box<RawValue>>,
    /// From which level on it wants to hear what the server logs.
    level: Option<Level>,
}

/// The body with another id, which is also the token of its progress, and without what the modern era says of the
/// client in every request: a server that knows that era too would take the request for one of it, and ask the client
/// what only the gateway would hear.
fn adapted(body: &Bytes, id: &RawValue, era: Era) -> (Bytes, Wishes) {
    // The name was spliced since the envelope was read, so that the places are sought again.
    let Ok(envelope) = Envelope::parse(body) else {
        return (body.clone(), Wishes::default());
    };
    let mut splice = Splice::new(body);
    if let Some(span) = envelope.id_span() {
        splice.replace(span, id.get());
    }
    let meta = &envelope.params.meta;
    let token = meta.get(MetaKey::ProgressToken).filter(|token| !token.is_null());
    if era == Era::Modern
        && let Some(whole) = meta.whole
        && let Ok(mut members) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(whole.get())
    {
        for key in OF_THE_MODERN_ERA {
            members.remove(key.as_str());
        }
        if token.is_some() {
            members.insert(Cow::Borrowed(MetaKey::ProgressToken.as_str()), id);
        }
        splice.replace(whole.span(), serde_json::to_vec(&members).unwrap_or_default());
    } else if let Some(token) = token {
        splice.replace(token.span(), id.get());
    }
    let level = meta.get(MetaKey::LogLevel).filter(|_| era == Era::Modern);
    let wishes = Wishes {
        progress: token.and_then(|token| token.raw()).map(ToOwned::to_owned),
        level: level.and_then(|level| Level::of(level.get())),
    };
    (splice.finish(), wishes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body as it is sent, the client's own token, and the level that it wants.
    fn adapted(body: &'static str, era: Era) -> (String, Option<String>, Option<Level>) {
        let id: Box<RawValue> = serde_json::from_str("7").unwrap();
        let (body, wishes) = super::adapted(&Bytes::from_static(body.as_bytes()), &id, era);
        let body = String::from_utf8(body.to_vec()).unwrap();
        (body, wishes.progress.map(|token| token.get().to_owned()), wishes.level)
    }

    #[test]
    fn what_the_modern_era_says_of_a_client_does_not_reach_a_session_and_all_else_does() {
        let body = r#"{"id":"a","method":"m","jsonrpc":"2.0","params":{"x":1.0,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":"p","io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"v":[1, 2],"io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/logLevel":"info"}}}"#;
        let token = Some(r#""p""#.to_owned());
        let sent = r#"{"id":7,"method":"m","jsonrpc":"2.0","params":{"x":1.0,"_meta":{"progressToken":7,"v":[1, 2]}}}"#;
        assert_eq!(
            adapted(body, Era::Modern),
            (sent.to_owned(), token.clone(), Some(Level::Info))
        );
        let sent = body.replace(r#""a""#, "7").replace(r#""p""#, "7");
        assert_eq!(adapted(body, Era::Legacy), (sent, token, None));
    }

    #[test]
    fn who_wants_to_hear_of_no_progress_hears_of_none() {
        let bare = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
        assert_eq!(adapted(bare, Era::Modern), (bare.replace(":1", ":7"), None, None));
        let null = r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"progressToken":null}}}"#;
        for era in [Era::Modern, Era::Legacy] {
            assert_eq!(adapted(null, era), (null.replace(":1", ":7"), None, None));
        }
    }
}
