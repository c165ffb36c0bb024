//! Which methods are for rules to decide, and what they are about.
//!
//! What opens a conversation, asks whether somebody is there, lists or notifies is not: lists are filtered instead,
//! and what they show is decided when it is asked for. A method that no revision has could do anything, so that it
//! is decided as well.

use serde_json::Value as Json;

use super::{
    Envelope, Kind as Message, error::Rejection, members::looks_like, method::Method, params::Target, part::Part,
};

/// Resources that one request subscribes to.
const MAX_SUBSCRIPTIONS: usize = 1024;
/// The longest URI of a resource that can be subscribed to, in bytes.
pub const MAX_SUBSCRIBED_URI: usize = 2_048;
/// What a client is told that wants to subscribe to one that is longer.
pub const LONG_URI: &str = "A resource with a URI of more than 2048 bytes cannot be subscribed to";

/// What a governed request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource, or a template of resources.
    Resource,
    /// A task.
    Task,
    /// Something that no revision knows.
    Other,
}

/// A request that is to be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Governed<'e> {
    /// The method.
    pub method: &'e str,
    /// What it is about.
    pub kind: Kind,
    /// The server's own name for that; empty where the method names nothing.
    pub name: &'e str,
}

/// The methods that are governed, and what each can be about.
pub const METHODS: [(&str, &[Kind]); 10] = [
    ("tools/call", &[Kind::Tool]),
    ("prompts/get", &[Kind::Prompt]),
    ("resources/read", &[Kind::Resource]),
    ("resources/subscribe", &[Kind::Resource]),
    ("completion/complete", &[Kind::Prompt, Kind::Resource]),
    ("tasks/get", &[Kind::Task]),
    ("tasks/result", &[Kind::Task]),
    ("tasks/list", &[Kind::Task]),
    ("tasks/cancel", &[Kind::Task]),
    ("tasks/update", &[Kind::Task]),
];

/// The methods that list what can be asked for: not governed, as what they show is, and recorded.
pub const LISTS: [&str; 4] = [
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
];

/// The methods that a conversation begins with: not governed, and recorded.
pub const OPENINGS: [&str; 2] = ["initialize", "server/discover"];

/// The name of a method, where it is one that is recorded: another one is the caller's word, and no label.
pub fn recorded(method: &str) -> Option<&'static str> {
    let governed = METHODS.iter().map(|(name, _)| *name);
    governed.chain(LISTS).chain(OPENINGS).find(|name| *name == method)
}

impl Kind {
    /// As messages and records call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Task => "task",
            Self::Other => "method",
        }
    }

    /// The method by which what a list shows is asked for.
    pub const fn main_method(self) -> &'static str {
        match self {
            Self::Tool => "tools/call",
            Self::Prompt => "prompts/get",
            Self::Resource => "resources/read",
            Self::Task => "tasks/get",
            Self::Other => "",
        }
    }
}

/// What is to be decided about a message; `None` where it is not for rules to decide.
pub fn governed<'e>(envelope: &'e Envelope<'_>) -> Option<Governed<'e>> {
    let text = envelope.method.as_deref()?;
    let params = &envelope.params;
    let name_of = |text: &'e Option<super::part::Text<'_>>| text.as_deref().unwrap_or_default();
    let (kind, name) = match Method::of(text) {
        Method::ToolsCall => (Kind::Tool, name_of(&params.name)),
        Method::PromptsGet => (Kind::Prompt, name_of(&params.name)),
        Method::ResourcesRead | Method::Subscribe => (Kind::Resource, name_of(&params.uri)),
        Method::Complete => match params.reference.as_ref()?.target()? {
            Target::Prompt(name) => (Kind::Prompt, &**name),
            Target::Resource(uri) => (Kind::Resource, &**uri),
        },
        Method::TasksGet | Method::TasksResult | Method::TasksList | Method::TasksCancel | Method::TasksUpdate => {
            (Kind::Task, name_of(&params.task_id))
        }
        Method::Other(other) if other.starts_with("tasks/") => (Kind::Task, name_of(&params.task_id)),
        Method::Other(other) if envelope.kind == Message::Notification && other.starts_with("notifications/") => {
            return None;
        }
        // What only servers ask: no client has a reason to.
        Method::Other(_) | Method::Sampling | Method::Elicitation | Method::RootsList => (Kind::Other, text),
        Method::Initialize
        | Method::Initialized
        | Method::Ping
        | Method::ServerDiscover
        | Method::Listen
        | Method::ToolsList
        | Method::PromptsList
        | Method::ResourcesList
        | Method::ResourceTemplatesList
        | Method::Unsubscribe
        | Method::SetLevel
        | Method::Cancelled
        | Method::Progress
        | Method::RootsChanged
        | Method::LogMessage
        | Method::ToolsChanged
        | Method::PromptsChanged
        | Method::ResourcesChanged
        | Method::ResourceUpdated
        | Method::ElicitationComplete
        | Method::TaskStatus
        | Method::TaskChanged
        | Method::Acknowledged => return None,
    };
    Some(Governed {
        method: text,
        kind,
        name,
    })
}

