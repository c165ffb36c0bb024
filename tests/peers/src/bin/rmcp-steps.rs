//! An MCP client as the rmcp SDK makes it, in both eras. Takes a URL, an era and steps as JSON; prints what each step
//! gave.
#![allow(
    deprecated,
    reason = "sampling and roots, which the SDK advises against, are asked for by servers"
)]

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest, CompletionContext,
        CreateMessageRequestParams, CreateMessageResult, CustomNotification, ElicitRequestParams, ElicitResult,
        GetPromptRequestParams, Implementation, ListRootsResult, LoggingLevel, LoggingMessageNotificationParam,
        PingRequest, ProgressNotificationParam, ProtocolVersion, ReadResourceRequestParams, RequestMetaObject,
        ResourceUpdatedNotificationParam, SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter,
        UnsubscribeRequestParams,
    },
    service::{NotificationContext, PeerRequestOptions, RequestContext, RunningService, ServiceError},
    transport::StreamableHttpClientTransport,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

/// For a notification to arrive.
const SOON: Duration = Duration::from_secs(10);
/// How often, and after how long, a server is asked whether it has noticed something.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// The loudest level at which a tool logs: nothing comes after it.
const LOUDEST: LoggingLevel = LoggingLevel::Error;

/// The page that a user visits, if a server asks for that in these words.
const VISIT: &str = "https://example.com/visit?who=Ada&then=%2Fhome";
/// Those words.
const WHY: &str = "Please sign in.";

#[derive(Deserialize)]
struct Step {
    r#do: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    uri: String,
    #[serde(default)]
    uris: Vec<String>,
    #[serde(default)]
    arguments: serde_json::Map<String, Value>,
    #[serde(default)]
    argument: Value,
    #[serde(default)]
    counter: String,
    /// What is known before a completion, by name.
    given: Option<HashMap<String, String>>,
    level: Option<LoggingLevel>,
    /// The elicitation that ends while the tool runs.
    completes: Option<String>,
}

/// How far a call is, and of how much.
type Progress = (f64, Option<f64>);

/// What the client hears while it takes its steps.
#[derive(Clone, Default)]
struct Client {
    progress: Arc<Mutex<Vec<Progress>>>,
    began: Arc<Notify>,
    told: Arc<Mutex<HashSet<News>>>,
    logged: Arc<Mutex<Vec<Value>>>,
}

/// What a server tells unasked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum News {
    Tools,
    Resource(String),
    Elicitation(String),
}

impl Client {
    fn progress(&self) -> std::sync::MutexGuard<'_, Vec<Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logged(&self) -> std::sync::MutexGuard<'_, Vec<Value>> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> std::sync::MutexGuard<'_, HashSet<News>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what was not told yet.
    async fn told_of(&self, news: &News) -> Result<()> {
        let told = async {
            while !self.told().contains(news) {
                sleep(PAUSE / 10).await;
            }
        };
        timeout(SOON, told).await.context("nothing was heard")
    }

    /// All that the server logged, once there is a message of which this holds, or long enough after.
    async fn logged_until(&self, is_last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let all = async {
            while !self.logged().iter().any(&is_last) {
                sleep(PAUSE).await;
            }
        };
        let _ = timeout(SOON, all).await;
        self.logged().clone()
    }

    /// All progress of a call that was answered: the SDK hands it on in tasks of their own, that may come later.
    async fn settled(&self) -> Vec<Progress> {
        let mut before = None;
        for _ in 0..TRIES {
            let now = self.progress().clone();
            if before.as_ref() == Some(&now) {
                return now;
            }
            before = Some(now);
            sleep(PAUSE / 2).await;
        }
        before.unwrap_or_default()
    }
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let able = json!({"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": true}});
        let able: ClientCapabilities = serde_json::from_value(able).unwrap_or_default();
        ClientConfig::new(able, Implementation::new("rmcp", "1"))
    }

    async fn create_message(
        &self,
        asked: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let last = asked.messages.last().map(|message| json!(message)).unwrap_or_default();
        let prompt = last["content"]["text"].as_str().unwrap_or_default();
        let text = format!("an answer to {prompt}");
        answer(json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": text}}))
    }

    async fn create_elicitation(
        &self,
        asked: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        answer(match asked {
            ElicitRequestParams::UrlElicitationParams { message, url, .. } if message == WHY && url == VISIT => {
                json!({"action": "accept"})
            }
            ElicitRequestParams::UrlElicitationParams { .. } => json!({"action": "decline"}),
            _ => json!({"action": "accept", "content": {"name": "Ada"}}),
        })
    }

    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        answer(json!({"roots": [{"uri": "file:///home/ada", "name": "home"}]}))
    }

    async fn on_progress(&self, step: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.progress().push((step.progress, step.total));
        self.began.notify_one();
    }

    async fn on_logging_message(&self, message: LoggingMessageNotificationParam, _: NotificationContext<RoleClient>) {
        let message = json!({"level": message.level, "logger": message.logger, "data": message.data});
        self.logged().push(message);
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.told().insert(News::Tools);
    }

    async fn on_resource_updated(&self, update: ResourceUpdatedNotificationParam, _: NotificationContext<RoleClient>) {
        self.told().insert(News::Resource(update.uri));
    }

    async fn on_custom_notification(&self, notification: CustomNotification, _: NotificationContext<RoleClient>) {
        let params = notification.params.unwrap_or_default();
        if let ("notifications/elicitation/complete", Some(id)) =
            (&*notification.method, params["elicitationId"].as_str())
        {
            self.told().insert(News::Elicitation(id.to_owned()));
        }
    }
}

