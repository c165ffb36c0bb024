//! A server whose calls wait until the test answers them, and whose streams say what the test says: in sessions, or
//! without them as in the modern era.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

/// The server, and what it remembers.
#[derive(Clone)]
pub(super) struct LiveServer {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    modern: bool,
    /// Its lists are for the one who asks.
    private: bool,
    opened: usize,
    /// It takes no subscription, and says nothing to one.
    mute: bool,
    /// It refuses every subscription.
    closed: bool,
    /// It answers what it is asked to tell with event streams, when the test says so.
    talkative: bool,
    /// It does not answer this method yet.
    held: Option<&'static str>,
    /// It answers calls as if they had this id.
    confused: Option<u32>,
    /// It does not say that it has an answer, or that a session is ended.
    deaf: bool,
    /// It takes every stream for one that is open already; how many it took so.
    busy: Option<usize>,
    /// Their streams, where they are open.
    sessions: HashMap<String, Option<mpsc::Sender<Bytes>>>,
    /// Every message that came, and in which session.
    messages: Vec<(String, Value)>,
    /// Streams of calls, and of `subscriptions/listen`, by the ids of their requests as JSON.
    calls: HashMap<String, mpsc::Sender<Bytes>>,
    /// Ids of the calls whose connection ended before their answer was begun.
    broken: Vec<Value>,
}

type Answered = UnsyncBoxBody<Bytes, Infallible>;

impl LiveServer {
    /// One with sessions.
    pub(super) async fn start() -> Self {
        Self::of(false).await
    }

    /// One without.
    pub(super) async fn modern() -> Self {
        Self::of(true).await
    }

    /// One without, whose lists are for the one who asks.
    pub(super) async fn private() -> Self {
        let server = Self::of(true).await;
        server.lock().private = true;
        server
    }

