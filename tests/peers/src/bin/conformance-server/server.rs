//! Which method goes where.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams, CompleteResult,
        CompletionInfo, GetPromptRequestParams, GetPromptResponse, GetPromptResult, GetTaskParams, GetTaskResult,
        Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        LoggingLevel, PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
        ReadResourceResult, ServerCapabilities, ServerConfig, SetLevelRequestParams, SubscribeRequestParams,
        SubscriptionFilter, Tool, UnsubscribeRequestParams, UpdateTaskParams,
    },
    service::{RequestContext, SubscriptionContext},
    transport::streamable_http_server::session::local::LocalSessionManager,
};
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    questions,
    state::{Change, Shared},
    tasks,
    tools::{self, PICTURE, complete},
};

/// The resource that can be subscribed to.
pub const WATCHED: &str = "test://watched-resource";
/// Items on one page of a list, of a server that speaks the modern era only: the suite reads one page alone.
const PAGE: usize = 4;
/// How long clients may keep what does not change.
const TTL_MS: u64 = 1_000;

/// One session.
#[derive(Clone)]
pub struct Conformance {
    pub shared: Arc<Shared>,
    pub sessions: Arc<LocalSessionManager>,
    session: Arc<Mutex<Session>>,
    modern: bool,
}

/// What a session of the legacy era has said, or one request of the modern one.
#[derive(Default)]
struct Session {
    level: Option<LoggingLevel>,
    subscriptions: BTreeSet<String>,
    /// What changes since a subscription was taken: from before the client is told that it was. Whoever has read that
    /// may change something at once.
    changes: Option<Receiver<Change>>,
}

impl Conformance {
    /// `modern`: it speaks no other era.
    pub fn new(shared: Arc<Shared>, sessions: Arc<LocalSessionManager>, modern: bool) -> Self {
        Self {
            shared,
            sessions,
            session: Arc::default(),
            modern,
        }
    }

    /// The level from which this session wants messages, if it said so.
    pub fn level(&self) -> Option<LoggingLevel> {
        self.session().level
    }

    /// Whether this session wants to hear of a resource.
    pub fn is_subscribed(&self, uri: &str) -> bool {
        self.session().subscriptions.contains(uri)
    }

    /// A page of a list, and where the next one begins.
    fn page<T>(&self, mut items: Vec<T>, asked: Option<PaginatedRequestParams>) -> (Vec<T>, Option<String>) {
        if !self.modern {
            return (items, None);
        }
        let cursor = asked.and_then(|asked| asked.cursor?.parse().ok());
        let start = cursor.unwrap_or(0).min(items.len());
        let end = items.len().min(start + PAGE);
        let next = (end < items.len()).then(|| end.to_string());
        (items.drain(start..end).collect(), next)
    }

