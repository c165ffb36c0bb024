//! Asks a server what it offers, in each era that it speaks.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio::time::timeout;

use super::{
    Catalogue, Item, Speaks,
    catalogue::{self, Capabilities, Extensions},
    limits::{ANSWER_TIMEOUT, MAX_ANSWER_BYTES, MAX_CATALOGUE_BYTES, MAX_ITEMS, MAX_PAGES},
};
use crate::{
    mcp::{
        Kind,
        error::code,
        headers::{MCP_METHOD, MCP_PROTOCOL_VERSION, MCP_SESSION_ID},
        message::Peek,
        sse::Parser,
        version::Revision,
    },
    upstream::{Behalf, BodyError, Endpoint, Upstream, UpstreamBody, UpstreamError},
};

/// What a server says of itself, before it lists anything.
pub(super) struct Introduced {
    /// Without its lists.
    catalogue: Catalogue,
    /// The ways in which the server was asked, and can be listened to. Never empty.
    pub(super) tongues: Vec<Tongue>,
    /// How long it says that this holds.
    pub(super) ttl: Option<Duration>,
}

/// A way to speak with a server.
pub(super) enum Tongue {
    /// In a session.
    Legacy {
        session: Option<HeaderValue>,
        revision: HeaderValue,
        endpoint: Endpoint,
    },
    /// Without one.
    Modern,
}

impl Tongue {
    pub(super) fn identify(&self, headers: &mut HeaderMap) {
        if let Self::Legacy { session, revision, .. } = self {
            headers.insert(MCP_PROTOCOL_VERSION, revision.clone());
            if let Some(session) = session {
                headers.insert(MCP_SESSION_ID, session.clone());
            }
        }
    }

    pub(super) fn endpoint(&self, upstream: &Upstream) -> Option<Endpoint> {
        match self {
            Self::Legacy { endpoint, .. } => Some(endpoint.clone()),
            Self::Modern => upstream.pick().ok(),
        }
    }
}

