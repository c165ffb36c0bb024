//! One client at one server.

use hyper::{HeaderMap, Method, StatusCode, body::Bytes};
use serde_json::{Value, json};

use crate::{
    target::{Asked, Target},
    wire::{Answer, Connection},
};

/// How a step came out.
pub enum Outcome {
    /// The session is open.
    Opened,
    /// The right answer came, after so many notes on how far it was.
    Right { steps: usize, asked: bool },
    /// The change that it caused was heard of.
    Heard,
    /// It was refused, or broke off: the client knows that there is no answer.
    Error(String),
    /// Something came that is another call's.
    Wrong(String),
    /// The exchange ended as if all were well, and there was no answer.
    Lost(String),
}

/// A call under way.
struct Call<'a> {
    nonce: &'a str,
    tool: &'static str,
    expected: String,
}

/// One client at one server; in the modern era there is nothing to open.
pub struct Session {
    target: Target,
    modern: bool,
    id: Option<String>,
    connection: Option<Connection>,
}

impl Session {
    pub fn new(target: &Target, modern: bool) -> Self {
        Self {
            target: target.clone(),
            modern,
            id: None,
            connection: None,
        }
    }

    pub fn is_modern(&self) -> bool {
        self.modern
    }

    pub fn address(&self) -> &str {
        &self.target.address
    }

    pub fn prefix(&self) -> &str {
        &self.target.prefix
    }

    pub fn uri(&self) -> &str {
        &self.target.uri
    }

