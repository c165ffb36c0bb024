//! The tools that answer with a task, for clients that know the extension, and what becomes of it.

use std::{collections::BTreeMap, time::Duration};

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, CreateTaskResult, InputRequest,
    },
    service::RequestContext,
    task_manager::{TaskContext, TaskExit, TaskFuture, TaskOptions},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    questions::{answered, elicit, name_question, required},
    server::Conformance,
    tools::{complete, of, text},
};

/// How often a client should ask how far a task is.
const POLL_MS: u64 = 100;
/// How long a task takes that takes no time of its own.
const WORK: Duration = Duration::from_millis(200);

/// Runs a tool that knows tasks; `None` for any other.
pub async fn call(
    server: &Conformance,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Option<Result<CallToolResponse, ErrorData>> {
    let argument = |name: &str| {
        let arguments = request.arguments.as_ref();
        arguments
            .and_then(|arguments| arguments.get(name))
            .cloned()
            .unwrap_or_default()
    };
    let able = context.client_capabilities().is_some_and(|able| able.supports_tasks());
    let spawn = |make: fn(TaskContext, Value) -> TaskFuture, given: Value| {
        if !able {
            let needed: ClientCapabilities = of(json!({"extensions": {"io.modelcontextprotocol/tasks": {}}}))?;
            return Err(ErrorData::missing_required_client_capability(needed));
        }
        let options = TaskOptions::new().with_poll_interval_ms(POLL_MS);
        let task = server.shared.tasks.spawn(options, |task| make(task, given));
        Ok(CreateTaskResult::new(task).into())
    };
    Some(match &*request.name {
        "greet" => text(format!("Hello, {}!", argument("name").as_str().unwrap_or("stranger"))),
        "slow_compute" => {
            let seconds = argument("seconds").as_f64().unwrap_or_default();
            if !able || seconds == 0.0 {
                sleep(Duration::from_secs_f64(seconds)).await;
                return Some(text("It is computed."));
            }
            spawn(slow, json!(seconds))
        }
        "failing_job" => spawn(failing, Value::Null),
        "protocol_error_job" => spawn(broken, Value::Null),
        "confirm_delete" => spawn(confirm, argument("filename")),
        "multi_input" => spawn(two_questions, Value::Null),
        "test_tool_with_task" => match answered(request.input_responses.as_ref(), "user_name") {
            None => required(&[("user_name", name_question())], Some(server.shared.hand_out(1))),
            Some(answer) => spawn(greeting, answer["content"]["name"].clone()),
        },
        _ => return None,
    })
}

fn done(text: String) -> Result<CallToolResult, TaskExit> {
    Ok(complete(json!({"content": [{"type": "text", "text": text}]}))?)
}

/// Waits, unless it is cancelled first.
async fn work(task: &TaskContext, time: Duration) -> Result<(), TaskExit> {
    tokio::select! {
        () = sleep(time) => Ok(()),
        () = task.cancelled() => Err(TaskExit::Cancelled),
    }
}

fn slow(task: TaskContext, seconds: Value) -> TaskFuture {
    Box::pin(async move {
        work(&task, Duration::from_secs_f64(seconds.as_f64().unwrap_or_default())).await?;
        done("It is computed.".to_owned())
    })
}

fn failing(task: TaskContext, _: Value) -> TaskFuture {
    Box::pin(async move {
        work(&task, WORK).await?;
        Ok(complete(
            json!({"content": [{"type": "text", "text": "The job failed."}], "isError": true}),
        )?)
    })
}

fn broken(task: TaskContext, _: Value) -> TaskFuture {
    Box::pin(async move {
        work(&task, WORK).await?;
        Err(TaskExit::Error(ErrorData::internal_error("The job is broken", None)))
    })
}

fn greeting(task: TaskContext, name: Value) -> TaskFuture {
    Box::pin(async move {
        work(&task, WORK).await?;
        done(format!("Hello, {}!", name.as_str().unwrap_or("stranger")))
    })
}

async fn confirmed(task: &TaskContext, key: &str, message: String) -> Result<Value, TaskExit> {
    let question = elicit(&json!(message), json!({"confirm": {"type": "boolean"}}), &["confirm"]);
    task.request_input(key, of::<InputRequest>(question)?).await
}

fn confirm(task: TaskContext, file: Value) -> TaskFuture {
    Box::pin(async move {
        let answer = confirmed(&task, "confirm", format!("Delete {file}?")).await?;
        done(format!("The user said {}.", answer["content"]["confirm"]))
    })
}

fn two_questions(task: TaskContext, _: Value) -> TaskFuture {
    Box::pin(async move {
        let (first, second) = tokio::try_join!(
            confirmed(&task, "first", "The first?".to_owned()),
            confirmed(&task, "second", "The second?".to_owned()),
        )?;
        let answers = BTreeMap::from([("first", first), ("second", second)]);
        done(format!("The user said {}.", json!(answers)))
    })
}