/// Why a server's offers are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{}", .0.explain())]
    Upstream(#[from] UpstreamError),
    #[error("broke off its answer: {0}")]
    Broken(#[from] BodyError),
    #[error("did not answer {0} within {ANSWER_TIMEOUT:?}")]
    Timeout(&'static str),
    #[error("answered {method} with HTTP {status}")]
    Status { method: &'static str, status: StatusCode },
    #[error("answered {method} with an error: {message:?} ({code})")]
    Refused {
        method: &'static str,
        code: i64,
        message: String,
    },
    #[error("gave no valid answer to {0}")]
    Nonsense(&'static str),
    #[error("answered {0} with more than is kept")]
    TooLarge(&'static str),
    #[error("gave the same cursor twice in {0}")]
    CursorLoop(&'static str),
}

impl FetchError {
    /// Whether the server did not say anything.
    fn is_of_the_way(&self) -> bool {
        matches!(self, Self::Upstream(_) | Self::Broken(_))
    }
}

/// Asks a server who it is, in both eras.
pub(super) async fn introduce(upstream: &Upstream) -> Result<Introduced, FetchError> {
    let mut modern = discover(upstream).await;
    let mut legacy = initialize(upstream).await;
    // A server that was restarted between the two questions is not one that speaks one era only.
    match (&modern, &legacy) {
        (Err(error), Ok(_)) if error.is_of_the_way() => modern = discover(upstream).await,
        (Ok(_), Err(error)) if error.is_of_the_way() => legacy = initialize(upstream).await,
        _ => {}
    }
    let mut tongues = Vec::new();
    let mut speaks = Speaks::default();
    let (mut features, mut instructions, mut ttl) = (Capabilities::default(), None, None);
    let mut extensions = Extensions::default();
    let mut error = None;
    match legacy {
        Ok((tongue, said)) => {
            speaks.legacy = said.protocol_version.parse().ok();
            features = features.or(Capabilities::read(&said.capabilities));
            extensions = catalogue::extensions(&said.capabilities);
            instructions = said.instructions;
            tongues.push(tongue);
        }
        Err(why) => error = Some(why),
    }
    match modern {
        Ok(said) => {
            speaks.modern = true;
            features = features.or(Capabilities::read(&said.capabilities));
            extensions = catalogue::extensions(&said.capabilities);
            instructions = said.instructions.or(instructions);
            ttl = said.ttl_ms.map(Duration::from_millis);
            tongues.push(Tongue::Modern);
        }
        Err(why) => error = error.map(|_| why),
    }
    if tongues.is_empty() {
        return Err(error.unwrap_or(FetchError::Nonsense("initialize")));
    }
    let catalogue = Catalogue {
        speaks,
        features,
        extensions,
        instructions,
        tools: Vec::new().into(),
        prompts: Vec::new(),
        resources: Vec::new(),
        templates: Vec::new(),
        fetched: SystemTime::now(),
    };
    Ok(Introduced {
        catalogue,
        tongues,
        ttl,
    })
}

/// Asks a server for its lists, all at once: in the modern era, where it speaks that. A list that cannot be had stays
/// as it was `before`, and is named with the reason; it is an error when none of them can be had.
pub(super) async fn list(
    upstream: &Upstream,
    introduced: &Introduced,
    before: Option<&Catalogue>,
) -> Result<(Catalogue, Vec<String>), FetchError> {
    let Introduced { catalogue, tongues, .. } = introduced;
    let tongue = tongues.last().ok_or(FetchError::Nonsense("initialize"))?;
    let room = AtomicUsize::new(MAX_CATALOGUE_BYTES);
    let list = async |wanted: bool, method, member, key| match wanted {
        true => lists(upstream, tongue, method, member, key, &room).await,
        false => Ok(Vec::new()),
    };
    let has = catalogue.features;
    let (tools, prompts, resources, templates) = tokio::join!(
        list(has.tools, "tools/list", "tools", "name"),
        list(has.prompts, "prompts/list", "prompts", "name"),
        list(has.resources, "resources/list", "resources", "uri"),
        list(
            has.resources,
            "resources/templates/list",
            "resourceTemplates",
            "uriTemplate"
        ),
    );
    let asked = usize::from(has.tools) + usize::from(has.prompts) + 2 * usize::from(has.resources);
    let mut errors = Vec::new();
    let mut or_before = |listed: Result<Vec<Item>, FetchError>, before: Option<&[Item]>| {
        listed.unwrap_or_else(|error| {
            errors.push(error);
            before.map(<[Item]>::to_vec).unwrap_or_default()
        })
    };
    let catalogue = Catalogue {
        tools: or_before(tools, before.map(|before| &*before.tools)).into(),
        prompts: or_before(prompts, before.map(|before| &*before.prompts)),
        resources: or_before(resources, before.map(|before| &*before.resources)),
        templates: or_before(templates, before.map(|before| &*before.templates)),
        fetched: SystemTime::now(),
        ..catalogue.clone()
    };
    match errors.pop() {
        Some(last) if errors.len() + 1 == asked => Err(last),
        last => {
            let missing = errors.iter().chain(&last).map(FetchError::to_string).collect();
            Ok((catalogue, missing))
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: String,
    capabilities: Box<RawValue>,
    instructions: Option<String>,
}

async fn initialize(upstream: &Upstream) -> Result<(Tongue, Initialized), FetchError> {
    const METHOD: &str = "initialize";
    let endpoint = upstream.pick()?;
    // Some servers list a tool only to clients that can do what it needs: of these the gateway wants to know too.
    let capabilities =
        json!({ "sampling": {}, "elicitation": { "form": {}, "url": {} }, "roots": { "listChanged": true } });
    let params = json!({
        "protocolVersion": Revision::LATEST_LEGACY.as_str(), "capabilities": capabilities, "clientInfo": ourselves(),
    });
    let response = send(upstream, &endpoint, METHOD, request(METHOD, &params)).await?;
    let session = response.headers().get(MCP_SESSION_ID).cloned();
    let said: Initialized = answer(response, METHOD).await?;
    let revision = HeaderValue::from_str(&said.protocol_version).map_err(|_| FetchError::Nonsense(METHOD))?;
    let tongue = Tongue::Legacy {
        session,
        revision,
        endpoint,
    };
    let body = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let mut initialized = post(body);
    tongue.identify(initialized.headers_mut());
    let endpoint = tongue.endpoint(upstream).ok_or(FetchError::Nonsense(METHOD))?;
    send(upstream, &endpoint, "notifications/initialized", initialized).await?;
    Ok((tongue, said))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovered {
    supported_versions: Vec<String>,
    capabilities: Box<RawValue>,
    instructions: Option<String>,
    ttl_ms: Option<u64>,
}

async fn discover(upstream: &Upstream) -> Result<Discovered, FetchError> {
    const METHOD: &str = "server/discover";
    let endpoint = upstream.pick()?;
    let response = send(upstream, &endpoint, METHOD, modern(METHOD, json!({}))).await?;
    let said: Discovered = answer(response, METHOD).await?;
    match said
        .supported_versions
        .iter()
        .any(|version| version == Revision::MODERN.as_str())
    {
        true => Ok(said),
        false => Err(FetchError::Nonsense(METHOD)),
    }
}

/// All items of a list. One that has no name is left out, as is one whose name another has had before.
async fn lists(
    upstream: &Upstream,
    tongue: &Tongue,
    method: &'static str,
    member: &'static str,
    key: &'static str,
    room: &AtomicUsize,
) -> Result<Vec<Item>, FetchError> {
    let (mut items, mut names, mut cursors) = (Vec::new(), HashSet::new(), HashSet::new());
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let params = match &cursor {
            Some(cursor) => json!({ "cursor": cursor }),
            None => json!({}),
        };
        let request = match tongue {
            Tongue::Legacy { .. } => {
                let mut request = request(method, &params);
                tongue.identify(request.headers_mut());
                request
            }
            Tongue::Modern => modern(method, params),
        };
        let endpoint = tongue.endpoint(upstream).ok_or(FetchError::Nonsense(method))?;
        let page = answer::<Page>(send(upstream, &endpoint, method, request).await?, method).await;
        let page = match page {
            Ok(page) => page,
            // It said that it has such things, and does not know the list of them.
            Err(FetchError::Refused {
                code: code::METHOD_NOT_FOUND,
                ..
            }) => return Ok(items),
            Err(error) => return Err(error),
        };
        let listed: Vec<&RawValue> = match page.members.get(member) {
            Some(list) => serde_json::from_str(list.get()).map_err(|_| FetchError::Nonsense(method))?,
            None => return Err(FetchError::Nonsense(method)),
        };
        for raw in listed {
            let Ok(item) = Item::read(raw, key) else { continue };
            if !names.insert(item.name.clone()) {
                continue;
            }
            let take = |room: usize| room.checked_sub(item.json.len());
            room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .map_err(|_| FetchError::TooLarge(method))?;
            items.push(item);
            if items.len() > MAX_ITEMS {
                return Err(FetchError::TooLarge(method));
            }
        }
        cursor = page
            .members
            .get("nextCursor")
            .and_then(|next| serde_json::from_str(next.get()).ok());
        match &cursor {
            None => return Ok(items),
            Some(next) if !cursors.insert(next.clone()) => return Err(FetchError::CursorLoop(method)),
            Some(_) => {}
        }
    }
    Err(FetchError::TooLarge(method))
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Page {
    members: std::collections::HashMap<String, Box<RawValue>>,
}

fn ourselves() -> Value {
    json!({"name": "mcpgw", "version": env!("CARGO_PKG_VERSION")})
}

/// A request with an id of its own: several are under way in one session.
fn request(method: &str, params: &Value) -> Request<Full<Bytes>> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    post(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

/// A request of the modern era.
pub(super) fn modern(method: &'static str, mut params: Value) -> Request<Full<Bytes>> {
    let version = Revision::MODERN.as_str();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientInfo": ourselves(),
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut request = request(method, &params);
    let headers = request.headers_mut();
    headers.insert(MCP_PROTOCOL_VERSION, HeaderValue::from_static(version));
    headers.insert(MCP_METHOD, HeaderValue::from_static(method));
    request
}

fn post(body: Value) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body.to_string().into()));
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let accept = HeaderValue::from_static("application/json, text/event-stream");
    headers.insert(header::ACCEPT, accept);
    request
}

/// The path of the server's endpoint.
pub(super) fn path(upstream: &Upstream) -> Uri {
    // Validated with the resources.
    upstream.server().path.parse().unwrap_or_default()
}

async fn send(
    upstream: &Upstream,
    endpoint: &Endpoint,
    method: &'static str,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<UpstreamBody>, FetchError> {
    *request.uri_mut() = path(upstream);
    request.extensions_mut().insert(Behalf::Agent);
    let sent = timeout(ANSWER_TIMEOUT, upstream.ask(endpoint, request)).await;
    Ok(sent.map_err(|_| FetchError::Timeout(method))??)
}

/// The result of an answer.
async fn answer<T: for<'de> Deserialize<'de>>(
    response: Response<UpstreamBody>,
    method: &'static str,
) -> Result<T, FetchError> {
    #[derive(Deserialize)]
    struct Answer<T> {
        result: Option<T>,
        error: Option<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        code: i64,
        message: String,
    }
    let status = response.status();
    let read = timeout(ANSWER_TIMEOUT, message(response, method)).await;
    let message = read.map_err(|_| FetchError::Timeout(method))??;
    match message.and_then(|message| serde_json::from_slice(&message).ok()) {
        Some(Answer {
            result: Some(result), ..
        }) => Ok(result),
        Some(Answer { error: Some(error), .. }) => Err(FetchError::Refused {
            method,
            code: error.code,
            message: error.message.chars().take(200).collect(),
        }),
        _ if !status.is_success() => Err(FetchError::Status { method, status }),
        _ => Err(FetchError::Nonsense(method)),
    }
}

/// The message that answers.
async fn message(response: Response<UpstreamBody>, method: &'static str) -> Result<Option<Bytes>, FetchError> {
    let media = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let events = media.is_some_and(|media| media.trim_start().starts_with("text/event-stream"));
    let mut body = response.into_body();
    let (mut whole, mut read) = (BytesMut::new(), 0);
    let mut parser = Parser::new(MAX_ANSWER_BYTES);
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        read += chunk.len();
        if read > MAX_ANSWER_BYTES {
            return Err(FetchError::TooLarge(method));
        }
        if !events {
            whole.extend_from_slice(&chunk);
            continue;
        }
        parser.feed(&chunk);
        for event in parser.by_ref() {
            let Some(data) = event.map_err(|_| FetchError::TooLarge(method))?.data else {
                continue;
            };
            if Peek::new(&data).is_ok_and(|message| message.kind == Kind::Response) {
                return Ok(Some(data));
            }
        }
    }
    Ok((!events).then(|| whole.freeze()))
}
