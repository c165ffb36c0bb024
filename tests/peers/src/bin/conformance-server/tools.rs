//! The tools that answer at once.

use std::{sync::atomic::Ordering, time::Duration};

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, LoggingLevel,
        LoggingMessageNotificationParam, ProgressNotificationParam, ResourceUpdatedNotificationParam,
    },
    service::RequestContext,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    server::{Conformance, WATCHED},
    state::Change,
};

/// A red pixel, as PNG.
pub const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// No sample at all, as WAV.
const SOUND: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";
/// Between two messages of a tool, so that they do not come as one.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a call takes that is to be cancelled.
const LONG: Duration = Duration::from_secs(30);
/// Requests of one session that may wait for their answers.
const MAX_STREAMS: u64 = 64;

/// A value of the SDK's type.
pub fn of<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

/// A result of the SDK's type that is final; the SDK leaves that word out for clients of the legacy era.
pub fn complete<T: DeserializeOwned>(mut value: Value) -> Result<T, ErrorData> {
    value["resultType"] = json!("complete");
    of(value)
}

/// The result of a tool that answers with this text.
pub fn text(text: impl Into<String>) -> Result<CallToolResponse, ErrorData> {
    content(json!([{"type": "text", "text": text.into()}]))
}

fn content(content: Value) -> Result<CallToolResponse, ErrorData> {
    Ok(complete::<CallToolResult>(json!({ "content": content }))?.into())
}

/// Runs a tool.
pub async fn call(
    server: &Conformance,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let image = json!({"type": "image", "data": PICTURE, "mimeType": "image/png"});
    match &*request.name {
        "answer" => text("Here it is."),
        "test_simple_text" => text("This is a simple text response for testing."),
        "test_image_content" => content(json!([image])),
        "test_audio_content" => content(json!([{"type": "audio", "data": SOUND, "mimeType": "audio/wav"}])),
        "test_embedded_resource" => content(json!([{"type": "resource", "resource": {
            "uri": "test://embedded-resource",
            "mimeType": "text/plain",
            "text": "This is an embedded resource content.",
        }}])),
        "test_multiple_content_types" => content(json!([
            {"type": "text", "text": "Multiple content types test:"},
            image,
            {"type": "resource", "resource": {
                "uri": "test://mixed-content-resource",
                "mimeType": "application/json",
                "text": r#"{"test":"data","value":123}"#,
            }},
        ])),
        "total" => {
            let numbers = request
                .arguments
                .as_ref()
                .and_then(|arguments| arguments.get("of")?.as_array());
            let total: i64 = numbers.into_iter().flatten().filter_map(Value::as_i64).sum();
            let content = json!([{"type": "text", "text": total.to_string()}]);
            let result = json!({"content": content, "structuredContent": {"total": total}});
            Ok(complete::<CallToolResult>(result)?.into())
        }
        "test_error_handling" => {
            let message = "This tool intentionally returns an error for testing";
            Ok(
                complete::<CallToolResult>(json!({"content": [{"type": "text", "text": message}], "isError": true}))?
                    .into(),
            )
        }
        "test_tool_with_logging" => {
            log(server, context, LoggingLevel::Info, "Tool execution started").await;
            sleep(PAUSE).await;
            log(server, context, LoggingLevel::Info, "Tool processing data").await;
            sleep(PAUSE).await;
            log(server, context, LoggingLevel::Info, "Tool execution completed").await;
            text("It logged three times.")
        }
        "test_logging_tool" => {
            log(server, context, LoggingLevel::Info, "Tool execution started").await;
            text("It logged, if it was asked to.")
        }
        "log" => {
            for level in [LoggingLevel::Info, LoggingLevel::Warning, LoggingLevel::Error] {
                log(server, context, level, "Something of this level").await;
            }
            text("It logged, as far as it was asked to.")
        }
        "test_tool_with_progress" => progress(context).await,
        "wait" => wait(server, context).await,
        "cancelled" => text(server.shared.cancelled.load(Ordering::Relaxed).to_string()),
        "test_reconnection" => reconnection(server, context).await,
        "test_missing_capability" => {
            let able = context.client_capabilities().is_some_and(|able| sampling(&able));
            if !able {
                let needed: ClientCapabilities = of(json!({"sampling": {}}))?;
                return Err(ErrorData::missing_required_client_capability(needed));
            }
            text("The client can sample.")
        }
        "test_custom_headers" => {
            let region = request.arguments.as_ref().and_then(|arguments| arguments.get("region"));
            text(format!("In {}.", region.and_then(Value::as_str).unwrap_or("no region")))
        }
        "json_schema_2020_12_tool" => text(json!(request.arguments).to_string()),
        "test_dynamic_tool" => text("Here today."),
        "test_trigger_tool_change" => {
            server.shared.change(Change::Tools);
            // In the legacy era there is the session's own stream to tell of it.
            let _ = context.peer.notify_tool_list_changed().await;
            text("The tools have changed.")
        }
        "test_trigger_prompt_change" => {
            server.shared.change(Change::Prompts);
            let _ = context.peer.notify_prompt_list_changed().await;
            text("The prompts have changed.")
        }
        "test_trigger_resource_update" => {
            server.shared.change(Change::Resource);
            if server.is_subscribed(WATCHED) {
                let _ = context
                    .peer
                    .notify_resource_updated(ResourceUpdatedNotificationParam::new(WATCHED))
                    .await;
            }
            text("The resource has changed.")
        }
        other => Err(ErrorData::invalid_params(format!("Unknown tool: {other}"), None)),
    }
}

