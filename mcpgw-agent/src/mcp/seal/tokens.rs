//! What each kind of token holds. The names of members are short, because every request carries a session's.

use std::{net::SocketAddr, time::Duration};

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Purpose,
    token::{Owner, Token, TokenError, bytes_16},
};

/// Bytes of one JSON value of the client's that a session keeps.
pub const MAX_KEPT: usize = 2 * 1024;

const HOUR: u64 = 60 * 60;
/// How long a session lasts, whatever its transport. Clients take its end badly, and it holds nothing here.
pub const SESSION_AGE: Duration = Duration::from_secs(7 * 24 * HOUR);
/// How long after a page the next one may be asked for.
const CURSOR_AGE: Duration = Duration::from_secs(HOUR);

/// `value`, if it is small enough to be kept in a session.
pub fn kept(value: Option<&RawValue>) -> Option<Box<RawValue>> {
    value
        .filter(|value| value.get().len() <= MAX_KEPT)
        .map(ToOwned::to_owned)
}

/// Tells sessions apart that hold the same, and names one that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nonce(#[serde(with = "bytes_16")] [u8; 16]);

impl Nonce {
    /// A new one. Fails only if the system has no randomness.
    pub fn random() -> Result<Self, TokenError> {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).map_err(|_| TokenError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// Which of `count` shards it belongs to.
    pub fn shard(&self, count: usize) -> usize {
        let [first, second, ..] = self.0;
        usize::from(u16::from_le_bytes([first, second])) % count
    }
}

/// The session of a redirected client with the server that it dialled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RedirectedSession {
    /// The server's own session id.
    #[serde(rename = "u")]
    pub upstream: String,
    /// The server, as `namespace/name`.
    #[serde(rename = "s")]
    pub server: String,
    /// Which of its endpoints has the session.
    #[serde(rename = "e")]
    pub endpoint: SocketAddr,
    /// Whose it is.
    #[serde(rename = "o")]
    pub owner: Owner,
    /// The revision that was agreed on.
    #[serde(rename = "r")]
    pub revision: String,
    /// When it began, in seconds of Unix time.
    #[serde(rename = "t")]
    pub issued: u64,
    /// The `params` of its `initialize`, if [`kept`]: a session that the server lost is opened again with them.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub initialize: Option<Box<RawValue>>,
    /// Tells it from others.
    #[serde(rename = "n")]
    pub nonce: Nonce,
}

/// The session of a client of the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GatewaySession {
    /// Whose it is.
    #[serde(rename = "o")]
    pub owner: Owner,
    /// The revision that was agreed on.
    #[serde(rename = "r")]
    pub revision: String,
    /// The client's `clientInfo`, if [`kept`].
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub client_info: Option<Box<RawValue>>,
    /// The client's `capabilities`, if [`kept`].
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Box<RawValue>>,
    /// The virtual server that it is with; `None`: the whole.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
    /// When it began, in seconds of Unix time.
    #[serde(rename = "t")]
    pub issued: u64,
    /// Tells it from others.
    #[serde(rename = "n")]
    pub nonce: Nonce,
}

/// A list that comes in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ListKind {
    /// `tools/list`
    #[serde(rename = "t")]
    Tools,
    /// `prompts/list`
    #[serde(rename = "p")]
    Prompts,
    /// `resources/list`
    #[serde(rename = "r")]
    Resources,
    /// `resources/templates/list`
    #[serde(rename = "x")]
    Templates,
    /// `tasks/list`
    #[serde(rename = "k")]
    Tasks,
}

/// Where the next page of a list begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The list.
    #[serde(rename = "k")]
    pub kind: ListKind,
    /// The virtual server whose list it is; `None`: the whole.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
    /// Whose list it is.
    #[serde(rename = "o")]
    pub owner: Owner,
    /// The key of the last item that was given: it stays right when items come and go.
    #[serde(rename = "p")]
    pub position: String,
    /// When the page before was given, in seconds of Unix time.
    #[serde(rename = "t")]
    pub issued: u64,
}

impl Cursor {
    /// As [`Token::open`], for this list and no other.
    pub fn open_for(
        list: (ListKind, Option<&str>),
        sealer: &super::Sealer,
        token: &str,
        owner: Owner,
        now: u64,
    ) -> Result<Self, TokenError> {
        let cursor = Self::open(sealer, token, owner, now)?;
        match (cursor.kind, cursor.catalog.as_deref()) == list {
            true => Ok(cursor),
            false => Err(TokenError::Forged),
        }
    }
}

