//! What every client is to do with a server, and what it is to hear.

use serde_json::{Value, json};

use crate::clients::Era;

/// What is asked of a server. Names of tools and prompts get the gateway's prefix where they need it.
pub fn steps(server: &str, era: Era, is_sse: bool) -> Value {
    let call = |name: &str, arguments: Value| json!({"do": "call", "name": name, "arguments": arguments});
    // The tool logs at one level more, that is not to be heard.
    let log = || json!({"do": "log", "name": "log", "level": "warning", "hears": ["warning", "error"]});
    let lists = [
        json!({"do": "hello"}),
        json!({"do": "tools"}),
        json!({"do": "prompts"}),
        json!({"do": "resources"}),
        json!({"do": "templates"}),
    ];
    let own = match server {
        "everything" => vec![
            call("echo", json!({"message": "größe"})),
            call("get-structured-content", json!({"location": "Chicago"})),
            call("get-tiny-image", json!({})),
            call("trigger-long-running-operation", json!({"duration": 0.3, "steps": 3})),
            call("get-sum", json!({"a": "no number"})),
            json!({"do": "prompt", "name": "args-prompt", "arguments": {"city": "Kyiv"}}),
            json!({"do": "read", "uri": "demo://resource/static/document/architecture.md"}),
            call(
                "get-annotated-message",
                json!({"messageType": "error", "includeImage": true}),
            ),
            call("get-resource-links", json!({"count": 2})),
            json!({"do": "complete", "name": "completable-prompt", "argument": {"name": "department", "value": "E"}}),
            json!({"do": "complete", "name": "completable-prompt", "argument": {"name": "name", "value": ""},
                "given": {"department": "Sales"}}),
            json!({"do": "complete", "uri": "demo://resource/dynamic/text/{resourceId}",
                "argument": {"name": "resourceId", "value": "7"}}),
        ],
        "rmcp" | "modern" => vec![
            call("test_simple_text", json!({})),
            call("test_multiple_content_types", json!({})),
            call("test_audio_content", json!({})),
            call("test_error_handling", json!({})),
            call("test_tool_with_progress", json!({})),
            json!({"do": "prompt", "name": "test_prompt_with_arguments", "arguments": {"arg1": "a", "arg2": "ö"}}),
            json!({"do": "prompt", "name": "test_prompt_with_image", "arguments": {}}),
            json!({"do": "read", "uri": "test://static-binary"}),
            json!({"do": "read", "uri": "test://template/größe/data"}),
            json!({"do": "complete", "name": "test_prompt_with_arguments", "argument": {"name": "arg1", "value": "par"}}),
            json!({"do": "cancel", "name": "wait", "counter": "cancelled"}),
            json!({"do": "changes", "name": "test_trigger_tool_change"}),
            json!({"do": "updates", "name": "test_trigger_resource_update", "uri": "test://watched-resource"}),
            log(),
        ],
        _ => {
            let scheme = match server {
                "typescript" => "page",
                "fastmcp" => "fast",
                _ => "note",
            };
            let mut steps = vec![
                call("echo", json!({"message": "größe"})),
                call("add", json!({"a": 2, "b": 3})),
                call("add", json!({"a": "no number"})),
                call("picture", json!({})),
                call("fail", json!({"message": "no"})),
                json!({"do": "prompt", "name": "poem", "arguments": {"about": "rain"}}),
                json!({"do": "read", "uri": format!("{scheme}://fixed")}),
                json!({"do": "read", "uri": format!("{scheme}://of/Ada")}),
                call("count", json!({"to": 3})),
                json!({"do": "complete", "name": "poem", "argument": {"name": "about", "value": "r"}}),
                json!({"do": "complete", "uri": format!("{scheme}://of/{{name}}"),
                    "argument": {"name": "name", "value": "A"}}),
            ];
            // A server of sessions alone cannot ask a client that has none, and FastMCP asks no others.
            let has_session = era != Era::Modern;
            let asks = match server {
                "typescript" => !has_session,
                "fastmcp" => has_session,
                _ => has_session || !is_sse,
            };
            steps.extend(asks.then(|| call("greet", json!({}))));
            if server == "python" && has_session {
                let (name, uri) = ("touch", "note://other");
                steps.push(json!({"do": "updates", "name": name, "arguments": {"uri": uri}, "uri": uri}));
            }
            // Without sessions it has nothing to keep a level in, or to find a call by that is to be cancelled.
            if server != "typescript" || !has_session {
                steps.extend([json!({"do": "cancel", "name": "wait", "counter": "cancelled"}), log()]);
            }
            steps
        }
    };
    // What a server asks in between, it asks in another way in each era.
    let questions = match (server, era) {
        // A server of sessions alone cannot ask a client that has none.
        ("everything", Era::Legacy | Era::HttpSse) => vec![
            call("trigger-sampling-request", json!({"prompt": "p", "maxTokens": 10})),
            call("trigger-elicitation-request", json!({})),
            call("get-roots-list", json!({})),
            json!({"do": "updates", "name": "toggle-subscriber-updates",
                "uri": "demo://resource/static/document/features.md"}),
            // It logs each subscription, by itself.
            json!({"do": "acknowledged", "level": "info", "hears": ["info"],
                "uris": ["demo://resource/static/document/startup.md", "demo://resource/static/document/structure.md"]}),
        ],
        ("rmcp", Era::Legacy) => vec![
            call("test_sampling", json!({"prompt": "größe"})),
            call("test_elicitation", json!({"message": "größe"})),
        ],
        ("rmcp", Era::Modern) | ("modern", _) => vec![
            call("test_input_required_result_multiple_inputs", json!({})),
            call("test_input_required_result_multi_round", json!({})),
        ],
        _ => Vec::new(),
    };
    lists.into_iter().chain(own).chain(questions).collect()
}

/// Whether a client heard what it was to hear of what a server logs, and nothing else.
pub fn hears(step: &Value, gave: &Value) -> bool {
    let levels = |messages: &Value| -> Vec<Value> {
        let messages = messages.as_array().into_iter().flatten();
        messages.map(|message| message["level"].clone()).collect()
    };
    let skipped = gave["skipped"] == true;
    skipped
        || step["hears"]
            .as_array()
            .is_none_or(|wanted| *wanted == levels(&gave["heard"]))
}