/// Whether a client can ask a model.
pub fn sampling(able: &ClientCapabilities) -> bool {
    able.sampling.is_some()
}

/// Sends a message to a client that wants it: in the modern era only one that said so in its request, in the legacy one
/// each that did not ask for less.
async fn log(server: &Conformance, context: &RequestContext<RoleServer>, level: LoggingLevel, message: &str) {
    let modern = context.meta.protocol_version().is_some();
    // The levels are declared from the quietest to the loudest.
    let is_enough = |from: LoggingLevel| from as u8 <= level as u8;
    let wanted = match (context.meta.log_level(), server.level()) {
        (Some(from), _) => is_enough(from),
        (None, _) if modern => false,
        (None, Some(from)) => is_enough(from),
        (None, None) => true,
    };
    if wanted {
        let message = LoggingMessageNotificationParam::new(level, json!(message));
        // A client that is gone needs no message.
        let _ = context
            .peer
            .notify_logging_message(message.with_logger("conformance"))
            .await;
    }
}

async fn progress(context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
    let token = context.meta.get_progress_token();
    for done in [0.0, 50.0, 100.0] {
        if let Some(token) = &token {
            let step = ProgressNotificationParam::new(token.clone(), done).with_total(100.0);
            let _ = context.peer.notify_progress(step).await;
        }
        if done < 100.0 {
            sleep(PAUSE).await;
        }
    }
    text("It is done.")
}

/// Tells that it has begun, and waits.
async fn wait(server: &Conformance, context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
    if let Some(token) = context.meta.get_progress_token() {
        let _ = context
            .peer
            .notify_progress(ProgressNotificationParam::new(token, 1.0))
            .await;
    }
    tokio::select! {
        () = sleep(LONG) => text("Nobody cancelled it."),
        () = context.ct.cancelled() => {
            server.shared.cancelled.fetch_add(1, Ordering::Relaxed);
            text("It was cancelled.")
        }
    }
}

/// Closes the stream of this call before its answer; the client comes back for it.
async fn reconnection(
    server: &Conformance,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let head = context.extensions.get::<http::request::Parts>();
    let id = head.and_then(|head| head.headers.get("mcp-session-id")?.to_str().ok());
    if let Some(id) = id {
        let handle = server.sessions.sessions.read().await.get(id).cloned();
        for stream in 0..MAX_STREAMS {
            if let Some(handle) = &handle {
                // The SDK does not say which of the session's streams is ours; the others have ended before.
                let _ = handle.close_sse_stream(stream, Some(PAUSE)).await;
            }
        }
        sleep(2 * PAUSE).await;
    }
    text("Here is the answer, on another stream.")
}