    /// What a request says beside its parameters.
    pub fn meta(&self, nonce: &str) -> Value {
        let mut meta = json!({ "progressToken": nonce });
        if self.modern {
            meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        meta
    }

    /// Opens it.
    pub async fn open(&mut self) -> Outcome {
        if self.modern {
            return Outcome::Opened;
        }
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"sampling": {}},
            "clientInfo": {"name": "soak", "version": "1"},
        });
        let initialize = json!({"jsonrpc": "2.0", "id": "open", "method": "initialize", "params": params});
        let mut answer = match self.post(&initialize, None).await {
            Ok(answer) => answer,
            Err(error) => return broken("open", &error),
        };
        if answer.status != StatusCode::OK {
            return Outcome::Error(format!("open: HTTP {}", answer.status.as_u16()));
        }
        self.id = answer
            .headers
            .get("mcp-session-id")
            .and_then(|id| id.to_str().ok())
            .map(str::to_owned);
        loop {
            match answer.message().await {
                Ok(Some(message)) if message["id"] == "open" => break,
                Ok(Some(_)) => {}
                Ok(None) => return Outcome::Lost("initialize was not answered".to_owned()),
                Err(error) => return broken("open", &error),
            }
        }
        if let Err(error) = answer.finish().await {
            return broken("open", &error);
        }
        match self
            .post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}), None)
            .await
        {
            Ok(answer) if answer.status.is_success() => {
                drop(answer.finish().await);
                Outcome::Opened
            }
            Ok(answer) => Outcome::Error(format!("open: HTTP {}", answer.status.as_u16())),
            Err(error) => broken("open", &error),
        }
    }

    /// The `number`th call.
    pub async fn call(&mut self, number: usize, nonce: &str) -> Outcome {
        let Asked {
            tool,
            arguments,
            expected,
        } = self.target.asks(number, self.modern, nonce);
        let name = format!("{}{tool}", self.prefix());
        let params = json!({"name": name, "arguments": arguments, "_meta": self.meta(nonce)});
        let request = json!({"jsonrpc": "2.0", "id": nonce, "method": "tools/call", "params": params});
        let call = Call { nonce, tool, expected };
        match self.post(&request, Some(&name)).await {
            Ok(answer) => self.answered(&call, answer).await,
            Err(error) => broken("call", &error),
        }
    }

    /// Reads the answer of a call, and comes back for it where its stream ends early and can be resumed.
    async fn answered(&mut self, call: &Call<'_>, answer: Answer) -> Outcome {
        let (mut answer, mut steps, mut asked, mut resumed) = (answer, 0, false, false);
        loop {
            let message = match answer.message().await {
                Ok(Some(message)) => message,
                Err(error) => return broken("call", &error),
                Ok(None) => match &answer.last_id {
                    Some(last) if !resumed && !self.modern => {
                        resumed = true;
                        answer = match self.resume(last.clone()).await {
                            Ok(answer) if answer.status == StatusCode::OK => answer,
                            Ok(answer) => return Outcome::Error(format!("resume: HTTP {}", answer.status.as_u16())),
                            Err(error) => return broken("resume", &error),
                        };
                        continue;
                    }
                    _ if !answer.status.is_success() => {
                        return Outcome::Error(format!("call: HTTP {}", answer.status.as_u16()));
                    }
                    _ => return Outcome::Lost("the answer ended without one".to_owned()),
                },
            };
            let known = |value: &Value| value == call.nonce;
            match message["method"].as_str() {
                Some("sampling/createMessage") => {
                    let text = &message["params"]["messages"][0]["content"]["text"];
                    if !known(text) {
                        return Outcome::Wrong(format!("another's question: {message}"));
                    }
                    asked = true;
                    if let Err(error) = self.answer(&message["id"], text).await {
                        return broken("answer", &error);
                    }
                }
                Some("notifications/progress") if !known(&message["params"]["progressToken"]) => {
                    return Outcome::Wrong(format!("another's progress: {message}"));
                }
                Some("notifications/progress") => steps += 1,
                Some(_) => {}
                None if !known(&message["id"]) && !message["error"].is_object() => {
                    return Outcome::Wrong(format!("another's answer: {message}"));
                }
                None if message["error"].is_object() => {
                    return Outcome::Error(format!("call: error {}", message["error"]["code"]));
                }
                None if message["result"]["content"][0]["text"] != call.expected => {
                    return Outcome::Wrong(format!("{:?} was expected of {}: {message}", call.expected, call.tool));
                }
                None => {
                    return match answer.finish().await {
                        Ok(()) => Outcome::Right { steps, asked },
                        Err(error) => broken("call", &error),
                    };
                }
            }
        }
    }

    /// Ends it.
    pub async fn end(&mut self) {
        if self.id.is_none() {
            return;
        }
        let headers = self.headers(None, "");
        let address = self.address().to_owned();
        if let Ok(connection) = self.connection().await {
            // A server that is away needs no farewell.
            drop(connection.ask(Method::DELETE, &address, &headers, Bytes::new()).await);
        }
    }

    /// Answers a server's question, over a connection of its own: the call's is in use.
    async fn answer(&self, id: &Value, text: &Value) -> anyhow::Result<()> {
        let said = json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": text}});
        let body = json!({"jsonrpc": "2.0", "id": id, "result": said});
        let mut connection = Connection::open(self.address()).await?;
        let headers = self.headers(None, "");
        let answer = connection
            .ask(Method::POST, self.address(), &headers, body.to_string().into())
            .await?;
        anyhow::ensure!(answer.status.is_success(), "HTTP {}", answer.status.as_u16());
        answer.finish().await
    }

    async fn resume(&mut self, last: String) -> anyhow::Result<Answer> {
        let mut headers = self.headers(None, "");
        headers.insert("last-event-id", last.parse()?);
        let address = self.address().to_owned();
        let connection = self.connection().await?;
        connection.ask(Method::GET, &address, &headers, Bytes::new()).await
    }

    pub async fn post(&mut self, body: &Value, name: Option<&str>) -> anyhow::Result<Answer> {
        let headers = self.headers(name, body["method"].as_str().unwrap_or_default());
        let address = self.address().to_owned();
        let connection = self.connection().await?;
        connection
            .ask(Method::POST, &address, &headers, body.to_string().into())
            .await
    }

    pub fn headers(&self, name: Option<&str>, method: &str) -> HeaderMap {
        let version = if self.modern { "2026-07-28" } else { "2025-11-25" };
        let mut headers = HeaderMap::new();
        let mut insert = |header: &'static str, value: &str| {
            if let Ok(value) = value.parse() {
                headers.insert(header, value);
            }
        };
        insert("content-type", "application/json");
        insert("accept", "application/json, text/event-stream");
        insert("mcp-protocol-version", version);
        if let Some(id) = &self.id {
            insert("mcp-session-id", id);
        }
        if self.modern {
            insert("mcp-method", method);
            if let Some(name) = name {
                insert("mcp-name", name);
            }
        }
        headers
    }

    /// The connection, opened again if it has ended.
    async fn connection(&mut self) -> anyhow::Result<&mut Connection> {
        let good = self.connection.take().filter(Connection::is_good);
        let connection = match good {
            Some(connection) => connection,
            None => Connection::open(self.address()).await?,
        };
        Ok(self.connection.insert(connection))
    }
}

/// An exchange that broke off: the client knows it.
pub fn broken(what: &str, error: &anyhow::Error) -> Outcome {
    let root = error.root_cause().to_string();
    Outcome::Error(format!("{what}: {root}"))
}
