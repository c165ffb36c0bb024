//! A tool's definition that is another than before, or was approved.

use std::time::SystemTime;

use serde::Serialize;

use super::{event_name::EventName, line::rfc3339};
use crate::resources::ObjectName;

/// What has become of a tool's definition.
#[derive(Clone, Debug)]
pub struct DefinitionChange {
    /// When.
    pub time: SystemTime,
    /// The server.
    pub server: ObjectName,
    /// Its own name for the tool.
    pub tool: String,
    /// `approved`, `drifted`, `new` or `absent`.
    pub state: &'static str,
    /// Who approved it, where that is what happened.
    pub by: Option<&'static str>,
    /// `Warn` or `Enforce`.
    pub pin: &'static str,
    /// The digest of what the server shows.
    pub digest: Option<String>,
    /// The digest of what was approved.
    pub approved: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DefinitionLine<'a> {
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
    event: EventName,
    node: &'a str,
    server: String,
    tool: std::borrow::Cow<'a, str>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
    pin: &'static str,
    digest: Option<&'a str>,
    approved: Option<&'a str>,
}

impl<'a> DefinitionLine<'a> {
    pub(super) fn new(node: &'a str, change: &'a DefinitionChange) -> Self {
        Self {
            time: change.time,
            event: EventName::ToolDefinition,
            node,
            server: change.server.to_string(),
            tool: super::bounded(&change.tool),
            state: change.state,
            by: change.by,
            pin: change.pin,
            digest: change.digest.as_deref(),
            approved: change.approved.as_deref(),
        }
    }
}
