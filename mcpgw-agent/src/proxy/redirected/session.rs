//! Session ids on the redirected path. What the client gets is sealed: bound to the principal that opened the
//! session and to the server, so that an id that was overheard is worth nothing to anybody else.
//!
//! A server that lost a session is asked for a new one, once and unnoticed, if nothing but the call at hand can
//! tell the two apart. Else the client gets the 404 that makes it begin anew.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};

use super::Dialled;
use crate::{
    mcp::{
        Envelope,
        headers::{self, MCP_PROTOCOL_VERSION, MCP_SESSION_ID},
        message,
        seal::{self, Memo, Nonce, RedirectedSession, Token as _},
        sse::Parser,
        version::Revision,
    },
    proxy::{
        is_events,
        limits::{MAX_INITIALIZE_ANSWER, MAX_KNOWN_SESSIONS},
        now,
        pending::StreamKey,
        refused::Refused,
    },
    upstream::{Endpoint, UpstreamBody, end_session},
};

/// A session that a request named.
pub(super) struct Opened {
    sealed: Arc<RedirectedSession>,
    /// The server's own id of it.
    pub(super) upstream: HeaderValue,
    /// Which of the server's endpoints has it.
    pub(super) endpoint: Endpoint,
}

impl Opened {
    pub(super) fn key(&self) -> StreamKey {
        self.sealed.nonce
    }

    /// The revision that was agreed on.
    pub(super) fn revision(&self) -> Revision {
        self.sealed.revision.parse().unwrap_or(Revision::ASSUMED)
    }

    /// The same once more: for the next message of a batch.
    pub(super) fn again(&self) -> Self {
        Self {
            sealed: Arc::clone(&self.sealed),
            upstream: self.upstream.clone(),
            endpoint: self.endpoint.clone(),
        }
    }
}

/// What is known of sessions beside what their ids say. Forgotten at a restart, and of too many the oldest.
pub(in crate::proxy) struct Known {
    opened: Memo<RedirectedSession>,
    shards: Box<[Mutex<Table>]>,
    /// Those that are being opened anew, one call at a time.
    replaced: Mutex<HashMap<StreamKey, Weak<Turn>>>,
}

/// Whoever has it opens a session anew; the others wait.
type Turn = tokio::sync::Mutex<()>;

/// Every request of a session looks here: those of different sessions are not to wait for each other.
const SHARDS: usize = 64;

impl Default for Known {
    fn default() -> Self {
        Self {
            opened: Memo::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            replaced: Mutex::default(),
        }
    }
}

#[derive(Default)]
struct Table {
    notes: HashMap<StreamKey, Note>,
    order: VecDeque<StreamKey>,
}

#[derive(Clone)]
enum Note {
    /// Nothing was done in it that a new one would not know. With the server's id of the one in its place, if the
    /// first was lost.
    Plain(Option<HeaderValue>),
    /// Something was done that a new one would not know: it cannot be replaced.
    Tainted(Option<HeaderValue>),
    /// Its client ended it.
    Ended,
}

impl Known {
    /// Notes that the server knows something about the session that a new one would not.
    pub(super) fn taint(&self, key: &StreamKey) {
        if let Some(note) = self.shard(key).notes.get_mut(key)
            && let Note::Plain(id) = note
        {
            *note = Note::Tainted(id.take());
        }
    }

    /// Notes that the client ended the session.
    pub(super) fn end(&self, key: &StreamKey) {
        self.insert(*key, Note::Ended);
    }

    /// Notes that the server has this session in place of one that it lost.
    fn replace(&self, key: &StreamKey, id: HeaderValue) {
        if let Some(note) = self.shard(key).notes.get_mut(key) {
            *note = match note {
                Note::Plain(_) => Note::Plain(Some(id)),
                Note::Tainted(_) => Note::Tainted(Some(id)),
                Note::Ended => Note::Ended,
            };
        }
    }

    fn turn(&self, key: &StreamKey) -> Arc<Turn> {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = replaced.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        replaced.insert(*key, Arc::downgrade(&turn));
        turn
    }

