//! What a client says of itself where it begins.

use serde::{Deserialize, Serialize};

use super::audit::bounded;
use crate::mcp::{Envelope, Kind, governed::OPENINGS, method::Method, params::MetaKey, part::Part};

/// What a client says of itself as it opens a session, or asks a server what it is: its own word, cut to a length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// `clientInfo.name`.
    name: Option<Box<str>>,
    /// `clientInfo.version`.
    version: Option<Box<str>>,
    /// The revision of the protocol that it asks for.
    protocol_version: Option<Box<str>>,
}

/// `clientInfo`, as far as it is told. One that says something twice says nothing.
#[derive(Default, Deserialize)]
struct Info {
    name: Option<String>,
    version: Option<String>,
}

impl Client {
    /// What the client of this message says of itself, be it nothing; `None` where the message does not begin
    /// anything.
    pub fn of(envelope: &Envelope<'_>) -> Option<Box<Self>> {
        let method = envelope.method.as_deref()?;
        if envelope.kind != Kind::Request || !OPENINGS.contains(&method) {
            return None;
        }
        let params = &envelope.params;
        let (info, version) = match Method::of(method) {
            Method::Initialize => (params.client_info, params.protocol_version.as_deref().map(cut)),
            _ => {
                let version = params.meta.get(MetaKey::ProtocolVersion);
                let version = version.and_then(|part| part.text().map(|text| cut(&text)));
                (params.meta.get(MetaKey::ClientInfo), version)
            }
        };
        let info = info.as_ref().and_then(read).unwrap_or_default();
        Some(Box::new(Self {
            name: info.name.as_deref().map(cut),
            version: info.version.as_deref().map(cut),
            protocol_version: version,
        }))
    }
}

fn read(info: &Part<'_>) -> Option<Info> {
    serde_json::from_str(info.get()).ok()
}

fn cut(text: &str) -> Box<str> {
    bounded(text).into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(message: &Value) -> Option<Value> {
        let body = message.to_string();
        let client = Client::of(&Envelope::parse(body.as_bytes()).unwrap())?;
        Some(serde_json::to_value(client).unwrap())
    }

    #[test]
    fn a_client_of_either_era_says_who_it_is_where_it_begins_and_nowhere_else() {
        let info = json!({"name": "agent", "version": "1.2", "title": "An agent"});
        let expected = |revision| Some(json!({"name": "agent", "version": "1.2", "protocolVersion": revision}));
        let legacy = |method: &str| {
            let params = json!({"protocolVersion": "2025-11-25", "clientInfo": info, "capabilities": {}});
            json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        };
        assert_eq!(said(&legacy("initialize")), expected("2025-11-25"));
        let modern = |method: &str| {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": info,
            });
            json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta}})
        };
        assert_eq!(said(&modern("server/discover")), expected("2026-07-28"));
        for method in ["tools/list", "prompts/list", "ping"] {
            assert_eq!((said(&legacy(method)), said(&modern(method))), (None, None));
        }
        assert_eq!(
            said(&json!({"jsonrpc": "2.0", "method": "initialize"})),
            None,
            "asks for nothing"
        );
    }

    #[test]
    fn what_a_client_does_not_say_in_one_way_it_does_not_say() {
        let nothing = Some(json!({"name": null, "version": null, "protocolVersion": null}));
        for info in [
            r#""agent""#,
            "null",
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":1}"#,
            "{}",
        ] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"clientInfo":{info}}}}}"#);
            let client = Client::of(&Envelope::parse(body.as_bytes()).unwrap());
            assert_eq!(
                client.map(|client| serde_json::to_value(client).unwrap()),
                nothing,
                "{info}"
            );
        }
        let long = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": {"clientInfo": {"name": "ä".repeat(10_000)}, "protocolVersion": "x".repeat(10_000)}});
        let said = said(&long).unwrap();
        for member in ["name", "protocolVersion"] {
            let text = said[member].as_str().unwrap();
            assert!(text.len() < 520 && text.ends_with('…'), "{text}");
        }
    }
}
