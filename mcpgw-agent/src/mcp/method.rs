//! The methods of all revisions: who sends them, in which era, and about what.

use super::version::Era;

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// `initialize`
    Initialize,
    /// `notifications/initialized`
    Initialized,
    /// `ping`
    Ping,
    /// `server/discover`
    ServerDiscover,
    /// `subscriptions/listen`
    Listen,
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
    /// `completion/complete`
    Complete,
    /// `logging/setLevel`
    SetLevel,
    /// `tasks/get`
    TasksGet,
    /// `tasks/result`
    TasksResult,
    /// `tasks/list`
    TasksList,
    /// `tasks/cancel`
    TasksCancel,
    /// `tasks/update`
    TasksUpdate,
    /// `sampling/createMessage`
    Sampling,
    /// `elicitation/create`
    Elicitation,
    /// `roots/list`
    RootsList,
    /// `notifications/cancelled`
    Cancelled,
    /// `notifications/progress`
    Progress,
    /// `notifications/roots/list_changed`
    RootsChanged,
    /// `notifications/message`
    LogMessage,
    /// `notifications/tools/list_changed`
    ToolsChanged,
    /// `notifications/prompts/list_changed`
    PromptsChanged,
    /// `notifications/resources/list_changed`
    ResourcesChanged,
    /// `notifications/resources/updated`
    ResourceUpdated,
    /// `notifications/elicitation/complete`
    ElicitationComplete,
    /// `notifications/tasks/status`, up to 2025-11-25
    TaskStatus,
    /// `notifications/tasks`, from 2026-07-28 on
    TaskChanged,
    /// `notifications/subscriptions/acknowledged`
    Acknowledged,
    /// One that no revision has: of an extension, of a vendor, or of nobody.
    Other(&'a str),
}

/// Who sends a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The client.
    Client,
    /// The server.
    Server,
    /// Either.
    Both,
}

/// The member of `params` that names what a method is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `params.name`: a tool or a prompt.
    Name,
    /// `params.uri`: a resource.
    Uri,
    /// `params.taskId`.
    TaskId,
    /// `params.ref.name` or `params.ref.uri`: a prompt or a resource template.
    Reference,
}

/// A method with its name, its sender, the only era that has it (`None`: both have), and its subject.
type Row = (Method<'static>, &'static str, Sender, Option<Era>, Option<Subject>);

const METHODS: [Row; 36] = {
    use Era::{Legacy, Modern};
    use Method as M;
    use Sender::{Both, Client, Server};
    use Subject::{Name, Reference, TaskId, Uri};
    [
        // The most frequent first.
        (M::ToolsCall, "tools/call", Client, None, Some(Name)),
        (M::ToolsList, "tools/list", Client, None, None),
        (M::PromptsGet, "prompts/get", Client, None, Some(Name)),
        (M::PromptsList, "prompts/list", Client, None, None),
        (M::ResourcesRead, "resources/read", Client, None, Some(Uri)),
        (M::ResourcesList, "resources/list", Client, None, None),
        (M::ResourceTemplatesList, "resources/templates/list", Client, None, None),
        (M::Subscribe, "resources/subscribe", Client, Some(Legacy), Some(Uri)),
        (M::Unsubscribe, "resources/unsubscribe", Client, Some(Legacy), Some(Uri)),
        (M::Complete, "completion/complete", Client, None, Some(Reference)),
        (M::Initialize, "initialize", Client, Some(Legacy), None),
        (M::Initialized, "notifications/initialized", Client, Some(Legacy), None),
        (M::Ping, "ping", Both, Some(Legacy), None),
        (M::ServerDiscover, "server/discover", Client, Some(Modern), None),
        (M::Listen, "subscriptions/listen", Client, Some(Modern), None),
        (M::SetLevel, "logging/setLevel", Client, Some(Legacy), None),
        // Up to 2025-11-25 a client has tasks too.
        (M::TasksGet, "tasks/get", Both, None, Some(TaskId)),
        (M::TasksResult, "tasks/result", Both, Some(Legacy), Some(TaskId)),
        (M::TasksList, "tasks/list", Both, Some(Legacy), None),
        (M::TasksCancel, "tasks/cancel", Both, None, Some(TaskId)),
        (M::TasksUpdate, "tasks/update", Client, Some(Modern), Some(TaskId)),
        // In the modern era these are parts of a result, no messages.
        (M::Sampling, "sampling/createMessage", Server, Some(Legacy), None),
        (M::Elicitation, "elicitation/create", Server, Some(Legacy), None),
        (M::RootsList, "roots/list", Server, Some(Legacy), None),
        (M::Cancelled, "notifications/cancelled", Both, None, None),
        (M::Progress, "notifications/progress", Both, None, None),
        (
            M::RootsChanged,
            "notifications/roots/list_changed",
            Client,
            Some(Legacy),
            None,
        ),
        (M::LogMessage, "notifications/message", Server, None, None),
        (M::ToolsChanged, "notifications/tools/list_changed", Server, None, None),
        (
            M::PromptsChanged,
            "notifications/prompts/list_changed",
            Server,
            None,
            None,
        ),
        (
            M::ResourcesChanged,
            "notifications/resources/list_changed",
            Server,
            None,
            None,
        ),
        (
            M::ResourceUpdated,
            "notifications/resources/updated",
            Server,
            None,
            None,
        ),
        (
            M::ElicitationComplete,
            "notifications/elicitation/complete",
            Server,
            Some(Legacy),
            None,
        ),
        (M::TaskStatus, "notifications/tasks/status", Both, Some(Legacy), None),
        (M::TaskChanged, "notifications/tasks", Server, Some(Modern), None),
        (
            M::Acknowledged,
            "notifications/subscriptions/acknowledged",
            Server,
            Some(Modern),
            None,
        ),
    ]
};