    fn insert(&self, key: StreamKey, note: Note) {
        let mut table = self.shard(&key);
        if table.notes.insert(key, note).is_some() {
            return;
        }
        table.order.push_back(key);
        if table.order.len() > MAX_KNOWN_SESSIONS / SHARDS
            && let Some(oldest) = table.order.pop_front()
        {
            table.notes.remove(&oldest);
        }
    }

    fn get(&self, key: &StreamKey) -> Option<Note> {
        self.shard(key).notes.get(key).cloned()
    }

    fn shard(&self, key: &StreamKey) -> MutexGuard<'_, Table> {
        let shard = &self.shards[key.shard(SHARDS)];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dialled<'_> {
    /// The session that the request names; `None` if it names none. An observed caller has the server's own ids.
    pub(super) fn session(&self) -> Result<Option<Opened>, Refused> {
        if self.caller.observed {
            return Ok(None);
        }
        let mut named = self.head.headers.get_all(MCP_SESSION_ID).iter();
        let Some(id) = named.next() else { return Ok(None) };
        if named.next().is_some() {
            let message = "More than one Mcp-Session-Id header";
            return Err(Refused::new(StatusCode::BAD_REQUEST, "ambiguous_session", message));
        }
        let owner = self.caller.session_owner();
        let sealed = id.to_str().ok().and_then(|id| {
            self.shared
                .redirected
                .opened
                .open(&self.shared.gateway.sealer, id, owner, now())
                .ok()
        });
        let sealed = sealed
            .filter(|sealed| sealed.server == self.server.name().to_string())
            .ok_or_else(Refused::no_session)?;
        // Where the endpoint is gone, so is the session.
        let endpoint = self
            .upstream
            .endpoint(sealed.endpoint)
            .map_err(|_| Refused::no_session())?;
        let replaced = match self.shared.redirected.get(&sealed.nonce) {
            Some(Note::Ended) => return Err(Refused::no_session()),
            Some(Note::Plain(id) | Note::Tainted(id)) => id,
            None => None,
        };
        let upstream = match replaced {
            Some(id) => id,
            None => HeaderValue::from_str(&sealed.upstream).map_err(|_| Refused::no_session())?,
        };
        Ok(Some(Opened {
            sealed,
            upstream,
            endpoint,
        }))
    }

    /// Seals the session id in the answer to `initialize`. What was read of the answer's body to learn the revision
    /// comes with it.
    pub(super) async fn seal(
        &self,
        envelope: &Envelope<'_>,
        response: &mut Response<UpstreamBody>,
    ) -> Result<VecDeque<Bytes>, Refused> {
        let Some(id) = response
            .headers()
            .get(MCP_SESSION_ID)
            .filter(|_| !self.caller.observed)
            .cloned()
        else {
            return Ok(VecDeque::new());
        };
        let (read, answer) = beginning(response).await;
        let revision = answer.as_deref().and_then(revision_of).unwrap_or(Revision::ASSUMED);
        let session = id
            .to_str()
            .ok()
            .zip(Nonce::random().ok())
            .map(|(id, nonce)| RedirectedSession {
                upstream: id.to_owned(),
                server: self.server.name().to_string(),
                endpoint: self.endpoint.address(),
                owner: self.caller.session_owner(),
                revision: revision.as_str().to_owned(),
                issued: now(),
                initialize: seal::kept(envelope.params.whole.and_then(|part| part.raw())),
                nonce,
            });
        let sealed = session.as_ref().and_then(|session| {
            let sealed = session.seal(&self.shared.gateway.sealer).ok()?;
            HeaderValue::from_str(&sealed).ok()
        });
        let (Some(session), Some(sealed)) = (session.as_ref(), sealed) else {
            let session = session.map(|session| Opened {
                sealed: Arc::new(session),
                upstream: id,
                endpoint: self.endpoint.clone(),
            });
            drop(Unkept { at: self, session });
            let message = format!("MCP server {} gave a session id that is too long", self.server.name());
            return Err(Refused::new(StatusCode::BAD_GATEWAY, "upstream_session", message));
        };
        self.shared.redirected.insert(session.nonce, Note::Plain(None));
        response.headers_mut().insert(MCP_SESSION_ID, sealed);
        Ok(read)
    }

