//! A legacy server with sessions, in as few words as the tests need: what it lists is written out, so that the
//! tests see every byte of it.

use std::{
    collections::HashSet,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The server, and what it remembers.
pub(super) struct SessionServer {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    sessions: HashSet<String>,
    opened: usize,
    called: Vec<String>,
    calls: Vec<Shown>,
    credentials: Vec<String>,
    headers: Vec<(String, String)>,
    offers: Offers,
    tasks: Vec<String>,
    /// The answer to the last call, for whoever resumes its stream.
    interrupted: String,
    resumed: Vec<String>,
    forgetful: bool,
    /// Bytes that the ids of its sessions have at least, and the names of the revisions that it chooses.
    lengths: (usize, usize),
    answers: Vec<Value>,
    told: Vec<Value>,
}

/// A call of a tool, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) tool: String,
    pub(super) arguments: Value,
    pub(super) credential: Option<String>,
}

/// What it lists, as it is to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Offers {
    pub(super) tools: String,
    /// What it lists in their place to those who show these credentials.
    pub(super) own_tools: Vec<(&'static str, String)>,
    /// A second page of them; empty: there is none.
    pub(super) more_tools: String,
    pub(super) prompts: String,
    pub(super) resources: String,
    pub(super) templates: String,
    /// It answers with event streams; a stream of its own is one with the list of its tools.
    pub(super) streams: bool,
    /// Its stream of its own: these events, again and again.
    pub(super) unasked: String,
    /// It ends the streams of its calls before the answer, for its client to resume them.
    pub(super) interrupts: bool,
    /// It has tasks, and lists those of all its clients.
    pub(super) tasks: bool,
}

impl SessionServer {
    pub(super) async fn start() -> Self {
        Self::with_tools(r#"{"name":"add","vendor":{"x":1.50e0},"inputSchema":{"type":"object"}},{"name":"big","inputSchema":{"type":"object"}}"#).await
    }

    /// With these tools, as they are to be listed.
    pub(super) async fn with_tools(tools: &str) -> Self {
        Self::offering(Offers {
            tools: tools.to_owned(),
            ..Offers::default()
        })
        .await
    }

    pub(super) async fn offering(offers: Offers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            offers,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, state }
    }

    /// Forgets its sessions, as a restart would.
    pub(super) fn forget_all(&self) {
        self.state.lock().unwrap().sessions.clear();
    }

    /// Lists these tools from now on.
    pub(super) fn set_tools(&self, tools: &str) {
        self.state.lock().unwrap().offers.tools = tools.to_owned();
    }

    /// Lists these tools to those who show a credential, from now on.
    pub(super) fn set_own_tools(&self, credential: &'static str, tools: &str) {
        let own = &mut self.state.lock().unwrap().offers.own_tools;
        own.retain(|(other, _)| *other != credential);
        own.push((credential, tools.to_owned()));
    }

    /// Says from now on, where a session begins, an id and a revision of at least so many bytes.
    pub(super) fn begin_with(&self, id: usize, revision: usize) {
        self.state.lock().unwrap().lengths = (id, revision);
    }

