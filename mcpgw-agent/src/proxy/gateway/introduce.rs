//! What the gateway says about itself: `initialize` in the legacy era, `server/discover` in the modern one.
//!
//! It offers what the servers that this caller sees offer together, and nothing that none of them has.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};

use super::{
    Call, answer,
    limits::LIST_TTL_MS,
    tasks::EXTENSION,
    view::{Seen, View},
};
use crate::{
    discovery::{MAX_INSTRUCTIONS, TaskCapabilities},
    mcp::{Envelope, version::Revision},
};

#[derive(Serialize)]
struct Implementation {
    name: &'static str,
    title: &'static str,
    version: &'static str,
}

const OURSELVES: Implementation = Implementation {
    name: "mcpgw",
    title: "mcpgw, the governor of MCP on this node",
    version: env!("CARGO_PKG_VERSION"),
};

/// The answer to `initialize`, and the revision that was agreed on.
pub(super) fn initialize(call: &Call<'_>, id: &RawValue, envelope: &Envelope<'_>) -> (Bytes, Revision) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Initialized<'a> {
        protocol_version: &'static str,
        capabilities: Map<String, Value>,
        server_info: &'a Implementation,
        #[serde(skip_serializing_if = "Option::is_none")]
        instructions: Option<String>,
    }
    let revision = Revision::negotiated(envelope.params.protocol_version.as_deref());
    let result = Initialized {
        protocol_version: revision.as_str(),
        capabilities: capabilities(&call.view),
        server_info: &OURSELVES,
        instructions: instructions(&call.view),
    };
    (answer::with_result(id, &result), revision)
}

/// The answer to `server/discover`.
pub(super) fn discover(call: &Call<'_>, id: &RawValue) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Discovered<'a> {
        result_type: &'static str,
        supported_versions: Vec<&'static str>,
        capabilities: Map<String, Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        instructions: Option<String>,
        ttl_ms: u64,
        cache_scope: &'static str,
        #[serde(rename = "_meta")]
        meta: Meta<'a>,
    }
    #[derive(Serialize)]
    struct Meta<'a> {
        #[serde(rename = "io.modelcontextprotocol/serverInfo")]
        server_info: &'a Implementation,
    }
    let mut capabilities = capabilities(&call.view);
    // Tasks are an extension there.
    capabilities.remove("tasks");
    let result = Discovered {
        result_type: "complete",
        supported_versions: vec![Revision::MODERN.as_str()],
        capabilities,
        instructions: instructions(&call.view),
        ttl_ms: LIST_TTL_MS,
        cache_scope: "private",
        meta: Meta {
            server_info: &OURSELVES,
        },
    };
    answer::with_result(id, &result)
}

/// What the servers can do together.
fn capabilities(view: &View) -> Map<String, Value> {
    let any = |has: fn(&crate::discovery::Capabilities) -> bool| {
        view.servers.iter().any(|seen| has(&seen.catalogue.features))
    };
    let mut all = Map::new();
    // The gateway itself tells when a list changes, whether the server does or not.
    let listed = || serde_json::json!({ "listChanged": true });
    if any(|features| features.tools) {
        all.insert("tools".to_owned(), listed());
    }
    if any(|features| features.prompts) {
        all.insert("prompts".to_owned(), listed());
    }
    if any(|features| features.resources) {
        let subscribe = any(|features| features.subscribe);
        let resources = serde_json::json!({ "listChanged": true, "subscribe": subscribe });
        all.insert("resources".to_owned(), resources);
    }
    if any(|features| features.completions) {
        all.insert("completions".to_owned(), Value::Object(Map::new()));
    }
    if any(|features| features.logging) {
        all.insert("logging".to_owned(), Value::Object(Map::new()));
    }
    if any(|features| features.tasks.any) {
        all.insert("tasks".to_owned(), tasks(view));
    }
    let extensions = match view.only() {
        // What the gateway does not know itself goes to the server, where there is one only.
        Some(only) => only.catalogue.extensions.clone(),
        None => {
            let has_tasks = |seen: &Seen| seen.catalogue.extensions.contains_key(EXTENSION);
            let tasks = view.servers.iter().any(has_tasks);
            let tasks = tasks.then(|| (EXTENSION.to_owned(), Value::Object(Map::new())));
            tasks.into_iter().collect()
        }
    };
    if !extensions.is_empty() {
        all.insert("extensions".to_owned(), Value::Object(extensions));
    }
    all
}

/// What servers can do with tasks together, as revision 2025-11-25 says it.
fn tasks(view: &View) -> Value {
    let any = |has: fn(&TaskCapabilities) -> bool| view.servers.iter().any(|seen| has(&seen.catalogue.features.tasks));
    let mut tasks = Map::new();
    let there = || Value::Object(Map::new());
    if any(|tasks| tasks.list) {
        tasks.insert("list".to_owned(), there());
    }
    if any(|tasks| tasks.cancel) {
        tasks.insert("cancel".to_owned(), there());
    }
    if any(|tasks| tasks.calls) {
        tasks.insert("requests".to_owned(), serde_json::json!({ "tools": { "call": {} } }));
    }
    Value::Object(tasks)
}

/// The instructions of the servers, each under its prefix.
fn instructions(view: &View) -> Option<String> {
    let mut text = String::new();
    for seen in &view.servers {
        let Some(instructions) = &seen.catalogue.instructions else {
            continue;
        };
        let heading = match (view.only(), &*seen.server.wanted.prefix) {
            (Some(_), _) => String::new(),
            (None, "") => format!("{}:\n", seen.server.name().name),
            (None, prefix) => format!("{prefix}*:\n"),
        };
        let room = MAX_INSTRUCTIONS.saturating_sub(text.len() + heading.len() + 2);
        if room == 0 {
            break;
        }
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&heading);
        text.push_str(&instructions[..instructions.floor_char_boundary(room)]);
    }
    (!text.is_empty()).then_some(text)
}
