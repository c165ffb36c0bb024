//! The methods that the gateway knows.

/// A method, by what the gateway does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// `initialize`
    Initialize,
    /// `notifications/initialized`
    Initialized,
    /// `server/discover`
    ServerDiscover,
    /// `ping`
    Ping,
    /// `tools/list`
    ToolsList,
    /// `tools/call`
    ToolsCall,
    /// `prompts/list`
    PromptsList,
    /// `prompts/get`
    PromptsGet,
    /// `resources/list`
    ResourcesList,
    /// `resources/templates/list`
    ResourceTemplatesList,
    /// `resources/read`
    ResourcesRead,
    /// `resources/subscribe`
    Subscribe,
    /// `resources/unsubscribe`
    Unsubscribe,
    /// `subscriptions/listen`
    Listen,
    /// `completion/complete`
    Complete,
    /// `logging/setLevel`
    SetLevel,
    /// `notifications/cancelled`
    Cancelled,
    /// `tasks/…`
    Tasks,
    /// Any other.
    Other(&'a str),
}

impl<'a> Method<'a> {
    /// The method of this name.
    pub fn of(name: &'a str) -> Self {
        match name {
            "initialize" => Self::Initialize,
            "notifications/initialized" => Self::Initialized,
            "server/discover" => Self::ServerDiscover,
            "ping" => Self::Ping,
            "tools/list" => Self::ToolsList,
            "tools/call" => Self::ToolsCall,
            "prompts/list" => Self::PromptsList,
            "prompts/get" => Self::PromptsGet,
            "resources/list" => Self::ResourcesList,
            "resources/templates/list" => Self::ResourceTemplatesList,
            "resources/read" => Self::ResourcesRead,
            "resources/subscribe" => Self::Subscribe,
            "resources/unsubscribe" => Self::Unsubscribe,
            "subscriptions/listen" => Self::Listen,
            "completion/complete" => Self::Complete,
            "logging/setLevel" => Self::SetLevel,
            "notifications/cancelled" => Self::Cancelled,
            _ if name.starts_with("tasks/") => Self::Tasks,
            _ => Self::Other(name),
        }
    }

    /// Whether a server's session knows something after it that a new one would not.
    pub fn leaves_traces(self) -> bool {
        use Method::{
            Cancelled, Complete, Initialize, Initialized, Listen, Ping, PromptsGet, PromptsList, ResourceTemplatesList,
            ResourcesList, ResourcesRead, ServerDiscover, ToolsCall, ToolsList,
        };
        !matches!(
            self,
            Initialize
                | Initialized
                | ServerDiscover
                | Ping
                | ToolsList
                | ToolsCall
                | PromptsList
                | PromptsGet
                | ResourcesList
                | ResourceTemplatesList
                | ResourcesRead
                | Complete
                | Cancelled
                | Listen
        )
    }

    /// Whether the modern era has no such request any more.
    pub fn is_gone_in_modern(self) -> bool {
        use Method::{Initialize, Initialized, Ping, SetLevel, Subscribe, Unsubscribe};
        matches!(
            self,
            Initialize | Initialized | Ping | SetLevel | Subscribe | Unsubscribe
        ) || self == Method::Other("notifications/roots/list_changed")
    }

    /// Whether `Mcp-Name` must repeat what the request is about.
    pub fn has_subject(self) -> bool {
        matches!(
            self,
            Self::ToolsCall | Self::PromptsGet | Self::ResourcesRead | Self::Tasks
        )
    }
}