    /// Opens a session in place of one that the server lost, if nothing is lost with it.
    pub(super) async fn replace(&self, lost: &Opened) -> Option<Opened> {
        let known = &self.shared.redirected;
        let turn = known.turn(&lost.key());
        let _turn = turn.lock().await;
        let replaced = |id: HeaderValue| Opened {
            sealed: Arc::clone(&lost.sealed),
            upstream: id,
            endpoint: lost.endpoint.clone(),
        };
        match known.get(&lost.key())? {
            // Another call has noticed before.
            Note::Plain(Some(id)) | Note::Tainted(Some(id)) if id != lost.upstream => return Some(replaced(id)),
            Note::Plain(_) => {}
            Note::Tainted(_) | Note::Ended => return None,
        }
        let params = lost.sealed.initialize.as_ref()?;
        let initialize = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{params}}}"#);
        let mut response = self
            .send(self.own_request(initialize.into(), None), Some(lost))
            .await
            .ok()?;
        let id = headers::any_session_id(response.headers())?;
        let mut unkept = Unkept {
            at: self,
            session: Some(replaced(id.clone())),
        };
        headers::session_id(response.headers()).ok()?;
        let (_, answer) = beginning(&mut response).await;
        // Another revision would be something that the client can tell.
        if answer.as_deref().and_then(revision_of)? != lost.revision() {
            return None;
        }
        let initialized = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        let session = replaced(id.clone());
        self.send(self.own_request(initialized, Some(&session)), Some(&session))
            .await
            .ok()?;
        known.replace(&lost.key(), id);
        unkept.session = None;
        Some(session)
    }

    /// A POST of the gateway's own.
    pub(super) fn own_request(&self, body: Bytes, session: Option<&Opened>) -> Request<Full<Bytes>> {
        let mut request = self.request(body, session);
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        match session {
            Some(session) => {
                let revision = HeaderValue::from_static(session.revision().as_str());
                headers.insert(MCP_PROTOCOL_VERSION, revision);
            }
            None => {
                headers.remove(MCP_SESSION_ID);
                headers.remove(MCP_PROTOCOL_VERSION);
            }
        }
        request
    }
}

/// A session that a server has just opened for us. Unless it is kept it is ended there, where its name, or what was
/// agreed on in it, is of no use, or nobody waits for it any more.
struct Unkept<'d, 'a> {
    at: &'d Dialled<'a>,
    session: Option<Opened>,
}

impl Drop for Unkept<'_, '_> {
    fn drop(&mut self) {
        // Of a caller that is only observed, nothing here was opened by us.
        let Some(session) = self.session.as_ref().filter(|_| self.at.seen.is_none()) else {
            return;
        };
        let mut request = self.at.own_request(Bytes::new(), Some(session));
        *request.method_mut() = Method::DELETE;
        request.headers_mut().remove(header::CONTENT_TYPE);
        end_session(&self.at.upstream, &session.endpoint, self.at.payer, request);
    }
}

/// Reads an answer's body as far as the message that answers, within a bound.
async fn beginning(response: &mut Response<UpstreamBody>) -> (VecDeque<Bytes>, Option<Bytes>) {
    let mut events = is_events(response.headers()).then(|| Parser::new(MAX_INITIALIZE_ANSWER, response.body().payer()));
    let (mut read, mut whole) = (VecDeque::new(), Vec::new());
    let body = response.body_mut();
    while whole.len() < MAX_INITIALIZE_ANSWER && !body.is_end_stream() {
        let Some(Ok(frame)) = body.frame().await else { break };
        let Ok(chunk) = frame.into_data() else { continue };
        read.push_back(chunk.clone());
        match &mut events {
            None => whole.extend_from_slice(&chunk),
            Some(parser) => {
                parser.feed(&chunk);
                while let Some(Ok(event)) = parser.next() {
                    let Some(data) = event.data else { continue };
                    if message::is_response(&data) {
                        return (read, Some(data));
                    }
                }
                whole.resize(whole.len() + chunk.len(), 0);
            }
        }
    }
    let answer = events.is_none().then(|| whole.into());
    (read, answer)
}

fn revision_of(answer: &[u8]) -> Option<Revision> {
    #[derive(serde::Deserialize)]
    struct Answer {
        result: Initialized,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Initialized {
        protocol_version: String,
    }
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    answer.result.protocol_version.parse().ok()
}
