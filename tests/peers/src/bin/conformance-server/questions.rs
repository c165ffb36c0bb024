//! The tools that ask the client in between: in the legacy era by a request of the server, in the modern one by a
//! result that is none yet.

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientResult, CustomNotification, ElicitRequest,
        ErrorCode, GetPromptRequestParams, GetPromptResponse, GetPromptResult, InputRequest, InputRequests,
        InputRequiredResult, InputResponses, PingRequest, ServerRequest,
    },
    service::{RequestContext, ServiceError},
};
use serde_json::{Value, json};

use crate::{
    server::Conformance,
    tools::{complete, of, sampling, text},
};

/// A page is to be visited before a call: revision 2025-11-25 alone knows it.
const URL_ELICITATION_REQUIRED: ErrorCode = ErrorCode(-32042);
/// By which a session knows that a user was sent to a page.
const VISIT_ID: &str = "visit-1";

type Answer = Result<CallToolResponse, ErrorData>;

/// Runs a tool that asks; `None` for any other.
pub async fn call(
    server: &Conformance,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Option<Answer> {
    let argument = |name: &str| {
        let arguments = request.arguments.as_ref();
        arguments
            .and_then(|arguments| arguments.get(name))
            .cloned()
            .unwrap_or_default()
    };
    let name = &*request.name;
    if let Some(kind) = name.strip_prefix("test_input_required_result_") {
        return Some(input_required(server, kind, request, context));
    }
    Some(match name {
        "test_sampling" => ask(context, sample(&argument("prompt"), 100), "LLM response").await,
        "test_elicitation" => {
            let properties = json!({
                "username": {"type": "string", "description": "User's response"},
                "email": {"type": "string", "description": "User's email address"},
            });
            let question = elicit(&argument("message"), properties, &["username", "email"]);
            ask(context, question, "User response").await
        }
        "test_elicitation_sep1034_defaults" => {
            let properties = json!({
                "name": {"type": "string", "default": "John Doe"},
                "age": {"type": "integer", "default": 30},
                "score": {"type": "number", "default": 95.5},
                "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
                "verified": {"type": "boolean", "default": true},
            });
            let question = elicit(&json!("Please check these."), properties, &[]);
            ask(context, question, "Elicitation completed").await
        }
        "test_elicitation_sep1330_enums" => {
            let options = ["option1", "option2", "option3"];
            let titled = json!([
                {"const": "value1", "title": "First"},
                {"const": "value2", "title": "Second"},
                {"const": "value3", "title": "Third"},
            ]);
            let properties = json!({
                "untitledSingle": {"type": "string", "enum": options},
                "titledSingle": {"type": "string", "oneOf": titled},
                "legacyEnum": {
                    "type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"],
                },
                "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
                "titledMulti": {"type": "array", "items": {"anyOf": titled}},
            });
            let question = elicit(&json!("Please choose."), properties, &[]);
            ask(context, question, "Elicitation completed").await
        }
        "visit" => {
            let visited = ask(context, visit(Some(VISIT_ID)), "User response").await;
            let done = CustomNotification::new(
                "notifications/elicitation/complete",
                Some(json!({"elicitationId": VISIT_ID})),
            );
            // A client that is gone needs no word.
            let _ = context.peer.send_notification(done.into()).await;
            visited
        }
        "gate" => Err(ErrorData::new(
            URL_ELICITATION_REQUIRED,
            "This request wants a page visited first.",
            Some(json!({"elicitations": [visit(Some(VISIT_ID))["params"]]})),
        )),
        "ping" => {
            let there = context.peer.send_request(PingRequest::default().into()).await;
            match there {
                Ok(_) => text("It is there."),
                Err(error) => Err(unanswered(&error)),
            }
        }
        "test_streaming_elicitation" => match &request.input_responses {
            Some(_) => text("The user has answered."),
            None => required(&[("user_name", name_question())], None),
        },
        _ => return None,
    })
}

/// Asks the client by a request, and answers with what it said.
async fn ask(context: &RequestContext<RoleServer>, question: Value, said: &str) -> Answer {
    let request: ServerRequest = match question["method"].as_str() {
        Some("elicitation/create") => of::<ElicitRequest>(question).map(ServerRequest::ElicitRequest)?,
        _ => ServerRequest::CreateMessageRequest(of(question)?),
    };
    let answer = context.peer.send_request(request).await;
    match answer.map_err(|error| unanswered(&error))? {
        ClientResult::CreateMessageResult(sampled) => {
            let sampled = json!(sampled);
            text(format!(
                "{said}: {}",
                sampled["content"]["text"].as_str().unwrap_or_default()
            ))
        }
        ClientResult::ElicitResult(answer) => {
            let answer = json!(answer);
            let action = answer["action"].as_str().unwrap_or_default();
            text(format!("{said}: action={action}, content={}", answer["content"]))
        }
        _ => Err(ErrorData::internal_error("The client answered something else", None)),
    }
}

fn unanswered(error: &ServiceError) -> ErrorData {
    ErrorData::internal_error(format!("The client did not answer: {error}"), None)
}

/// A question of the user.
pub fn elicit(message: &Value, properties: Value, required: &[&str]) -> Value {
    json!({"method": "elicitation/create", "params": {
        "mode": "form",
        "message": message,
        "requestedSchema": {"type": "object", "properties": properties, "required": required},
    }})
}

/// A question of the client's model.
fn sample(prompt: &Value, max_tokens: u32) -> Value {
    json!({"method": "sampling/createMessage", "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": prompt}}],
        "maxTokens": max_tokens,
    }})
}

