//! What every client is to do with a server, and what it is to hear.

use serde_json::{Value, json};

use crate::clients::Era;

/// The page that clients visit for a server, if it says why.
const PAGE: &str = "https://example.com/visit?who=Ada&then=%2Fhome";
/// In these words.
const WHY: &str = "Please sign in.";
/// By which the servers' sessions know that a user was sent there.
const VISIT_ID: &str = "visit-1";
/// A page is to be visited before a call.
const URL_ELICITATION_REQUIRED: i32 = -32042;

/// What is asked of a server. Names of tools and prompts get the gateway's prefix where they need it.
pub fn steps(server: &str, era: Era, is_sse: bool) -> Value {
    let call = |name: &str, arguments: Value| json!({"do": "call", "name": name, "arguments": arguments});
    // The tool logs at one level more, that is not to be heard.
    let log = || json!({"do": "log", "name": "log", "level": "warning", "hears": ["warning", "error"]});
    let has_session = era != Era::Modern;
    // How many pages a list has at least.
    let pages = |tools: u32, others: u32| {
        [
            json!({"do": "hello"}),
            json!({"do": "tools", "pages": tools}),
            json!({"do": "prompts", "pages": others}),
            json!({"do": "resources", "pages": others}),
            json!({"do": "templates"}),
        ]
    };
    let lists = match server {
        "everything" | "rmcp" => pages(1, 1),
        "modern" => pages(2, 1),
        _ => pages(2, 2),
    };
    let ping = || json!({"do": "ping"});
    // What is asked in this step is answered, which the tool's own result says.
    let answered = |mut step: Value, says: &str| {
        step["says"] = json!(says);
        step
    };
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
            call("total", json!({"of": [2, 3]})),
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
                "typescript" | "stateless" => "page",
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
            let is_stateless = server == "stateless" && has_session;
            // A server of sessions alone cannot ask a client that has none, nor can one without sessions ask a client
            // that knows no other way.
            if !is_stateless && (has_session || !is_sse) {
                let (sampled, visited) = ("an answer to größe", "accept");
                // FastMCP asks its own way in sessions only.
                steps.extend((has_session || server != "fastmcp").then(|| answered(call("greet", json!({})), "Ada")));
                steps.extend([
                    answered(call("sample", json!({"prompt": "größe"})), sampled),
                    answered(call("roots", json!({})), "file:///home/ada"),
                    answered(visit(call("visit", json!({})), has_session), visited),
                ]);
            }
            if has_session {
                steps.push(ping());
                steps.extend((!is_stateless).then(|| answered(call("ping", json!({})), "there")));
                steps.push(match server {
                    // It makes a failed call of it.
                    "fastmcp" => call("gate", json!({})),
                    _ => gate(),
                });
            }
            // FastMCP has no subscriptions.
            if server != "fastmcp" && !is_stateless && (has_session || !is_sse) {
                let (name, uri) = ("touch", format!("{scheme}://other"));
                steps.push(json!({"do": "updates", "name": name, "arguments": {"uri": uri}, "uri": uri}));
            }
            // Without sessions it has nothing to keep a level in, or to find a call by that is to be cancelled.
            if !is_stateless {
                steps.extend([json!({"do": "cancel", "name": "wait", "counter": "cancelled"}), log()]);
            }
            steps
        }
    };
    // What a server asks in between, it asks in another way in each era.
    let questions = match (server, era) {
        // A server of sessions alone cannot ask a client that has none.
        ("everything", Era::Legacy | Era::HttpSse) => vec![
            ping(),
            call("trigger-sampling-request", json!({"prompt": "p", "maxTokens": 10})),
            call("trigger-elicitation-request", json!({})),
            answered(
                call(
                    "trigger-url-elicitation",
                    json!({"message": WHY, "url": PAGE, "elicitationId": "everything-1"}),
                ),
                "everything-1",
            ),
            call("get-roots-list", json!({})),
            json!({"do": "updates", "name": "toggle-subscriber-updates",
                "uri": "demo://resource/static/document/features.md"}),
            // It logs each subscription, by itself.
            json!({"do": "acknowledged", "level": "info", "hears": ["info"],
                "uris": ["demo://resource/static/document/startup.md", "demo://resource/static/document/structure.md"]}),
        ],
        ("rmcp", Era::Legacy) => vec![
            ping(),
            answered(call("ping", json!({})), "there"),
            answered(call("test_sampling", json!({"prompt": "größe"})), "an answer to größe"),
            answered(call("test_elicitation", json!({"message": "größe"})), "Ada"),
            answered(visit(call("visit", json!({})), true), "accept"),
            gate(),
        ],
        ("rmcp", Era::Modern) | ("modern", _) => vec![
            call("test_input_required_result_multiple_inputs", json!({})),
            call("test_input_required_result_multi_round", json!({})),
            answered(call("test_input_required_result_visit", json!({})), "accept"),
        ],
        _ => Vec::new(),
    };
    lists.into_iter().chain(own).chain(questions).collect()
}

/// A call that sends the user to a page; in a session the client is told when that is done.
fn visit(mut call: Value, has_session: bool) -> Value {
    if has_session {
        call["completes"] = json!(VISIT_ID);
    }
    call
}

/// A call that is refused until a page was visited.
fn gate() -> Value {
    json!({"do": "call", "name": "gate", "arguments": {}, "fails": URL_ELICITATION_REQUIRED})
}

/// Whether a step did without mcpgw what it is there for: a client heard what it was to hear, and nothing else.
pub fn works(step: &Value, gave: &Value) -> bool {
    if let Some(error) = gave.get("error") {
        return step.get("fails").is_some_and(|code| *code == error["code"]);
    }
    let levels = |messages: &Value| -> Vec<Value> {
        let messages = messages.as_array().into_iter().flatten();
        messages.map(|message| message["level"].clone()).collect()
    };
    let hears = step["hears"].as_array();
    let content = gave["result"]["content"].to_string();
    // Not every client says how many there were.
    let pages = gave["pages"].as_u64().zip(step["pages"].as_u64());
    step.get("fails").is_none()
        && gave["noticed"] != false
        && hears.is_none_or(|wanted| *wanted == levels(&gave["heard"]))
        && step["says"].as_str().is_none_or(|says| content.contains(says))
        && pages.is_none_or(|(pages, least)| pages >= least)
}
