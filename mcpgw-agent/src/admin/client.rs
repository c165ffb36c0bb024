//! The CLI's side of the Unix socket.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Status;
use crate::{
    datapath::Explanation,
    pins::{Approve, Pinned},
};

/// How long the agent may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Size of an answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Why the agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No agent listens there.
    #[error("no agent is running: nothing listens on {0}")]
    NoAgent(PathBuf),
    /// The socket cannot be used.
    #[error("cannot connect to the agent at {path}: {source}; are you root, as the agent is?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The connection broke, or what came over it was no answer of ours.
    #[error("the agent at {path} gave no proper answer to {request}: {reason}")]
    Answer {
        /// The socket.
        path: PathBuf,
        /// What was asked.
        request: String,
        /// What is wrong.
        reason: String,
    },
    /// The agent refused the question.
    #[error("{0}")]
    Refused(String),
}

/// Asks the agent of a node.
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Will connect to `socket`.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// The agent's whole state.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/status").await
    }

    /// What would happen if `workload` (`namespace/name`) connected to `to`.
    pub async fn explain(&self, workload: &str, to: SocketAddr) -> Result<Explanation, ClientError> {
        self.get(&format!("/explain?workload={workload}&to={to}")).await
    }

    /// Pinned servers and their tools.
    pub async fn pins(&self) -> Result<Vec<Pinned>, ClientError> {
        self.get("/pins").await
    }

    /// One pinned server (`namespace/name`), with the definitions of its tools; none if it is not pinned.
    pub async fn pins_of(&self, server: &str) -> Result<Option<Pinned>, ClientError> {
        let found: Vec<Pinned> = self.get(&format!("/pins?server={server}")).await?;
        Ok(found.into_iter().next())
    }

    /// Approves definitions of tools, all of them or none.
    pub async fn approve(&self, wanted: &Approve) -> Result<(), ClientError> {
        let body = serde_json::to_vec(wanted).map_err(|error| ClientError::Refused(error.to_string()))?;
        let Done {} = self.ask(Method::POST, "/pins", body.into()).await?;
        Ok(())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, ClientError> {
        let bad = |reason: String| ClientError::Answer {
            path: self.socket.clone(),
            request: path.to_owned(),
            reason,
        };
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| self.not_connected(source))?;
        let exchange = exchange(stream, method, path, body);
        let (status, body) = match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(answer) => answer.map_err(|error| bad(error.to_string()))?,
            Err(_) => return Err(bad(format!("nothing came within {TIMEOUT:?}"))),
        };
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| bad(error.to_string()));
        }
        match serde_json::from_slice::<serde_json::Value>(&body)
            .ok()
            .as_ref()
            .and_then(|body| body["error"].as_str())
        {
            Some(reason) => Err(ClientError::Refused(reason.to_owned())),
            None => Err(bad(format!("status {status}"))),
        }
    }

    fn not_connected(&self, source: io::Error) -> ClientError {
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoAgent(self.socket.clone()),
            _ => ClientError::Connect {
                path: self.socket.clone(),
                source,
            },
        }
    }
}

/// An answer that says no more.
#[derive(serde::Deserialize)]
struct Done {}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), BoxError> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "mcpgw")
        .body(Full::new(body))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let talk = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await?
            .to_bytes();
        Ok((status, body))
    };
    tokio::pin!(talk, connection);
    tokio::select! {
        answer = &mut talk => answer,
        // The server closes after its answer: what has come is still to be read.
        ended = &mut connection => {
            ended?;
            talk.await
        }
    }
}