    async fn of(modern: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(State {
                modern,
                ..State::default()
            })),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = serving.clone();
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        server
    }

    /// Forgets its sessions and ends their streams, as a restart would.
    pub(super) fn forget_all(&self) {
        self.lock().sessions.clear();
    }

    /// Takes no subscriptions from now on, and does not say so.
    pub(super) fn fall_mute(&self) {
        self.lock().mute = true;
    }

    /// Refuses every subscription from now on, or no longer.
    pub(super) fn is_closed(&self, closed: bool) {
        self.lock().closed = closed;
    }

    /// From now on answers what it is asked to tell with event streams, on which the test says all.
    pub(super) fn is_talkative(&self) {
        self.lock().talkative = true;
    }

    /// From now on keeps whoever asks for this method waiting, until it is another.
    pub(super) fn holds(&self, method: Option<&'static str>) {
        self.lock().held = method;
    }

    /// From now on lets whoever answers a question, or ends a session, wait, or no longer.
    pub(super) fn is_deaf(&self, deaf: bool) {
        self.lock().deaf = deaf;
    }

    /// Takes no streams, as if it did not know that the one before has ended, until `n` were asked for.
    pub(super) async fn is_busy_until_asked(&self, n: usize) {
        self.lock().busy = Some(0);
        self.until(
            || self.lock().busy.is_some_and(|asked| asked >= n).then_some(()),
            "streams",
        )
        .await;
        self.lock().busy = None;
    }

    /// One of its two resources, `a` or `b`.
    pub(super) fn uri(&self, name: &str) -> String {
        format!("live://{}/{name}", self.address.port())
    }

    /// Says on the stream of a session that a resource changed.
    pub(super) fn update(&self, session: &str, uri: &str) {
        let updated = "notifications/resources/updated";
        self.say(
            session,
            &json!({"jsonrpc": "2.0", "method": updated, "params": {"uri": uri}}),
        );
    }

    /// What came with this method: in which session, and what.
    pub(super) fn got(&self, method: &str) -> Vec<(String, Value)> {
        let of_method = |(_, message): &&(String, Value)| message["method"] == method;
        self.lock().messages.iter().filter(of_method).cloned().collect()
    }

    /// The ids of its questions that were answered.
    pub(super) fn answers(&self) -> Vec<Value> {
        self.answers_with("result")
    }

    /// The ids of its questions that were answered with this member.
    fn answers_with(&self, member: &str) -> Vec<Value> {
        let is_answer = |(_, message): &&(String, Value)| message[member].is_object();
        let messages = &self.lock().messages;
        messages
            .iter()
            .filter(is_answer)
            .map(|(_, answer)| answer["id"].clone())
            .collect()
    }

    /// Ends the streams of its calls.
    pub(super) fn forget_calls(&self) {
        self.lock().calls.clear();
    }

    /// Waits until as many messages have come with this method.
    pub(super) async fn gets(&self, method: &str, count: usize) -> Vec<(String, Value)> {
        self.until(|| Some(self.got(method)).filter(|got| got.len() >= count), method)
            .await
    }

    /// Waits until a question was answered with a `result`, or an `error`.
    pub(super) async fn is_answered(&self, id: &Value, member: &str) {
        let is_there = || self.answers_with(member).contains(id).then_some(());
        self.until(is_there, "an answer").await;
    }

    /// Waits until a call was broken off by whoever made it.
    pub(super) async fn is_broken_off(&self, id: &Value) {
        let is_broken = || self.lock().broken.contains(id).then_some(());
        self.until(is_broken, "the end of a call").await;
    }

    /// Whether a call of the tool that waits is on, and whoever made it still listens.
    pub(super) fn is_waiting(&self, id: &Value) -> bool {
        let state = self.lock();
        state.calls.get(&id.to_string()).is_some_and(|call| !call.is_closed())
    }

    /// Waits until a session was ended by whoever opened it.
    pub(super) async fn is_ended(&self, session: &str) {
        let is_gone = || (!self.lock().sessions.contains_key(session)).then_some(());
        self.until(is_gone, "the end of a session").await;
    }

    /// Waits until a session has no open stream any more.
    pub(super) async fn is_unheard_in(&self, session: &str) {
        let is_unheard = || (!self.lock().sessions.get(session).is_some_and(is_open)).then_some(());
        self.until(is_unheard, "the end of a stream").await;
    }

    /// From now on it answers calls as if they had this id.
    pub(super) fn answers_as(&self, id: u32) {
        self.lock().confused = Some(id);
    }

    /// Waits until a session has an open stream.
    pub(super) async fn is_heard_in(&self, session: &str) {
        let is_heard = || self.lock().sessions.get(session).is_some_and(is_open).then_some(());
        self.until(is_heard, "a stream").await;
    }

    /// Says something on the stream of a session.
    pub(super) fn say(&self, session: &str, message: &Value) {
        let stream = self.lock().sessions[session].clone().unwrap();
        stream.try_send(format!("data: {message}\n\n").into()).unwrap();
    }

    /// Says something on the stream of a call.
    pub(super) async fn say_of(&self, id: &Value, message: &Value) {
        self.write_of(id, &message.to_string()).await;
    }

    /// The same, of what need not be JSON.
    pub(super) async fn write_of(&self, id: &Value, message: &str) {
        let call = || self.lock().calls.get(&id.to_string()).cloned();
        let stream = self.until(call, "a call").await;
        stream.send(format!("data: {message}\n\n").into()).await.unwrap();
    }

    async fn until<T>(&self, mut is: impl FnMut() -> Option<T>, what: &str) -> T {
        for _ in 0..1_000 {
            if let Some(found) = is() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} did not come: {:?}", self.lock().messages);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Answered> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (method, id) = (
            message["method"].as_str().unwrap_or_default().to_owned(),
            message["id"].clone(),
        );
        let session = match self.take_note(&head, &message) {
            Ok(session) => session,
            Err(refused) => return status(refused),
        };
        let is_held = || self.lock().held == Some(&*method);
        if is_held() {
            self.until(|| (!is_held()).then_some(()), "leave to answer").await;
        }
        let scope = if self.lock().private { "private" } else { "public" };
        let result = match &*method {
            "" if head.method == Method::GET => return self.listen(&session),
            "" if self.lock().deaf => std::future::pending().await,
            "" => return status(StatusCode::ACCEPTED),
            _ if method.starts_with("notifications/") => return status(StatusCode::ACCEPTED),
            "initialize" => {
                let revision = &message["params"]["protocolVersion"];
                let result = json!({
                    "protocolVersion": revision, "capabilities": capabilities(),
                    "serverInfo": {"name": "live", "version": "0"},
                });
                let mut response = whole(&id, result);
                response
                    .headers_mut()
                    .insert("mcp-session-id", session.parse().unwrap());
                return response;
            }
            "server/discover" => json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": capabilities(),
                "ttlMs": 60000, "cacheScope": "public",
            }),
            "tools/list" => {
                let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
                json!({"tools": [tool("wait"), tool("hang"), tool("add")], "resultType": "complete", "ttlMs": 60000, "cacheScope": scope})
            }
            "resources/list" => {
                let resource = |name: &str| json!({"uri": self.uri(name), "name": name});
                json!({"resources": [resource("a"), resource("b")], "resultType": "complete", "ttlMs": 60000, "cacheScope": scope})
            }
            "resources/templates/list" => {
                json!({"resourceTemplates": [], "resultType": "complete", "ttlMs": 60000, "cacheScope": scope})
            }
            "tools/call" if message["params"]["name"] == "wait" => return self.stream(&id),
            "resources/subscribe" | "subscriptions/listen" if self.lock().closed => {
                return status(StatusCode::SERVICE_UNAVAILABLE);
            }
            "resources/subscribe" | "logging/setLevel" if self.lock().talkative => return self.stream(&id),
            "resources/subscribe" if self.lock().mute => std::future::pending().await,
            "subscriptions/listen" => return self.stream(&id),
            "tools/call" if message["params"]["name"] == "hang" => {
                let _broken = Broken(self.clone(), id.clone());
                std::future::pending().await
            }
            "tools/call" => {
                let id = self.lock().confused.map_or(id, Value::from);
                return whole(&id, json!({"resultType": "complete", "content": []}));
            }
            _ => json!({"resultType": "complete"}),
        };
        whole(&id, result)
    }

    /// The session of a request; without one where there are none.
    fn take_note(&self, head: &Parts, message: &Value) -> Result<String, StatusCode> {
        let mut state = self.lock();
        let is_modern = head.headers.contains_key("mcp-method");
        if is_modern != state.modern && message["method"] != "initialize" {
            return Err(StatusCode::BAD_REQUEST);
        }
        if state.modern && !is_modern {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let named = head.headers.get("mcp-session-id").map(|id| id.to_str().unwrap());
        let session = match named {
            _ if state.modern => String::new(),
            None if message["method"] == "initialize" => {
                state.opened += 1;
                let name = format!("live-{}", state.opened);
                state.sessions.insert(name.clone(), None);
                name
            }
            None => return Err(StatusCode::BAD_REQUEST),
            Some(name) if state.sessions.contains_key(name) => name.to_owned(),
            Some(_) => return Err(StatusCode::NOT_FOUND),
        };
        if head.method == Method::DELETE {
            state.sessions.remove(&session);
        }
        state.messages.push((session.clone(), message.clone()));
        Ok(session)
    }

    /// The one stream that a session may have.
    fn listen(&self, session: &str) -> Response<Answered> {
        let mut state = self.lock();
        if let Some(asked) = &mut state.busy {
            *asked += 1;
            return status(StatusCode::CONFLICT);
        }
        let stream = state.sessions.get_mut(session).unwrap();
        if is_open(stream) {
            return status(StatusCode::CONFLICT);
        }
        let (sender, events) = mpsc::channel(64);
        *stream = Some(sender);
        streaming(events)
    }

    fn stream(&self, id: &Value) -> Response<Answered> {
        let (sender, events) = mpsc::channel(64);
        self.lock().calls.insert(id.to_string(), sender);
        streaming(events)
    }
}

fn is_open(stream: &Option<mpsc::Sender<Bytes>>) -> bool {
    stream.as_ref().is_some_and(|stream| !stream.is_closed())
}

/// A call that ends when this is dropped.
struct Broken(LiveServer, Value);

impl Drop for Broken {
    fn drop(&mut self) {
        self.0.lock().broken.push(self.1.clone());
    }
}

fn capabilities() -> Value {
    json!({"tools": {}, "logging": {}, "resources": {"subscribe": true}})
}

fn status(status: StatusCode) -> Response<Answered> {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = status;
    response
}

fn whole(id: &Value, result: Value) -> Response<Answered> {
    let body = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    let json = "application/json".parse().unwrap();
    response.headers_mut().insert("content-type", json);
    response
}

/// A stream of what the test says.
fn streaming(events: mpsc::Receiver<Bytes>) -> Response<Answered> {
    let frames = futures_util::stream::unfold(events, |mut events| async move {
        let event = events.recv().await?;
        Some((Ok(Frame::data(event)), events))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let events = "text/event-stream".parse().unwrap();
    response.headers_mut().insert("content-type", events);
    response
}
