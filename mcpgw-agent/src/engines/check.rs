//! What a policy engine is told about a request: the attributes of Envoy's `CheckRequest`.
//!
//! | attribute | says |
//! |---|---|
//! | `source.principal` | the principal that budgets belong to |
//! | `source.service` | the workload, as `namespace/name`; empty where the kernel knows none |
//! | `destination.service` | the server, as `namespace/name` |
//! | `request.time` | now |
//! | `request.http.id` | the JSON-RPC id, as it was written |
//! | `request.http.method`, `.path`, `.protocol` | of the HTTP request; the path without its query |
//! | `request.http.headers` | those of [`TOLD`]: none that could be a credential |
//! | `contextExtensions` | `path` (`redirected` or `gateway`), `mcp.method`, `mcp.server`, one of `mcp.tool`, `mcp.prompt`, `mcp.resource`, `mcp.task` (the server's own name), `identity.principal`, `.namespace`, `.serviceAccount`, `.workload`, `.issuer`, `.subject`; what there is not is left out |
//! | `metadataContext.filterMetadata.mcpgw` | the same as an object, `{path, mcp: {…}, identity: {…}}`, with `identity.groups`, and `mcp.arguments` where the engine is told them |

use std::{collections::HashMap, time::SystemTime};

use envoy_types::pb::{
    envoy::{
        config::core::v3::Metadata,
        service::auth::v3::{
            AttributeContext, CheckRequest,
            attribute_context::{HttpRequest, Peer, Request},
        },
    },
    google::protobuf::{ListValue, Struct, Timestamp, Value, value},
};
use http::{HeaderMap, Version};
use serde_json::{Value as Json, value::RawValue};

use super::limits::{MAX_ID_BYTES, MAX_SAFE_INTEGER};
use crate::{
    identity::Caller,
    mcp::{
        governed::{Governed, Kind},
        part::Part,
    },
    policy::MAX_ARGUMENTS,
    resources::ObjectName,
};

/// The name of our part of the metadata.
const OURS: &str = "mcpgw";
/// Headers that an engine is told.
pub const TOLD: [&str; 13] = [
    "accept",
    "content-type",
    "host",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "origin",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
];

/// A request that an engine is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// How the request came: `redirected` or `gateway`.
    pub path: &'a str,
    /// The server.
    pub server: &'a ObjectName,
    /// What it is about, by the server's own name.
    pub governed: Governed<'a>,
    /// With which arguments, where the engine is told them.
    pub arguments: Option<Part<'a>>,
    /// The JSON-RPC id.
    pub id: Option<&'a RawValue>,
    /// The path of the HTTP request.
    pub http_path: &'a str,
    /// Its version.
    pub version: Version,
    /// Its headers.
    pub headers: &'a HeaderMap,
}

/// Arguments that cannot be told as they are, and so are not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// They are too long.
    #[error("the arguments are {0} bytes long")]
    Long(usize),
    /// They can be read in two ways, or not at all.
    #[error("the arguments cannot be read: {0}")]
    Unreadable(String),
    /// The protocol would round a number.
    #[error("the arguments have a number that the protocol cannot tell exactly")]
    Number,
}

