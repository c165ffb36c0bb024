//! One HTTP exchange, and the messages of its answer.

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::AbortHandle};

/// One connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            sender,
            driver: tokio::spawn(connection).abort_handle(),
        })
    }

    /// Whether another exchange is possible.
    pub fn is_good(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request, and takes the head of its answer.
    pub async fn ask(&mut self, method: Method, address: &str, headers: &HeaderMap, body: Bytes) -> Result<Answer> {
        self.sender.ready().await?;
        let mut request = Request::builder().method(method).uri("/mcp").body(Full::new(body))?;
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert("host", address.parse()?);
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok(Answer::new(Response::from_parts(head, body)))
    }
}

/// An answer whose messages are read one by one.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// What the answer's stream can be resumed behind.
    pub last_id: Option<String>,
    events: bool,
    body: Incoming,
    pending: Vec<u8>,
    ended: bool,
}

impl Answer {
    fn new(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let kind = head.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        Self {
            status: head.status,
            events: kind.is_some_and(|kind| kind.starts_with("text/event-stream")),
            headers: head.headers,
            last_id: None,
            body,
            pending: Vec::new(),
            ended: false,
        }
    }

    /// Reads what is left of it, so that its connection can be used again.
    pub async fn finish(mut self) -> Result<()> {
        while let Some(frame) = self.body.frame().await {
            frame?;
        }
        Ok(())
    }

    /// The next message; `None` at the answer's end. An error where it broke off.
    pub async fn message(&mut self) -> Result<Option<Value>> {
        loop {
            if self.events {
                while let Some(end) = self.pending.windows(2).position(|window| window == b"\n\n") {
                    let event: Vec<u8> = self.pending.drain(..end + 2).collect();
                    if let Some(message) = self.event(&event)? {
                        return Ok(Some(message));
                    }
                }
            } else if self.ended && !self.pending.is_empty() {
                let whole = std::mem::take(&mut self.pending);
                return serde_json::from_slice(&whole).map(Some).context("parse an answer");
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(chunk) = frame?.into_data() {
                        self.pending.extend_from_slice(&chunk);
                    }
                }
                None => self.ended = true,
            }
        }
    }

    fn event(&mut self, event: &[u8]) -> Result<Option<Value>> {
        let mut data = String::new();
        for line in String::from_utf8_lossy(event).lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            match field {
                "data" => data.push_str(value.trim_start()),
                "id" => self.last_id = Some(value.trim_start().to_owned()),
                "event" | "retry" | "" => {}
                other => bail!("an event has a field {other:?}"),
            }
        }
        if data.is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&data).map(Some).context("parse an event")
    }
}
