//! An MCP client as the rmcp SDK makes it, in both eras. Takes a URL, an era and steps as JSON; prints what each step
//! gave.
#![allow(
    deprecated,
    reason = "sampling and roots, which the SDK advises against, are asked for by servers"
)]

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest,
        CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams, ElicitResult, GetPromptRequestParams,
        Implementation, ListRootsResult, ProgressNotificationParam, ProtocolVersion, ReadResourceRequestParams,
        ResourceUpdatedNotificationParam, SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
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

#[derive(Deserialize)]
struct Step {
    r#do: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    uri: String,
    #[serde(default)]
    arguments: serde_json::Map<String, Value>,
    #[serde(default)]
    argument: Value,
    #[serde(default)]
    counter: String,
}

/// How far a call is, and of how much.
type Progress = (f64, Option<f64>);

/// What the client hears while it takes its steps.
#[derive(Clone, Default)]
struct Client {
    progress: Arc<Mutex<Vec<Progress>>>,
    began: Arc<Notify>,
    heard: Arc<Notify>,
}

impl Client {
    fn progress(&self) -> std::sync::MutexGuard<'_, Vec<Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
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
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        answer(json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "sampled"}}))
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        answer(json!({"action": "accept", "content": {"name": "Ada"}}))
    }

    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        answer(json!({"roots": []}))
    }

    async fn on_progress(&self, step: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.progress().push((step.progress, step.total));
        self.began.notify_one();
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.heard.notify_one();
    }

    async fn on_resource_updated(&self, _: ResourceUpdatedNotificationParam, _: NotificationContext<RoleClient>) {
        self.heard.notify_one();
    }
}

/// Progress in whole numbers where it was in such.
fn as_said(progress: &[Progress]) -> Value {
    let number = |number: f64| match number.fract() == 0.0 {
        true => json!(number as i64),
        false => json!(number),
    };
    let step = |(done, total): &Progress| json!([number(*done), total.map(number)]);
    progress.iter().map(step).collect()
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
                    json!({"error": {"code": error.code.0, "message": error.message}})
                }
                _ => json!({"error": {"message": format!("{error:#}")}}),
            },
        });
    }
    println!("{}", json!(out));
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
        "tools" => json!(client.list_all_tools().await?),
        "prompts" => json!(client.list_all_prompts().await?),
        "resources" => json!(client.list_all_resources().await?),
        "templates" => json!(client.list_all_resource_templates().await?),
        "call" => {
            handler.progress().clear();
            let result = client
                .call_tool(call(&step.name).with_arguments(step.arguments))
                .await?;
            json!({"result": result, "progress": as_said(&handler.settled().await)})
        }
        "prompt" => {
            let prompt = GetPromptRequestParams::new(step.name).with_arguments(step.arguments);
            json!(client.get_prompt(prompt).await?)
        }
        "read" => json!(client.read_resource(ReadResourceRequestParams::new(step.uri)).await?),
        "complete" => {
            let (name, value) = (text(&step.argument["name"]), text(&step.argument["value"]));
            json!({"completion": client.complete_prompt_argument(step.name, name, value, None).await?})
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
        other => bail!("no such step: {other}"),
    })
}

/// Calls a tool, and waits for what it changes.
async fn hear(client: &RunningService<RoleClient, Client>, handler: &Client, modern: bool, step: &Step) -> Result<()> {
    let updates = step.r#do == "updates";
    let trigger = || client.call_tool(CallToolRequestParams::new(step.name.clone()));
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
        trigger().await?;
        timeout(SOON, handler.heard.notified())
            .await
            .context("nothing was heard")?;
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