/// The resources that `subscriptions/listen` with these `params` asks to hear of. Whatever a server could take for
/// them counts, also in another case.
pub fn subscriptions(params: Option<Part<'_>>) -> Result<Vec<String>, Rejection> {
    let Some(params) = params else { return Ok(Vec::new()) };
    let params = params
        .value()
        .map_err(|error| Rejection::invalid_request(error.to_string()))?;
    let mut uris = Vec::new();
    for filter in alike(&params, "notifications") {
        for list in alike(filter, "resourceSubscriptions") {
            let elements = list.as_array().map_or(&[][..], Vec::as_slice);
            uris.extend(elements.iter().filter_map(Json::as_str).map(ToOwned::to_owned));
        }
    }
    if uris.len() > MAX_SUBSCRIPTIONS {
        let message = format!("At most {MAX_SUBSCRIPTIONS} resources can be subscribed to at once");
        return Err(Rejection::invalid_request(message));
    }
    if uris.iter().any(|uri| uri.len() > MAX_SUBSCRIBED_URI) {
        return Err(Rejection::invalid_request(LONG_URI.to_owned()));
    }
    Ok(uris)
}

/// Members of an object that are called so, or look like it.
fn alike<'j>(json: &'j Json, name: &str) -> impl Iterator<Item = &'j Json> {
    let members = json.as_object().into_iter().flatten();
    members
        .filter(move |(key, _)| *key == name || looks_like(key, &[name]))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, params: &str) -> Option<(Kind, String)> {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        governed(&envelope).map(|asked| (asked.kind, asked.name.to_owned()))
    }

    #[test]
    fn a_request_is_decided_about_what_it_names() {
        for (method, params, kind, name) in [
            ("tools/call", r#"{"name":"add"}"#, Kind::Tool, "add"),
            ("prompts/get", r#"{"name":"p"}"#, Kind::Prompt, "p"),
            ("resources/read", r#"{"uri":"file:///a"}"#, Kind::Resource, "file:///a"),
            (
                "resources/subscribe",
                r#"{"uri":"file:///a"}"#,
                Kind::Resource,
                "file:///a",
            ),
            (
                "completion/complete",
                r#"{"ref":{"type":"ref/prompt","name":"p"}}"#,
                Kind::Prompt,
                "p",
            ),
            (
                "completion/complete",
                r#"{"ref":{"type":"ref/resource","uri":"u"}}"#,
                Kind::Resource,
                "u",
            ),
            ("tasks/get", r#"{"taskId":"t"}"#, Kind::Task, "t"),
            ("tasks/list", "{}", Kind::Task, ""),
            ("tasks/vendor", r#"{"taskId":"t"}"#, Kind::Task, "t"),
            ("vendor/own", "{}", Kind::Other, "vendor/own"),
            ("roots/list", "{}", Kind::Other, "roots/list"),
        ] {
            assert_eq!(of(method, params), Some((kind, name.to_owned())), "{method}");
        }
    }

    #[test]
    fn what_opens_lists_or_notifies_is_not_decided() {
        for method in [
            "initialize",
            "ping",
            "server/discover",
            "tools/list",
            "logging/setLevel",
        ] {
            assert_eq!(of(method, "{}"), None, "{method}");
        }
        let notification = |method: &str| {
            let body = format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
            let envelope = Envelope::parse(body.as_bytes()).unwrap();
            governed(&envelope).is_some()
        };
        assert!(!notification("notifications/vendor") && notification("vendor/own"));
    }

    #[test]
    fn subscriptions_are_found_whatever_their_case() {
        let of = |params: &str| {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{params}}}"#);
            subscriptions(Envelope::parse(body.as_bytes()).unwrap().params.whole)
        };
        assert_eq!(
            of(
                r#"{"Notifications":{"resourceSubscriptions":["a"]},"notifications":{"RESOURCESUBSCRIPTIONS":["b",1]}}"#
            )
            .unwrap(),
            ["a", "b"]
        );
        assert!(of(r#"{"notifications":{"toolsListChanged":true}}"#).unwrap().is_empty());
        assert!(of(r#"{"notifications":{"a":1,"a":2}}"#).is_err());
    }

    #[test]
    fn every_governed_method_is_known() {
        for (method, _) in METHODS {
            assert!(Method::of(method).is_known(), "{method}");
        }
    }
}
