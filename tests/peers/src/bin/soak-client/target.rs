//! Which server, and what it can be asked.

use std::{fmt, str::FromStr};

/// A server, or the gateway before one.
#[derive(Clone, Debug)]
pub struct Target {
    kind: Kind,
    /// Whether it takes both eras, though its server may not.
    bridged: bool,
    /// What stands before its tools' names; may be nothing.
    pub prefix: String,
    /// Its address and port.
    pub address: String,
    /// The resource whose changes can be heard of; empty: there is none.
    pub uri: String,
}

/// What is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The conformance server.
    Both,
    /// The same, in the modern era only.
    Modern,
    /// `server-everything`, which has the legacy era only.
    Everything,
}

/// What a call is for, and what its answer must be.
pub struct Asked {
    pub tool: &'static str,
    pub arguments: serde_json::Value,
    pub expected: String,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "both" => Ok(Self::Both),
            "modern" => Ok(Self::Modern),
            "everything" => Ok(Self::Everything),
            other => Err(format!("no such kind of server: {other}")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} ({:?})", self.prefix, self.address, self.kind)
    }
}

impl Target {
    /// Reads `KIND,PREFIX,ADDRESS,URI`; the kind of a server behind the gateway has a `+` behind it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let [kind, prefix, address, uri] = text.splitn(4, ',').collect::<Vec<_>>()[..] else {
            return Err("a target is KIND,PREFIX,ADDRESS,URI".to_owned());
        };
        let bare = kind.trim_end_matches('+');
        Ok(Self {
            kind: bare.parse()?,
            bridged: bare != kind,
            prefix: prefix.to_owned(),
            address: address.to_owned(),
            uri: uri.to_owned(),
        })
    }

    /// Whether a client that would like to speak in the modern era does so here.
    pub fn speaks(&self, modern: bool) -> bool {
        match self.kind {
            _ if self.bridged => modern,
            Kind::Both => modern,
            Kind::Modern => true,
            Kind::Everything => false,
        }
    }

    /// What the `number`th call asks.
    pub fn asks(&self, number: usize, modern: bool, nonce: &str) -> Asked {
        use serde_json::json;
        let asked = |tool, arguments, expected: String| Asked {
            tool,
            arguments,
            expected,
        };
        match (self.kind, number % 4) {
            (Kind::Everything, 1) => asked(
                "trigger-long-running-operation",
                json!({"duration": 0.1, "steps": 2}),
                "Long running operation completed. Duration: 0.1 seconds, Steps: 2.".to_owned(),
            ),
            (Kind::Everything, _) => asked("echo", json!({ "message": nonce }), format!("Echo: {nonce}")),
            (_, 1) => asked("test_tool_with_progress", json!({}), "It is done.".to_owned()),
            (Kind::Both, 3) if !modern => asked(
                "test_sampling",
                json!({ "prompt": nonce }),
                format!("LLM response: {nonce}"),
            ),
            _ => asked("greet", json!({ "name": nonce }), format!("Hello, {nonce}!")),
        }
    }
}
