//! Asks a server what it offers, in each era that it speaks.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    Catalogue, Item, Speaks,
    ask::{FetchError, Session, Tongue, answer, modern, ourselves, post, request, send},
    catalogue::{self, Capabilities, Extensions},
    limits::{MAX_INSTRUCTIONS, MAX_ITEMS, MAX_PAGES},
};
use crate::{
    mcp::{error::code, headers, version::Revision},
    shares::Payer,
    upstream::{Behalf, Upstream},
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

impl Introduced {
    /// As `known` has it, of a server that speaks the modern era: it is asked for nothing but its lists.
    pub(super) fn before(known: &Catalogue) -> Self {
        Self {
            catalogue: known.clone(),
            tongues: vec![Tongue::Modern],
            ttl: None,
        }
    }
}

/// Asks a server who it is, in both eras, on somebody's behalf.
pub(super) async fn introduce(upstream: &Arc<Upstream>, behalf: &Behalf) -> Result<Introduced, FetchError> {
    let mut modern = discover(upstream, behalf).await;
    let mut legacy = initialize(upstream, behalf).await;
    // A server that was restarted between the two questions is not one that speaks one era only.
    match (&modern, &legacy) {
        (Err(error), Ok(_)) if error.is_of_the_way() => modern = discover(upstream, behalf).await,
        (Ok(_), Err(error)) if error.is_of_the_way() => legacy = initialize(upstream, behalf).await,
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
    let instructions = instructions.map(|mut text| {
        text.truncate(text.floor_char_boundary(MAX_INSTRUCTIONS));
        text.shrink_to_fit();
        text
    });
    let catalogue = Catalogue {
        speaks,
        features,
        extensions,
        instructions,
        tools: Vec::new().into(),
        prompts: Vec::new(),
        resources: Vec::new(),
        templates: Vec::new(),
        templates_left_out: 0,
        fetched: SystemTime::now(),
        is_private: false,
        ttl: None,
    };
    Ok(Introduced {
        catalogue,
        tongues,
        ttl,
    })
}

/// Asks a server for its lists, all at once: in the modern era, where it speaks that. A list that cannot be had stays
/// as it was `before`, and is named with the reason; it is an error when none of them can be had. More than `room`
/// bytes are not kept.
pub(super) async fn list(
    upstream: &Upstream,
    behalf: &Behalf,
    introduced: &Introduced,
    before: Option<&Catalogue>,
    room: usize,
) -> Result<(Catalogue, Vec<String>), FetchError> {
    let Introduced { catalogue, tongues, .. } = introduced;
    let tongue = tongues.last().ok_or(FetchError::Nonsense("initialize"))?;
    let asking = Asking {
        upstream,
        behalf,
        tongue,
        room: AtomicUsize::new(room),
        hints: Mutex::new(Hints {
            is_private: false,
            ttl: introduced.ttl,
        }),
    };
    let list = async |wanted: bool, method, member, key| match wanted {
        true => asking.lists(method, member, key).await,
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
    let (templates, templates_left_out) = match templates {
        Ok(listed) => {
            let (offered, left_out) = catalogue::offered_templates(listed);
            (Ok(offered), left_out)
        }
        Err(error) => (Err(error), before.map_or(0, |before| before.templates_left_out)),
    };
    let hints = asking.hints.into_inner().unwrap_or_else(PoisonError::into_inner);
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
        templates_left_out,
        fetched: SystemTime::now(),
        is_private: hints.is_private,
        ttl: hints.ttl,
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

async fn initialize(upstream: &Arc<Upstream>, behalf: &Behalf) -> Result<(Tongue, Initialized), FetchError> {
    const METHOD: &str = "initialize";
    let endpoint = upstream.pick(Payer::Agent)?;
    // Some servers list a tool only to clients that can do what it needs: of these the gateway wants to know too.
    let capabilities =
        json!({ "sampling": {}, "elicitation": { "form": {}, "url": {} }, "roots": { "listChanged": true } });
    let params = json!({
        "protocolVersion": Revision::LATEST_LEGACY.as_str(), "capabilities": capabilities, "clientInfo": ourselves(),
    });
    let response = send(upstream, behalf, &endpoint, METHOD, request(METHOD, &params)).await?;
    // Ended with this, whatever goes wrong from here on.
    let mut session = Session {
        upstream: Arc::clone(upstream),
        behalf: behalf.clone(),
        endpoint,
        id: headers::any_session_id(response.headers()),
        revision: None,
    };
    headers::session_id(response.headers()).map_err(|_| FetchError::Nonsense(METHOD))?;
    let said: Initialized = answer(response, METHOD).await?;
    session.revision = Some(headers::revision(&said.protocol_version).ok_or(FetchError::Nonsense(METHOD))?);
    let tongue = Tongue::Legacy(session);
    let body = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let mut initialized = post(body);
    tongue.identify(initialized.headers_mut());
    let endpoint = tongue.endpoint(upstream).ok_or(FetchError::Nonsense(METHOD))?;
    send(upstream, behalf, &endpoint, "notifications/initialized", initialized).await?;
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

async fn discover(upstream: &Upstream, behalf: &Behalf) -> Result<Discovered, FetchError> {
    const METHOD: &str = "server/discover";
    let endpoint = upstream.pick(Payer::Agent)?;
    let response = send(upstream, behalf, &endpoint, METHOD, modern(METHOD, json!({}))).await?;
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

/// A server that is asked for its lists.
struct Asking<'a> {
    upstream: &'a Upstream,
    behalf: &'a Behalf,
    tongue: &'a Tongue,
    /// What all lists may still come to, in bytes.
    room: AtomicUsize,
    hints: Mutex<Hints>,
}

/// What the pages of the modern era say about keeping them.
struct Hints {
    is_private: bool,
    ttl: Option<Duration>,
}

impl Hints {
    /// One private page makes all private, and the shortest time counts.
    fn read(&mut self, page: &Page) {
        let member = |name| page.members.get(name).map(|raw| raw.get());
        self.is_private |= member("cacheScope") == Some(r#""private""#);
        let ttl = member("ttlMs")
            .and_then(|ttl| ttl.parse().ok())
            .map(Duration::from_millis);
        self.ttl = match (self.ttl, ttl) {
            (Some(known), Some(ttl)) => Some(known.min(ttl)),
            (known, ttl) => known.or(ttl),
        };
    }
}

impl Asking<'_> {
    /// All items of a list. One that has no name is left out, as is one whose name another has had before.
    async fn lists(
        &self,
        method: &'static str,
        member: &'static str,
        key: &'static str,
    ) -> Result<Vec<Item>, FetchError> {
        let Self {
            upstream,
            behalf,
            tongue,
            room,
            hints,
        } = self;
        let (mut items, mut names, mut cursors) = (Vec::new(), HashSet::new(), HashSet::new());
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let params = match &cursor {
                Some(cursor) => json!({ "cursor": cursor }),
                None => json!({}),
            };
            let request = match tongue {
                Tongue::Legacy(_) => {
                    let mut request = request(method, &params);
                    tongue.identify(request.headers_mut());
                    request
                }
                Tongue::Modern => modern(method, params),
            };
            let endpoint = tongue.endpoint(upstream).ok_or(FetchError::Nonsense(method))?;
            let page = answer::<Page>(send(upstream, behalf, &endpoint, method, request).await?, method).await;
            let page = match page {
                Ok(page) => page,
                // It said that it has such things, and does not know the list of them.
                Err(FetchError::Refused {
                    code: code::METHOD_NOT_FOUND,
                    ..
                }) => return Ok(items),
                Err(error) => return Err(error),
            };
            if let Tongue::Modern = tongue {
                hints.lock().unwrap_or_else(PoisonError::into_inner).read(&page);
            }
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
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Page {
    members: std::collections::HashMap<String, Box<RawValue>>,
}
