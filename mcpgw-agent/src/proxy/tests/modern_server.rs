//! A server of the modern era only, which asks a question before it answers a call.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The server, and what it was asked.
pub(super) struct ModernServer {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Value>>>,
}

/// Whom its lists are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Everybody: one tool, `greet`.
    Public,
    /// Who asked: one more tool, with another name each time.
    Private,
    /// Who asked: it takes the second list request, and never answers.
    Silent,
}

impl ModernServer {
    pub(super) async fn start() -> Self {
        Self::listing(Scope::Public).await
    }

    /// Its lists are for the one who asks: one more tool, with another name each time.
    pub(super) async fn private() -> Self {
        Self::listing(Scope::Private).await
    }

    /// Its lists are for the one who asks, and only the first to ask gets one.
    pub(super) async fn silent() -> Self {
        Self::listing(Scope::Silent).await
    }

    async fn listing(scope: Scope) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let asked = Arc::clone(&shared);
                let service = service_fn(move |request| answer(scope, Arc::clone(&asked), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, asked }
    }

    /// The calls of tools that it got.
    pub(super) fn calls(&self) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|asked| asked["method"] == "tools/call")
            .cloned()
            .collect()
    }
}

async fn answer(
    scope: Scope,
    asked: Arc<Mutex<Vec<Value>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    asked.lock().unwrap().push(message.clone());
    let result = match head.headers.get("mcp-method").map(http::HeaderValue::as_bytes) {
        Some(b"server/discover") => json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}},
            "ttlMs": 60000, "cacheScope": "public",
        }),
        Some(b"tools/list") if scope != Scope::Public => {
            let is_list = |asked: &&Value| asked["method"] == "tools/list";
            let number = asked.lock().unwrap().iter().filter(is_list).count();
            if scope == Scope::Silent && number > 1 {
                std::future::pending::<()>().await;
            }
            json!({
                "resultType": "complete", "ttlMs": 60000, "cacheScope": "private",
                "tools": [{"name": format!("own-{number}"), "inputSchema": {"type": "object"}}],
            })
        }
        Some(b"tools/list") => json!({
            "resultType": "complete", "ttlMs": 60000, "cacheScope": "public",
            "tools": [{"name": "greet", "inputSchema": {"type": "object"}}],
        }),
        Some(b"subscriptions/listen") => return Ok(listen(&message)),
        Some(b"tools/call") if message["params"]["arguments"]["later"].is_string() => json!({
            "resultType": "task", "taskId": message["params"]["arguments"]["later"], "status": "working",
        }),
        Some(b"resources/read") => return Ok(refusal(&message["id"], StatusCode::OK, -32602)),
        Some(b"tools/call") if message["params"]["arguments"]["wanted"].is_i64() => {
            let code = message["params"]["arguments"]["wanted"].as_i64().unwrap();
            return Ok(refusal(&message["id"], StatusCode::BAD_REQUEST, code));
        }
        Some(b"tools/call") if message["params"]["arguments"]["questions"].is_u64() => {
            let questions = 0..message["params"]["arguments"]["questions"].as_u64().unwrap();
            let question = |number| {
                let question = json!({"method": "elicitation/create", "params": {"message": format!("{number}?")}});
                (format!("q{number}"), question)
            };
            let questions: serde_json::Map<String, Value> = questions.map(question).collect();
            json!({"resultType": "input_required", "inputRequests": questions})
        }
        Some(b"tools/call") if message["params"]["inputResponses"].is_null() => json!({
            "resultType": "input_required", "requestState": "st\u{e4}te",
            "inputRequests": {"who": {"method": "elicitation/create", "params": {"message": "Who?"}}},
        }),
        Some(b"tools/call") => {
            let name = &message["params"]["inputResponses"]["who"]["content"]["name"];
            json!({"resultType": "complete", "content": [{"type": "text", "text": format!("Hello, {name}")}]})
        }
        _ => {
            let mut refused = Response::new(Full::default());
            *refused.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            return Ok(refused);
        }
    };
    let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
    let mut response = Response::new(Full::new(body.into()));
    response
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    Ok(response)
}

/// Tells once of each task that is asked for but `unheard`, and of one more that is not, and ends.
fn listen(message: &Value) -> Response<Full<Bytes>> {
    let meta = json!({"io.modelcontextprotocol/subscriptionId": message["id"]});
    let asked = message["params"]["notifications"]["taskIds"].as_array().cloned();
    let told: Vec<Value> = asked.into_iter().flatten().filter(|id| id != "unheard").collect();
    let says = |method: &str, mut params: Value| {
        params["_meta"] = meta.clone();
        format!(
            "data: {}\n\n",
            json!({"jsonrpc": "2.0", "method": method, "params": params})
        )
    };
    let mut events = says(
        "notifications/subscriptions/acknowledged",
        json!({"notifications": {"taskIds": told}}),
    );
    for id in [json!("others")].iter().chain(&told) {
        events += &says("notifications/tasks", json!({"taskId": id, "status": "completed"}));
    }
    let mut response = Response::new(Full::new(events.into()));
    let media = "text/event-stream".parse().unwrap();
    response.headers_mut().insert("content-type", media);
    response
}

fn refusal(id: &Value, status: StatusCode, code: i64) -> Response<Full<Bytes>> {
    let body = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no"}}).to_string();
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let json = "application/json".parse().unwrap();
    response.headers_mut().insert("content-type", json);
    response
}