    fn session(&self) -> std::sync::MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerHandler for Conformance {
    fn get_info(&self) -> ServerConfig {
        let abilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_tasks()
            .build();
        ServerConfig::new(abilities)
            .with_server_info(Implementation::new("conformance", "1.0.0"))
            .with_instructions("Everything that the conformance suite asks for.")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(match self.modern {
            true => &[ProtocolVersion::V_2026_07_28],
            false => ProtocolVersion::KNOWN_VERSIONS,
        })
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.shared.tools().into_iter().find(|tool| tool.name == name)
    }

    async fn list_tools(
        &self,
        asked: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let (items, next) = self.page(self.shared.tools(), asked);
        let mut list = ListToolsResult::with_all_items(items);
        list.next_cursor = next;
        Ok(list.with_ttl_ms(0).with_cache_scope(CacheScope::Public))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(asked) = questions::call(self, &request, &context).await {
            return asked;
        }
        if let Some(task) = tasks::call(self, &request, &context).await {
            return task;
        }
        tools::call(self, &request, &context).await
    }

    async fn list_prompts(
        &self,
        asked: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let (items, next) = self.page(self.shared.prompts(), asked);
        let mut list = ListPromptsResult::with_all_items(items);
        list.next_cursor = next;
        Ok(list.with_ttl_ms(0).with_cache_scope(CacheScope::Public))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let argument = |name: &str| {
            let arguments = request.arguments.as_ref();
            let value = arguments.and_then(|arguments| arguments.get(name));
            value.and_then(Value::as_str).unwrap_or_default()
        };
        let user = |content: Value| json!({"role": "user", "content": content});
        let text = |text: String| user(json!({"type": "text", "text": text}));
        let image = user(json!({"type": "image", "data": PICTURE, "mimeType": "image/png"}));
        let messages = match request.name.as_str() {
            "test_simple_prompt" => vec![text("This is a simple prompt for testing.".to_owned())],
            "test_prompt_with_arguments" => vec![text(format!(
                "Prompt with arguments: arg1='{}', arg2='{}'",
                argument("arg1"),
                argument("arg2")
            ))],
            "test_prompt_with_embedded_resource" => vec![
                user(json!({"type": "resource", "resource": {
                    "uri": argument("resourceUri"),
                    "mimeType": "text/plain",
                    "text": "Embedded resource content for testing.",
                }})),
                text("Please process the embedded resource above.".to_owned()),
            ],
            "test_prompt_with_image" => vec![image, text("Please analyze the image above.".to_owned())],
            "test_dynamic_prompt" => vec![text("Here today.".to_owned())],
            "test_input_required_result_prompt" => return questions::prompt(&request),
            other => return Err(ErrorData::invalid_params(format!("Unknown prompt: {other}"), None)),
        };
        Ok(complete::<GetPromptResult>(json!({ "messages": messages }))?.into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let values = ["paris", "park", "party", "test"].into_iter();
        let fitting = values.filter(|value| value.starts_with(&request.argument.value));
        let found = CompletionInfo::with_all_values(fitting.map(str::to_owned).collect());
        let found = found.map_err(|error| ErrorData::internal_error(error, None))?;
        Ok(CompleteResult::new(found))
    }

    async fn list_resources(
        &self,
        asked: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let (items, next) = self.page(self.shared.catalogue.resources.clone(), asked);
        let mut list = ListResourcesResult::with_all_items(items);
        list.next_cursor = next;
        Ok(list.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public))
    }

    async fn list_resource_templates(
        &self,
        asked: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let (items, next) = self.page(self.shared.catalogue.templates.clone(), asked);
        let mut list = ListResourceTemplatesResult::with_all_items(items);
        list.next_cursor = next;
        Ok(list.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        let id = uri
            .strip_prefix("test://template/")
            .and_then(|rest| rest.strip_suffix("/data"));
        let content = match (uri, id) {
            ("test://static-text", _) => {
                json!({"mimeType": "text/plain", "text": "This is the content of the static text resource."})
            }
            ("test://static-binary", _) => json!({"mimeType": "image/png", "blob": PICTURE}),
            (WATCHED, _) => json!({"mimeType": "text/plain", "text": "Watch this."}),
            (_, Some(id)) => json!({
                "mimeType": "application/json",
                "text": json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")}).to_string(),
            }),
            _ => {
                let data = json!({ "uri": uri });
                return Err(ErrorData::resource_not_found("Resource not found", Some(data)));
            }
        };
        let mut content = content;
        content["uri"] = json!(uri);
        let read: ReadResourceResult = complete(json!({ "contents": [content] }))?;
        Ok(read.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public).into())
    }

    async fn set_level(&self, request: SetLevelRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.session().level = Some(request.level);
        Ok(())
    }

    async fn subscribe(&self, request: SubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.session().subscriptions.insert(request.uri);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.session().subscriptions.remove(&request.uri);
        Ok(())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        Ok(GetTaskResult::new(self.shared.tasks.get_task(&request.task_id)?))
    }

    async fn update_task(&self, request: UpdateTaskParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.shared.tasks.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(&self, request: CancelTaskParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.shared.tasks.cancel_task(&request.task_id)
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        self.session().changes = Some(self.shared.changes.subscribe());
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let taken = self.session().changes.take();
        let mut changes = taken.ok_or_else(|| ErrorData::internal_error("No subscription was taken", None))?;
        loop {
            let change = tokio::select! {
                change = changes.recv() => change,
                () = context.cancelled() => return Ok(()),
            };
            let sink = context.sink();
            // A change that was not asked for is an error of the sink; so is a client that is gone, which ends
            // this by its cancellation.
            let _ = match change {
                Ok(Change::Tools) => sink.notify_tool_list_changed().await,
                Ok(Change::Prompts) => sink.notify_prompt_list_changed().await,
                Ok(Change::Resource) => sink.notify_resource_updated(WATCHED).await,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return Ok(()),
            };
        }
    }
}