impl<'a> Method<'a> {
    /// The method of this name.
    pub fn of(name: &'a str) -> Self {
        METHODS
            .iter()
            .find(|row| row.1 == name)
            .map_or(Self::Other(name), |row| row.0)
    }

    /// Its name.
    pub fn as_str(&self) -> &'a str {
        match self {
            Self::Other(name) => name,
            known => known.name().unwrap_or_default(),
        }
    }

    /// Its name, if it is known.
    pub fn name(&self) -> Option<&'static str> {
        Some(self.row()?.1)
    }

    /// Whether a revision has it.
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// Whether it is sent without an id, and not answered.
    pub fn is_notification(&self) -> bool {
        self.as_str().starts_with("notifications/")
    }

    /// Whether it asks for a list in pages, with cursors.
    pub fn is_list(&self) -> bool {
        matches!(
            self,
            Self::ToolsList | Self::PromptsList | Self::ResourcesList | Self::ResourceTemplatesList | Self::TasksList
        )
    }

    /// Who sends it; `None` if it is not known.
    pub fn sender(&self) -> Option<Sender> {
        Some(self.row()?.2)
    }

    /// The only era that has it; `None` if both have it, or it is not known.
    pub fn only_in(&self) -> Option<Era> {
        self.row()?.3
    }

    /// Whether a client can send it in this era. Methods that are not known are for the server to judge.
    pub fn is_open_to_clients(&self, era: Era) -> bool {
        self.sender() != Some(Sender::Server) && self.only_in().is_none_or(|only| only == era)
    }

    /// Whether a server's session knows something after it that a new one would not.
    pub fn leaves_traces(&self) -> bool {
        !matches!(
            self,
            Self::Initialize
                | Self::Initialized
                | Self::ServerDiscover
                | Self::Ping
                | Self::ToolsList
                | Self::ToolsCall
                | Self::PromptsList
                | Self::PromptsGet
                | Self::ResourcesList
                | Self::ResourceTemplatesList
                | Self::ResourcesRead
                | Self::Complete
                | Self::Cancelled
                | Self::Listen
        )
    }

    /// What it needs in its `params` to be about something. Every other `tasks/…` has, if anything, a task.
    pub fn subject(&self) -> Option<Subject> {
        match self {
            Self::Other(name) => name.starts_with("tasks/").then_some(Subject::TaskId),
            method => method.row()?.4,
        }
    }

    fn row(&self) -> Option<&'static Row> {
        METHODS.iter().find(|row| row.0 == *self)
    }
}

impl Subject {
    /// The member of `params`.
    pub fn member(self) -> &'static str {
        match self {
            Self::Name => "params.name",
            Self::Uri => "params.uri",
            Self::TaskId => "params.taskId",
            Self::Reference => "params.ref",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_its_method_and_no_other() {
        let names: HashSet<&str> = METHODS.iter().map(|row| row.1).collect();
        assert_eq!(names.len(), METHODS.len());
        for row in METHODS {
            assert_eq!(Method::of(row.1), row.0);
            assert_eq!(row.0.as_str(), row.1);
        }
        assert_eq!(Method::of("tools/Call"), Method::Other("tools/Call"));
        assert_eq!(Method::of("tools/Call").as_str(), "tools/Call");
    }

    #[test]
    fn what_is_gone_in_the_modern_era_is_closed_there_and_open_before() {
        for name in [
            "initialize",
            "notifications/initialized",
            "ping",
            "logging/setLevel",
            "resources/subscribe",
            "resources/unsubscribe",
            "notifications/roots/list_changed",
            "tasks/result",
            "tasks/list",
        ] {
            assert!(!Method::of(name).is_open_to_clients(Era::Modern), "{name}");
            assert!(Method::of(name).is_open_to_clients(Era::Legacy), "{name}");
        }
        for name in ["server/discover", "subscriptions/listen", "tasks/update"] {
            assert!(Method::of(name).is_open_to_clients(Era::Modern), "{name}");
            assert!(!Method::of(name).is_open_to_clients(Era::Legacy), "{name}");
        }
        for era in [Era::Legacy, Era::Modern] {
            assert!(Method::of("tools/call").is_open_to_clients(era));
            assert!(Method::of("vendor/own").is_open_to_clients(era));
            assert!(!Method::of("roots/list").is_open_to_clients(era));
        }
    }
}