/// A request that a server sent to a client: what the client takes for its id. The same request makes the same token,
/// so that the server can take it back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerRequest {
    /// The server, as `namespace/name`.
    #[serde(rename = "s")]
    pub server: String,
    /// The upstream session that it came in: tells apart the same id of two sessions.
    #[serde(rename = "u")]
    pub session: String,
    /// The id that the server gave it, as it was written.
    #[serde(rename = "i")]
    pub id: Box<RawValue>,
    /// Who was asked.
    #[serde(rename = "o")]
    pub owner: Owner,
}

/// By what a server wants to be told of the progress of a request that it sent to a client: what the client takes for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerProgress {
    /// The server, as `namespace/name`.
    #[serde(rename = "s")]
    pub server: String,
    /// The upstream session that the request came in.
    #[serde(rename = "u")]
    pub session: String,
    /// The token that the server gave it, as it was written.
    #[serde(rename = "i")]
    pub token: Box<RawValue>,
    /// Who was asked.
    #[serde(rename = "o")]
    pub owner: Owner,
}

/// A server's task: what a client takes for its id. The same task makes the same token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The server, as `namespace/name`.
    #[serde(rename = "s")]
    pub server: String,
    /// The id that the server gave it.
    #[serde(rename = "i")]
    pub task: String,
    /// Whose it is.
    #[serde(rename = "o")]
    pub owner: Owner,
}

/// An event of a server's stream: what a client takes for its id, to resume the stream behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPlace {
    /// The server, as `namespace/name`.
    #[serde(rename = "s")]
    pub server: String,
    /// The upstream session that it came in.
    #[serde(rename = "u")]
    pub upstream: String,
    /// The id that the server gave it.
    #[serde(rename = "i")]
    pub id: String,
    /// The session that it went to.
    #[serde(rename = "n")]
    pub session: Nonce,
    /// Whose that is.
    #[serde(rename = "o")]
    pub owner: Owner,
    /// The method of the call whose stream it is.
    #[serde(rename = "m")]
    pub method: String,
    /// What that is about, in the server's own words.
    #[serde(rename = "b")]
    pub subject: Option<String>,
    /// The id of the call, as it is written in the request.
    #[serde(rename = "r")]
    pub request: String,
    /// Until when the call may take, in seconds of Unix time.
    #[serde(rename = "e")]
    pub until: u64,
}

impl Token for RedirectedSession {
    const PURPOSE: Purpose = Purpose::Redirected;
    const MAX_AGE: Option<Duration> = Some(SESSION_AGE);

    fn owner(&self) -> Owner {
        self.owner
    }

    fn issued(&self) -> Option<u64> {
        Some(self.issued)
    }
}

impl Token for GatewaySession {
    const PURPOSE: Purpose = Purpose::Session;
    const MAX_AGE: Option<Duration> = Some(SESSION_AGE);

    fn owner(&self) -> Owner {
        self.owner
    }

    fn issued(&self) -> Option<u64> {
        Some(self.issued)
    }
}

impl Token for Cursor {
    const PURPOSE: Purpose = Purpose::Cursor;
    const MAX_AGE: Option<Duration> = Some(CURSOR_AGE);

    fn owner(&self) -> Owner {
        self.owner
    }

    fn issued(&self) -> Option<u64> {
        Some(self.issued)
    }
}

impl Token for ServerRequest {
    const PURPOSE: Purpose = Purpose::Request;
    const MAX_AGE: Option<Duration> = None;

    fn owner(&self) -> Owner {
        self.owner
    }

    fn issued(&self) -> Option<u64> {
        None
    }
}

impl Token for ServerProgress {
    const PURPOSE: Purpose = Purpose::Progress;
    // The server knows when it no longer wants to hear of it.
    const MAX_AGE: Option<Duration> = None;

    fn owner(&self) -> Owner {
        self.owner
    }

    fn issued(&self) -> Option<u64> {
        None
    }
}

impl Token for Task {
    const PURPOSE: Purpose = Purpose::Task;
    const MAX_AGE: Option<Duration> = None;

    fn owner(&self) -> Owner {
        self.owner
    }

    fn issued(&self) -> Option<u64> {
        None
    }
}

impl Token for EventPlace {
    const PURPOSE: Purpose = Purpose::Event;
    // It is good for as long as its session is.
    const MAX_AGE: Option<Duration> = None;

    fn owner(&self) -> Owner {
        self.owner
    }

    fn issued(&self) -> Option<u64> {
        None
    }
}