impl Check<'_> {
    /// The question.
    ///
    /// # Errors
    /// The engine would decide about other arguments than the server gets.
    pub fn message(&self) -> Result<CheckRequest, Untold> {
        let facts = self.facts();
        let extensions = facts.iter().map(|(group, name, value)| {
            let key = match group {
                Group::Own => (*name).to_owned(),
                Group::Mcp => format!("mcp.{name}"),
                Group::Identity => format!("identity.{name}"),
            };
            (key, value.clone())
        });
        Ok(CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(Peer {
                    principal: self.caller.principal(),
                    service: self.workload().unwrap_or_default(),
                    ..Peer::default()
                }),
                destination: Some(Peer {
                    service: self.server.to_string(),
                    ..Peer::default()
                }),
                request: Some(Request {
                    time: Some(now()),
                    http: Some(self.http()),
                }),
                context_extensions: extensions.collect(),
                metadata_context: Some(self.metadata(&facts)?),
                ..AttributeContext::default()
            }),
        })
    }

    fn workload(&self) -> Option<String> {
        let workload = self.caller.workload.as_ref();
        workload.map(|workload| workload.workload.to_string())
    }

    /// All that is told as text.
    fn facts(&self) -> Vec<(Group, &'static str, String)> {
        let Governed { method, kind, name } = self.governed;
        let (caller, token) = (self.caller, self.caller.token.as_deref());
        let account = caller.account();
        let about = match kind {
            Kind::Tool => Some("tool"),
            Kind::Prompt => Some("prompt"),
            Kind::Resource => Some("resource"),
            Kind::Task => Some("task"),
            Kind::Other => None,
        };
        let known = [
            (Group::Own, "path", Some(self.path.to_owned())),
            (Group::Mcp, "method", Some(method.to_owned())),
            (Group::Mcp, "server", Some(self.server.to_string())),
            (Group::Mcp, about.unwrap_or_default(), about.map(|_| name.to_owned())),
            (Group::Identity, "principal", Some(caller.principal())),
            (
                Group::Identity,
                "namespace",
                account.map(|(namespace, _)| namespace.to_string()),
            ),
            (
                Group::Identity,
                "serviceAccount",
                account.map(|(_, name)| name.to_string()),
            ),
            (Group::Identity, "workload", self.workload()),
            (Group::Identity, "issuer", token.map(|token| token.issuer.to_string())),
            (Group::Identity, "subject", token.map(|token| token.subject.to_string())),
        ];
        let known = known.into_iter();
        known
            .filter_map(|(group, name, value)| Some((group, name, value?)))
            .collect()
    }

    fn http(&self) -> HttpRequest {
        let id = self.id.map_or("", RawValue::get);
        let headers = TOLD.iter().filter_map(|name| {
            let values = self.headers.get_all(*name).iter();
            let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
            (!values.is_empty()).then(|| ((*name).to_owned(), values.join(",")))
        });
        HttpRequest {
            id: id[..id.floor_char_boundary(MAX_ID_BYTES)].to_owned(),
            method: "POST".to_owned(),
            headers: headers.collect(),
            path: self.http_path.to_owned(),
            protocol: format!("{:?}", self.version),
            ..HttpRequest::default()
        }
    }

    fn metadata(&self, facts: &[(Group, &'static str, String)]) -> Result<Metadata, Untold> {
        let of = |wanted: Group| {
            let facts = facts.iter().filter(move |(group, ..)| *group == wanted);
            facts.map(|(_, name, value)| ((*name).to_owned(), text(value)))
        };
        let mut mcp: HashMap<String, Value> = of(Group::Mcp).collect();
        if let Some(arguments) = self.arguments()? {
            mcp.insert("arguments".to_owned(), arguments);
        }
        let mut identity: HashMap<String, Value> = of(Group::Identity).collect();
        if let Some(token) = &self.caller.token {
            let groups = token.groups.iter().map(|group| text(group)).collect();
            identity.insert("groups".to_owned(), list(groups));
        }
        let mut all: HashMap<String, Value> = of(Group::Own).collect();
        all.insert("mcp".to_owned(), object(mcp));
        all.insert("identity".to_owned(), object(identity));
        Ok(Metadata {
            filter_metadata: [(OURS.to_owned(), Struct { fields: all })].into(),
            ..Metadata::default()
        })
    }

    fn arguments(&self) -> Result<Option<Value>, Untold> {
        let Some(part) = self.arguments.filter(|part| !part.is_null()) else {
            return Ok(None);
        };
        if part.get().len() > MAX_ARGUMENTS {
            return Err(Untold::Long(part.get().len()));
        }
        let json = part.value().map_err(|error| Untold::Unreadable(error.to_string()))?;
        told(&json).map(Some)
    }
}

/// Where a fact stands in the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Own,
    Mcp,
    Identity,
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

fn kind(kind: value::Kind) -> Value {
    Value { kind: Some(kind) }
}

fn text(text: &str) -> Value {
    kind(value::Kind::StringValue(text.to_owned()))
}

fn list(values: Vec<Value>) -> Value {
    kind(value::Kind::ListValue(ListValue { values }))
}

fn object(fields: HashMap<String, Value>) -> Value {
    kind(value::Kind::StructValue(Struct { fields }))
}

/// JSON, as the protocol has it. Its numbers are doubles.
fn told(json: &Json) -> Result<Value, Untold> {
    Ok(match json {
        Json::Null => kind(value::Kind::NullValue(0)),
        Json::Bool(flag) => kind(value::Kind::BoolValue(*flag)),
        Json::String(string) => text(string),
        Json::Number(number) => {
            let magnitude = number.as_i64().map(i64::unsigned_abs).or(number.as_u64());
            if magnitude.is_some_and(|magnitude| magnitude > MAX_SAFE_INTEGER) {
                return Err(Untold::Number);
            }
            kind(value::Kind::NumberValue(number.as_f64().ok_or(Untold::Number)?))
        }
        Json::Array(values) => list(values.iter().map(told).collect::<Result<_, _>>()?),
        Json::Object(members) => {
            let members = members.iter().map(|(key, value)| Ok((key.clone(), told(value)?)));
            object(members.collect::<Result<_, _>>()?)
        }
    })
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