/// Whole numbers as such: the SDK keeps some as floating point numbers, however they were said.
fn as_said(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|number| number.fract() == 0.0);
            if let (true, Some(whole)) = (number.is_f64(), whole) {
                *value = json!(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(as_said),
        Value::Object(members) => members.values_mut().for_each(as_said),
        _ => {}
    }
}

fn answer<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let [url, era, steps] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|given: Vec<_>| {
            anyhow::anyhow!(
                "a URL, an era and steps are wanted; {} arguments were given",
                given.len()
            )
        })?;
    let steps: Vec<Step> = serde_json::from_str(&steps).context("parse the steps")?;
    let modern = era == "modern";
    let lifecycle = match modern {
        true => ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
        false => ClientLifecycleMode::Initialize,
    };
    let handler = Client::default();
    let transport = StreamableHttpClientTransport::from_uri(url);
    let client = handler.clone().serve_with_lifecycle(transport, lifecycle).await?;
    let mut out = Vec::new();
    for step in steps {
        out.push(match take(&client, &handler, modern, step).await {
            Ok(gave) => gave,
            Err(error) => match error.downcast_ref::<ServiceError>() {
                Some(ServiceError::McpError(error)) => {
                    let mut said = json!({"code": error.code.0, "message": error.message});
                    if let Some(data) = &error.data {
                        said["data"] = data.clone();
                    }
                    json!({ "error": said })
                }
                _ => json!({"error": {"message": format!("{error:#}")}}),
            },
        });
    }
    let mut out = json!(out);
    as_said(&mut out);
    println!("{out}");
    // The session is closed as far as it still can be.
    let _ = client.cancel().await;
    Ok(())
}