/// Sends the user to a page; sessions know the question by an id.
fn visit(id: Option<&str>) -> Value {
    let mut params = json!({
        "mode": "url", "message": "Please sign in.", "url": "https://example.com/visit?who=Ada&then=%2Fhome",
    });
    if let Some(id) = id {
        params["elicitationId"] = json!(id);
    }
    json!({"method": "elicitation/create", "params": params})
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

pub fn name_question() -> Value {
    elicit(
        &json!("What is your name?"),
        json!({"name": {"type": "string"}}),
        &["name"],
    )
}

fn confirm_question() -> Value {
    elicit(&json!("Please confirm"), json!({"ok": {"type": "boolean"}}), &["ok"])
}

fn result(questions: &[(&str, Value)], state: Option<String>) -> Result<InputRequiredResult, ErrorData> {
    let mut requests = InputRequests::new();
    for (key, question) in questions {
        requests.insert((*key).to_owned(), of::<InputRequest>(question.clone())?);
    }
    Ok(InputRequiredResult::new(Some(requests), state))
}

pub fn required(questions: &[(&str, Value)], state: Option<String>) -> Answer {
    Ok(result(questions, state)?.into())
}

/// An answer under this key that says something: an object.
pub fn answered<'a>(responses: Option<&'a InputResponses>, key: &str) -> Option<&'a Value> {
    responses?.get(key).filter(|answer| answer.is_object())
}

/// Runs a tool that asks by its result.
fn input_required(
    server: &Conformance,
    kind: &str,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Answer {
    let responses = request.input_responses.as_ref();
    let state = || match &request.request_state {
        None => Ok(None),
        Some(state) => match server.shared.bring_back(state) {
            Some(round) => Ok(Some(round)),
            None => Err(ErrorData::invalid_params(
                "This state is not one that was handed out",
                None,
            )),
        },
    };
    let hand_out = |round| Some(server.shared.hand_out(round));
    match kind {
        "elicitation" => match answered(responses, "user_name") {
            None => required(&[("user_name", name_question())], None),
            Some(answer) => text(format!(
                "Hello, {}!",
                answer["content"]["name"].as_str().unwrap_or("stranger")
            )),
        },
        "sampling" => match answered(responses, "capital_question") {
            None => required(
                &[(
                    "capital_question",
                    sample(&json!("What is the capital of France?"), 100),
                )],
                None,
            ),
            Some(answer) => text(answer["content"]["text"].as_str().unwrap_or_default()),
        },
        "visit" => match answered(responses, "visit") {
            None => required(&[("visit", visit(None))], None),
            Some(answer) => text(format!("User response: action={}", answer["action"])),
        },
        "list_roots" => match answered(responses, "client_roots") {
            None => required(&[("client_roots", roots())], None),
            Some(answer) => text(format!("Roots: {}", answer["roots"])),
        },
        "request_state" | "tampered_state" => match (state()?, answered(responses, "confirm")) {
            (Some(1), Some(_)) => text("state-ok"),
            _ => required(&[("confirm", confirm_question())], hand_out(1)),
        },
        "multiple_inputs" => {
            let keys = ["user_name", "greeting", "client_roots"];
            let complete = keys.iter().all(|key| answered(responses, key).is_some());
            match (state()?, complete) {
                (Some(1), true) => text("All three were answered."),
                _ => required(
                    &[
                        ("user_name", name_question()),
                        ("greeting", sample(&json!("Generate a greeting"), 50)),
                        ("client_roots", roots()),
                    ],
                    hand_out(1),
                ),
            }
        }
        "multi_round" => match (state()?, answered(responses, "step1"), answered(responses, "step2")) {
            (Some(1), Some(_), _) => {
                let color = json!({"color": {"type": "string"}});
                let question = elicit(&json!("Step 2: What is your favorite color?"), color, &["color"]);
                required(&[("step2", question)], hand_out(2))
            }
            (Some(2), _, Some(answer)) => text(format!("Your colour is {}.", answer["content"]["color"])),
            _ => {
                let name = json!({"name": {"type": "string"}});
                let question = elicit(&json!("Step 1: What is your name?"), name, &["name"]);
                required(&[("step1", question)], hand_out(1))
            }
        },
        "capabilities" => {
            let able = context.client_capabilities().unwrap_or_default();
            let questions = questions_for(&able);
            match questions.iter().all(|(key, _)| answered(responses, key).is_some()) {
                true => text("The client was asked what it can answer."),
                false => required(&questions, None),
            }
        }
        other => Err(ErrorData::invalid_params(
            format!("Unknown tool: test_input_required_result_{other}"),
            None,
        )),
    }
}

/// One question of each kind that a client can answer.
fn questions_for(able: &ClientCapabilities) -> Vec<(&'static str, Value)> {
    let mut questions = Vec::new();
    if sampling(able) {
        questions.push(("greeting", sample(&json!("Generate a greeting"), 50)));
    }
    if able.elicitation.is_some() {
        questions.push(("user_name", name_question()));
    }
    questions
}

/// The prompt that asks by its result.
pub fn prompt(request: &GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    let Some(answer) = answered(request.input_responses.as_ref(), "user_context") else {
        let context = json!({"context": {"type": "string"}});
        let question = elicit(&json!("What context should the prompt use?"), context, &["context"]);
        return Ok(result(&[("user_context", question)], None)?.into());
    };
    let text = format!("In the context of {}.", answer["content"]["context"]);
    let message = json!({"role": "user", "content": {"type": "text", "text": text}});
    Ok(complete::<GetPromptResult>(json!({ "messages": [message] }))?.into())
}
