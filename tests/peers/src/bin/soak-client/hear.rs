//! Listens to a server, and hears of the change that it causes.

use std::time::Duration;

use hyper::{Method, StatusCode, body::Bytes};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    session::{Outcome, Session, broken},
    wire::{Answer, Connection},
};

/// A change that is not heard of for so long may be one of a server that is away.
const UNHEARD: Duration = Duration::from_secs(20);
/// Which subscription a message is for.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

impl Session {
    /// Listens for changes of the resource, causes one, and hears of it.
    pub async fn hear(&mut self, nonce: &str) -> Outcome {
        match timeout(UNHEARD, self.listen(nonce)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => broken("hear", &error),
            Err(_) => Outcome::Error("hear: nothing was heard".to_owned()),
        }
    }

    async fn listen(&mut self, nonce: &str) -> anyhow::Result<Outcome> {
        let uri = self.uri().to_owned();
        // The stream has a connection of its own, and ends with it.
        let (mut ear, address) = (Connection::open(self.address()).await?, self.address().to_owned());
        let stream = match self.is_modern() {
            true => {
                let params = json!({"notifications": {"resourceSubscriptions": [uri]}, "_meta": self.meta(nonce)});
                let listen = json!({"jsonrpc": "2.0", "id": nonce, "method": "subscriptions/listen", "params": params});
                let headers = self.headers(None, "subscriptions/listen");
                ear.ask(Method::POST, &address, &headers, listen.to_string().into())
                    .await
            }
            false => {
                let headers = self.headers(None, "");
                ear.ask(Method::GET, &address, &headers, Bytes::new()).await
            }
        };
        let mut stream = stream?;
        if stream.status != StatusCode::OK {
            return Ok(Outcome::Error(format!("hear: HTTP {}", stream.status.as_u16())));
        }
        if self.is_modern() {
            let Some(first) = stream.message().await? else {
                return Ok(Outcome::Error("hear: the stream ended".to_owned()));
            };
            if first["params"]["_meta"][SUBSCRIPTION] != nonce {
                return Ok(Outcome::Wrong(format!("another's subscription: {first}")));
            }
            if first["params"]["notifications"]["resourceSubscriptions"][0] != *uri {
                return Ok(Outcome::Error("hear: the subscription was not taken".to_owned()));
            }
        } else if let Some(refused) = self.ask(nonce, "resources/subscribe", json!({ "uri": uri })).await? {
            return Ok(refused);
        }
        // Legacy servers may tell of it in the answer to the call.
        let cause = self.cause(&format!("{nonce}-cause")).await?;
        let outcome = match cause {
            Cause::Heard => Outcome::Heard,
            Cause::Refused(refused) => return Ok(refused),
            Cause::Done => self.until_told(&mut stream, &uri, nonce).await?,
        };
        if !self.is_modern()
            && let Some(refused) = self
                .ask(&format!("{nonce}-end"), "resources/unsubscribe", json!({ "uri": uri }))
                .await?
        {
            return Ok(refused);
        }
        Ok(outcome)
    }

    async fn until_told(&self, stream: &mut Answer, uri: &str, nonce: &str) -> anyhow::Result<Outcome> {
        while let Some(message) = stream.message().await? {
            if message["method"] != "notifications/resources/updated" {
                continue;
            }
            let params = &message["params"];
            let is_ours = !self.is_modern() || params["_meta"][SUBSCRIPTION] == nonce;
            return Ok(match params["uri"] == *uri && is_ours {
                true => Outcome::Heard,
                false => Outcome::Wrong(format!("another's change: {message}")),
            });
        }
        Ok(Outcome::Error("hear: the stream ended".to_owned()))
    }

    /// Has the server change the resource.
    async fn cause(&mut self, id: &str) -> anyhow::Result<Cause> {
        let name = format!("{}test_trigger_resource_update", self.prefix());
        let uri = self.uri().to_owned();
        let params = json!({"name": name, "arguments": {}, "_meta": self.meta(id)});
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        let mut answer = self.post(&call, Some(&name)).await?;
        let mut heard = false;
        while let Some(message) = answer.message().await? {
            heard |= message["method"] == "notifications/resources/updated" && message["params"]["uri"] == *uri;
            if message["id"] == id {
                answer.finish().await?;
                return Ok(match message["error"]["code"].as_i64() {
                    Some(code) => Cause::Refused(Outcome::Error(format!("hear: error {code}"))),
                    None if heard => Cause::Heard,
                    None => Cause::Done,
                });
            }
        }
        Ok(Cause::Refused(Outcome::Error(format!(
            "hear: HTTP {}",
            answer.status.as_u16()
        ))))
    }

    /// Asks for something whose result is empty; what came instead, if it was refused.
    async fn ask(&mut self, id: &str, method: &str, params: Value) -> anyhow::Result<Option<Outcome>> {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let mut answer = self.post(&request, None).await?;
        while let Some(message) = answer.message().await? {
            if message["id"] == id {
                let refused = message["error"]["code"].as_i64();
                answer.finish().await?;
                return Ok(refused.map(|code| Outcome::Error(format!("{method}: error {code}"))));
            }
        }
        Ok(Some(Outcome::Error(format!(
            "{method}: HTTP {}",
            answer.status.as_u16()
        ))))
    }
}

/// What came of causing a change.
enum Cause {
    /// It was heard of at once.
    Heard,
    /// The server has done it.
    Done,
    /// It was not done.
    Refused(Outcome),
}