    /// Waits until no more sessions are open than this.
    pub(super) async fn has_no_more_than(&self, sessions: usize) {
        for _ in 0..1_000 {
            if self.state.lock().unwrap().sessions.len() <= sessions {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("left open: {:?}", self.state.lock().unwrap().sessions);
    }

    /// How many sessions were opened.
    pub(super) fn opened(&self) -> usize {
        self.state.lock().unwrap().opened
    }

    /// The answers to the questions that its tool `ask` asks of whoever calls it.
    pub(super) fn answers(&self) -> Vec<Value> {
        self.state.lock().unwrap().answers.clone()
    }

    /// The progress that it was told of.
    pub(super) fn progress(&self) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let told = state
            .told
            .iter()
            .filter(|told| told["method"] == "notifications/progress");
        told.map(|told| told["params"].clone()).collect()
    }

    /// What came in `Authorization`.
    pub(super) fn credentials(&self) -> Vec<String> {
        self.state.lock().unwrap().credentials.clone()
    }

    /// Every header that came, in lower case.
    pub(super) fn headers(&self) -> Vec<(String, String)> {
        self.state.lock().unwrap().headers.clone()
    }

    /// Knows none of its events any more.
    pub(super) fn refuse_to_resume(&self) {
        self.state.lock().unwrap().forgetful = true;
    }

    /// Behind which events its streams were resumed.
    pub(super) fn resumed(&self) -> Vec<String> {
        self.state.lock().unwrap().resumed.clone()
    }

    /// The calls of tools that it got.
    pub(super) fn calls(&self) -> Vec<Shown> {
        self.state.lock().unwrap().calls.clone()
    }

    /// Which tools were called, prompts and resources asked for.
    pub(super) fn called(&self) -> Vec<String> {
        self.state.lock().unwrap().called.clone()
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut state = state.lock().unwrap();
    let credentials = head.headers.get_all("authorization").iter();
    state
        .credentials
        .extend(credentials.map(|value| value.to_str().unwrap().to_owned()));
    let headers = head.headers.iter();
    state.headers.extend(headers.map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), value)
    }));
    let session = head
        .headers
        .get("mcp-session-id")
        .map(|id| id.to_str().unwrap().to_owned());
    let status = |status| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        Ok(response)
    };
    if session
        .as_ref()
        .is_some_and(|session| !state.sessions.contains(session))
    {
        return status(StatusCode::NOT_FOUND);
    }
    if head.method == Method::DELETE {
        state.sessions.remove(&session.unwrap_or_default());
        return status(StatusCode::OK);
    }
    if let Some(last) = head.headers.get("last-event-id") {
        let last = last.to_str().unwrap().to_owned();
        let events = match &*last {
            // Once more it ends early, with something that is not whole at its end.
            _ if state.forgetful => return status(StatusCode::BAD_REQUEST),
            "c1" => format!("id: c2\nretry: 1\ndata: {STEP}\n\ndata: {{\"jsonrpc"),
            "c2" => format!("id: c3\ndata: {}\n\n", state.interrupted),
            _ => return status(StatusCode::BAD_REQUEST),
        };
        state.resumed.push(last);
        return Ok(stream(events));
    }
    if head.method == Method::GET && !state.offers.unasked.is_empty() {
        return Ok(stream(state.offers.unasked.clone()));
    }
    if head.method == Method::GET && state.offers.streams {
        // As if a client resumed the stream of a list request, or had sent it on another connection.
        return Ok(state.list(&json!(2), "tools", &state.offers.tools));
    }
    if head.method != Method::POST {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let id = &asked["id"];
    let Some(method) = asked["method"].as_str() else {
        state.answers.push(asked);
        return status(StatusCode::ACCEPTED);
    };
    let mut response = match method {
        "initialize" => {
            state.opened += 1;
            let (id_length, revision_length) = state.lengths;
            let name = format!("{:-<id_length$}", format!("own-{}", state.opened));
            let revision = asked["params"]["protocolVersion"].as_str().unwrap_or_default();
            state.sessions.insert(name.clone());
            let result = json!({
                "protocolVersion": format!("{revision:-<revision_length$}"), "capabilities": state.capabilities(),
                "serverInfo": {"name": "s", "version": "0"},
            });
            let mut response = whole(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
            response.headers_mut().insert("mcp-session-id", name.parse().unwrap());
            response
        }
        method if method.starts_with("notifications/") => {
            state.told.push(asked);
            return status(StatusCode::ACCEPTED);
        }
        "tools/list" if asked["params"]["cursor"] == "p2" => state.list(id, "tools", &state.offers.more_tools),
        "tools/list" if !state.offers.more_tools.is_empty() => {
            let tools = &state.offers.tools;
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{tools}],"nextCursor":"p2"}}}}"#);
            whole(answer)
        }
        "tools/list" => {
            let shown = head.headers.get("authorization").map(http::HeaderValue::as_bytes);
            let mut own = state.offers.own_tools.iter();
            let own = own.find(|(credential, _)| shown == Some(credential.as_bytes()));
            state.list(id, "tools", own.map_or(&state.offers.tools, |(_, tools)| tools))
        }
        "prompts/list" => state.list(id, "prompts", &state.offers.prompts),
        "resources/list" => state.list(id, "resources", &state.offers.resources),
        "resources/templates/list" => state.list(id, "resourceTemplates", &state.offers.templates),
        "prompts/get" | "resources/read" | "resources/subscribe" | "completion/complete" | "tasks/get" => {
            let params = &asked["params"];
            let names = [
                &params["name"],
                &params["uri"],
                &params["ref"]["name"],
                &params["ref"]["uri"],
                &params["taskId"],
            ];
            let name = names.into_iter().find_map(Value::as_str).unwrap().to_owned();
            let result = match asked["method"].as_str() {
                Some("resources/read") => json!({"contents": [{"uri": name, "text": "t"}]}),
                _ => json!({}),
            };
            state.called.push(name);
            whole(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
        }
        "tools/call" if asked["params"]["task"].is_object() => {
            let task = format!("t-{}", state.tasks.len());
            let result = json!({"task": {"taskId": &task, "status": "working"}});
            state.tasks.push(task);
            whole(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
        }
        "tasks/list" => {
            let task = |task: &String| json!({"taskId": task, "status": "working"});
            let tasks: Vec<Value> = state.tasks.iter().map(task).collect();
            whole(json!({"jsonrpc": "2.0", "id": id, "result": {"tasks": tasks}}).to_string())
        }
        "tools/call" if asked["params"]["name"] == "ask" => {
            let question = json!({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": {"_meta": {"progressToken": 7}}});
            let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}});
            let mut response = whole(format!("data: {question}\n\ndata: {answer}\n\n"));
            let events = "text/event-stream".parse().unwrap();
            response.headers_mut().insert("content-type", events);
            response
        }
        "tools/call" => {
            let tool = asked["params"]["name"].as_str().unwrap().to_owned();
            let content = json!([{"type": "text", "text": format!("{tool} of {}", session.unwrap_or_default())}]);
            let credential = head.headers.get("authorization");
            state.calls.push(Shown {
                tool: tool.clone(),
                arguments: asked["params"]["arguments"].clone(),
                credential: credential.map(|value| value.to_str().unwrap().to_owned()),
            });
            state.called.push(tool);
            let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"content": content}}).to_string();
            if !state.offers.interrupts {
                whole(answer)
            } else {
                state.interrupted = answer;
                stream("id: c1\nretry: 1\ndata: \n\n".to_owned())
            }
        }
        "server/discover" | "vendor/unknown" => {
            whole(json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "?"}}).to_string())
        }
        _ => whole(json!({"jsonrpc": "2.0", "id": id, "result": {}}).to_string()),
    };
    response
        .headers_mut()
        .entry("content-type")
        .or_insert_with(|| "application/json".parse().unwrap());
    Ok(response)
}