async fn take(
    client: &RunningService<RoleClient, Client>,
    handler: &Client,
    modern: bool,
    step: Step,
) -> Result<Value> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let call = |name: &str| CallToolRequestParams::new(name.to_owned());
    Ok(match &*step.r#do {
        "hello" => {
            let said = client.peer_info().context("the server said nothing of itself")?;
            let mut said = json!({
                "capabilities": said.capabilities, "server": said.server_info, "instructions": said.instructions,
            });
            // As the other SDKs have it: what was not said is not there.
            if let Some(members) = said.as_object_mut() {
                members.retain(|_, value| !value.is_null());
            }
            said
        }
        "tools" => json!({"items": client.list_all_tools().await?}),
        "prompts" => json!({"items": client.list_all_prompts().await?}),
        "resources" => json!({"items": client.list_all_resources().await?}),
        "templates" => json!({"items": client.list_all_resource_templates().await?}),
        "ping" => json!(
            client
                .send_request(PingRequest::default().into())
                .await
                .map(|_| json!({}))?
        ),
        "call" => {
            handler.progress().clear();
            handler.told().clear();
            let result = client
                .call_tool(call(&step.name).with_arguments(step.arguments))
                .await?;
            if let Some(id) = step.completes {
                handler.told_of(&News::Elicitation(id)).await?;
            }
            json!({"result": result, "progress": handler.settled().await})
        }
        "prompt" => {
            let prompt = GetPromptRequestParams::new(step.name).with_arguments(step.arguments);
            json!(client.get_prompt(prompt).await?)
        }
        "read" => json!(client.read_resource(ReadResourceRequestParams::new(step.uri)).await?),
        "complete" => {
            let (name, value) = (text(&step.argument["name"]), text(&step.argument["value"]));
            let given = step.given.map(CompletionContext::with_arguments);
            let completed = match step.uri.is_empty() {
                true => client.complete_prompt_argument(step.name, name, value, given).await?,
                false => client.complete_resource_argument(step.uri, name, value, given).await?,
            };
            json!({ "completion": completed })
        }
        "cancel" => {
            // How many calls the server has seen cancelled.
            let count = async || -> Result<u64> {
                let counted = json!(client.call_tool(call(&step.counter)).await?);
                Ok(text(&counted["content"][0]["text"]).parse()?)
            };
            let before = count().await?;
            // Calls before this one told how far they were, too.
            let _ = timeout(Duration::ZERO, handler.began.notified()).await;
            let request = ClientRequest::CallToolRequest(CallToolRequest::new(call(&step.name)));
            let handle = client
                .send_request_with_option(request, PeerRequestOptions::no_options())
                .await?;
            timeout(SOON, handler.began.notified())
                .await
                .context("the call did not begin")?;
            handle.cancel(None).await?;
            let mut noticed = false;
            for _ in 0..TRIES {
                noticed = count().await? > before;
                if noticed {
                    break;
                }
                sleep(PAUSE).await;
            }
            json!({"ended": "cancelled", "noticed": noticed})
        }
        "changes" | "updates" => {
            hear(client, handler, modern, &step).await?;
            json!({"heard": true})
        }
        "log" => {
            let level = step.level.context("a level is wanted")?;
            handler.logged().clear();
            let mut call = call(&step.name);
            if modern {
                // Of this one nothing is to be heard.
                client.call_tool(call.clone()).await?;
                call.meta
                    .get_or_insert_with(RequestMetaObject::default)
                    .set_log_level(level);
            } else {
                client.set_level(SetLevelRequestParams::new(level)).await?;
            }
            let result = client.call_tool(call).await?;
            let heard = handler.logged_until(|message| message["level"] == json!(LOUDEST)).await;
            json!({"heard": heard, "result": result})
        }
        "acknowledged" => json!({"heard": acknowledged(client, handler, &step).await?}),
        other => bail!("no such step: {other}"),
    })
}

/// What the server logs of two subscriptions, the first of them at a time when it is to log less.
async fn acknowledged(client: &RunningService<RoleClient, Client>, handler: &Client, step: &Step) -> Result<Value> {
    let [quiet, loud] = &*step.uris else {
        bail!("two resources are wanted")
    };
    let about = |message: &Value, uri: &str| message["data"].as_str().is_some_and(|data| data.contains(uri));
    let level = step.level.context("a level is wanted")?;
    handler.logged().clear();
    for (level, uri) in [(LOUDEST, quiet), (level, loud)] {
        client.set_level(SetLevelRequestParams::new(level)).await?;
        client.subscribe(SubscribeRequestParams::new(uri.clone())).await?;
    }
    let mut messages = handler.logged_until(|message| about(message, loud)).await;
    client.set_level(SetLevelRequestParams::new(LOUDEST)).await?;
    for uri in [quiet, loud] {
        client.unsubscribe(UnsubscribeRequestParams::new(uri.clone())).await?;
    }
    messages.retain(|message| about(message, quiet) || about(message, loud));
    let said = messages.iter().map(|message| {
        let data = message["data"].as_str().unwrap_or_default();
        let (data, _) = data.split_once(" from session").unwrap_or((data, ""));
        json!({"level": message["level"], "data": data})
    });
    Ok(said.collect())
}

/// Calls a tool, and waits for what it changes.
async fn hear(client: &RunningService<RoleClient, Client>, handler: &Client, modern: bool, step: &Step) -> Result<()> {
    let updates = step.r#do == "updates";
    let trigger = || {
        let call = CallToolRequestParams::new(step.name.clone());
        client.call_tool(call.with_arguments(step.arguments.clone()))
    };
    if modern {
        let wanted = match updates {
            true => SubscriptionFilter::builder().resource_subscription(&step.uri).build(),
            false => SubscriptionFilter::builder().tools_list_changed().build(),
        };
        let mut subscription = client.listen(wanted).await?;
        trigger().await?;
        timeout(SOON, subscription.next())
            .await
            .context("nothing was heard")??;
        subscription.cancel().await?;
    } else {
        if updates {
            client.subscribe(SubscribeRequestParams::new(step.uri.clone())).await?;
        }
        handler.told().clear();
        trigger().await?;
        let news = match updates {
            true => News::Resource(step.uri.clone()),
            false => News::Tools,
        };
        handler.told_of(&news).await?;
        if updates {
            client
                .unsubscribe(UnsubscribeRequestParams::new(step.uri.clone()))
                .await?;
        }
    }
    if !updates {
        trigger().await?;
    }
    Ok(())
}