impl State {
    fn capabilities(&self) -> Value {
        if self.offers.tasks {
            return json!({"tools": {}, "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}});
        }
        match self.offers.prompts.is_empty() {
            true => json!({"tools": {}, "logging": {}}),
            false => json!({"tools": {}, "logging": {}, "prompts": {}, "resources": {}, "completions": {}}),
        }
    }

    fn list(&self, id: &Value, member: &str, items: &str) -> Response<Full<Bytes>> {
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"{member}":[{items}]}}}}"#);
        if !self.offers.streams {
            return whole(answer);
        }
        let mut response = whole(format!(
            ": hello\n\nid: 6\ndata: \n\nevent: message\nid: 7\ndata: {answer}\n\n"
        ));
        let events = "text/event-stream".parse().unwrap();
        response.headers_mut().insert("content-type", events);
        response
    }
}

const STEP: &str = r#"{"jsonrpc":"2.0","method":"notifications/vendor/step","params":{"step":1}}"#;

fn stream(events: String) -> Response<Full<Bytes>> {
    let mut response = whole(events);
    let events = "text/event-stream".parse().unwrap();
    response.headers_mut().insert("content-type", events);
    response
}

fn whole(body: String) -> Response<Full<Bytes>> {
    Response::new(Full::new(body.into()))
}
